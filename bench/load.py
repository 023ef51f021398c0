"""The load generator: requests made beforehand, over connections that stay open.

``python -m bench.load PLAN RESULT`` (JSON files, see `Plan` and `Result`).  Without a
rate each connection sends as soon as it is answered; with one, requests leave at their
time as long as a connection is idle, and late ones count from when they were due.
"""

import asyncio
import sys
import time
from collections import deque
from functools import partial
from itertools import cycle
from math import ceil
from pathlib import Path

import msgspec
import uvloop

from bench.bodies import requests
from bench.http import Messages
from bench.records import milliseconds, write_created

#: How long the last answers may take.
_LAST_SECONDS = 30.0
_TICK_SECONDS = 0.001
_ID = b'"id":"'
_ID_CHARS = 36


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to send, and for how long: *seconds*, or so many *requests*."""

    port: int
    key: str
    kind: str = "single"
    #: Where the webhooks go; None creates jobs for workers.
    target: str | None = None
    #: How many queues the jobs are for in turn; None is the one of all other rows.
    queues: int | None = None
    connections: int = 64
    seconds: float = 1e9
    requests: int = 10**9
    #: Requests per second; None sends as fast as answers come.
    rate: float | None = None
    #: Where to note which job was accepted when.
    records: str | None = None


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What became of it; *failure* is the first answer that was not 2xx."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    cpu_seconds: float
    began: float
    failed: int = 0
    failure: str = ""


class Connection(Messages):
    """One connection; knows what it waits for."""

    def __init__(self, load: "Load") -> None:
        super().__init__()
        self._load = load
        self.sent = 0.0

    def take(self, head: bytes, body: bytes) -> None:
        """Hand an answer on."""
        self._load.answered(self, head, body)

    def connection_lost(self, exc: Exception | None) -> None:
        """Say that the other end left."""
        self._load.lost(exc)


class Load:
    """One run of a plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._requests = cycle(
            requests(
                plan.kind,
                port=plan.port,
                key=plan.key,
                target=plan.target,
                queues=plan.queues,
            )
        )
        # uvloop's own clock counts whole milliseconds.
        self._now = time.monotonic
        self._done = asyncio.get_running_loop().create_future()
        self._idle: deque[Connection] = deque()
        self._due: deque[float] = deque()
        self._latencies: list[float] = []
        self._created: list[tuple[bytes, float, float]] = []
        self._began = 0.0
        self._last = 0.0
        self._sent = 0
        self._failed = 0
        self._failure = ""

    async def run(self) -> Result:
        """Send everything, await all answers; raises `ConnectionError`."""
        loop = asyncio.get_running_loop()
        for _ in range(self._plan.connections):
            _, connection = await loop.create_connection(
                partial(Connection, self), "127.0.0.1", self._plan.port
            )
            self._idle.append(connection)
        cpu = time.process_time()
        self._began = self._now()
        if self._plan.rate is None:
            for _ in range(self._plan.connections):
                self._send(self._began)
            await self._done
        else:
            await self._keep_pace(self._plan.rate)
        if self._plan.records:
            write_created(Path(self._plan.records), self._created)
        return Result(
            requests=len(self._latencies),
            seconds=self._last - self._began,
            p50_ms=milliseconds(self._latencies, 0.5),
            p99_ms=milliseconds(self._latencies, 0.99),
            cpu_seconds=round(time.process_time() - cpu, 2),
            began=self._began,
            failed=self._failed,
            failure=self._failure,
        )

    async def _keep_pace(self, rate: float) -> None:
        """Send each request when it is due, or as soon as a connection is idle."""
        scheduled, wanted = 0, ceil(rate * self._plan.seconds)
        while scheduled < wanted:
            now = self._now()
            # Who comes late to the end sends no more than was to be sent.
            while scheduled < wanted and (due := self._began + scheduled / rate) <= now:
                scheduled += 1
                if self._idle:
                    self._send(due)
                else:
                    self._due.append(due)
            await self._tick()
        async with asyncio.timeout(_LAST_SECONDS):
            while len(self._idle) < self._plan.connections:
                await self._tick()

    async def _tick(self) -> None:
        await asyncio.sleep(_TICK_SECONDS)
        if self._done.done():
            await self._done

    def answered(self, connection: Connection, head: bytes, body: bytes) -> None:
        """Note an answer and send the next request."""
        now = self._last = self._now()
        self._latencies.append(now - connection.sent)
        if not (head.startswith(b"HTTP/1.1 2") and b'"failed":[{' not in body):
            self._failed += 1
            self._failure = self._failure or (head + b"\n" + body[:500]).decode()
        elif self._plan.records:
            begins = body.find(_ID) + len(_ID)
            job_id = body[begins : begins + _ID_CHARS]
            self._created.append((job_id, connection.sent, now))
        self._idle.append(connection)
        if self._due:
            self._send(self._due.popleft())
        elif self._plan.rate is None:
            over = now - self._began >= self._plan.seconds
            if self._sent < self._plan.requests and not over:
                self._send(now)
            elif len(self._idle) == self._plan.connections and not self._done.done():
                self._done.set_result(None)

    def lost(self, error: Exception | None) -> None:
        """Give up: nobody should hang up on a load generator."""
        if not self._done.done():
            self._done.set_exception(ConnectionError(f"connection lost: {error!r}"))

    def _send(self, due: float) -> None:
        if self._sent == self._plan.requests:
            return
        self._sent += 1
        connection = self._idle.popleft()
        connection.sent = due
        connection.transport.write(next(self._requests))


async def _carry_out(plan: Plan) -> Result:
    return await Load(plan).run()


def main(plan: Path, result: Path) -> None:
    """Do what *plan* says, and write *result*."""
    asked = msgspec.json.decode(plan.read_bytes(), type=Plan)
    result.write_bytes(msgspec.json.encode(uvloop.run(_carry_out(asked))))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
