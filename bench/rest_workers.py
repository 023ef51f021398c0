"""Workers over REST that do nothing but settle: claim, complete, again.

``python -m bench.rest_workers PLAN RESULT`` (JSON files, see `Plan` and `Result`).
"""

import asyncio
import sys
import time
from collections import deque
from functools import partial
from pathlib import Path

import msgspec
import uvloop

from bench.bodies import QUEUE
from bench.http import Messages
from bench.records import milliseconds


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Settle *jobs* by so many *workers*, *batch* at a time.

    A batch of one is completed by ``/jobs/{id}/complete``, a larger one by
    ``/jobs/complete/bulk``.
    """

    port: int
    key: str
    jobs: int
    workers: int = 8
    batch: int = 1


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What became of it; latencies are those of completing."""

    jobs: int
    seconds: float
    p50_ms: float
    p99_ms: float
    cpu_seconds: float


class Job(msgspec.Struct):
    """What a worker needs of a job it claimed."""

    id: str
    lease_id: str


class Claimed(msgspec.Struct):
    """The answer to a claim."""

    jobs: list[Job]


class Connection(Messages):
    """One connection: one request, one answer."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self._plan = plan
        self._waits: deque[asyncio.Future[bytes]] = deque()

    async def post(self, path: str, body: object) -> bytes:
        """Return the answer's body; raises `RuntimeError` for a refusal."""
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waits.append(future)
        data = msgspec.json.encode(body)
        self.transport.write(
            (
                f"POST /api/v1{path} HTTP/1.1\r\n"
                f"Host: 127.0.0.1:{self._plan.port}\r\n"
                f"Authorization: Bearer {self._plan.key}\r\n"
                "Content-Type: application/json\r\n"
                f"Content-Length: {len(data)}\r\n\r\n"
            ).encode()
            + data
        )
        return await future

    def take(self, head: bytes, body: bytes) -> None:
        """Hand an answer to who waits for it."""
        future = self._waits.popleft()
        if head.startswith(b"HTTP/1.1 2"):
            future.set_result(body)
        else:
            future.set_exception(RuntimeError((head + b"\n" + body).decode()))

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell who waits that nobody answers any more."""
        for future in self._waits:
            future.set_exception(exc or ConnectionResetError("the server left"))


async def work_all(plan: Plan) -> Result:
    """Settle everything there is."""
    loop = asyncio.get_running_loop()
    latencies: list[float] = []
    done = 0

    async def work(number: int) -> None:
        nonlocal done
        name = f"bench-{number}"
        _, connection = await loop.create_connection(
            partial(Connection, plan), "127.0.0.1", plan.port
        )
        claim = {"queue_name": QUEUE, "worker_id": name, "limit": plan.batch}
        while done < plan.jobs:
            answer = await connection.post("/jobs/claim", claim)
            jobs = msgspec.json.decode(answer, type=Claimed).jobs
            sent = time.monotonic()
            if plan.batch == 1:
                for job in jobs:
                    await connection.post(
                        f"/jobs/{job.id}/complete",
                        {"worker_id": name, "lease_id": job.lease_id},
                    )
            elif jobs:
                settled = [{"job_id": job.id, "lease_id": job.lease_id} for job in jobs]
                answer = await connection.post(
                    "/jobs/complete/bulk", {"worker_id": name, "jobs": settled}
                )
                if b'"failed":[]' not in answer:
                    raise RuntimeError(answer.decode())
            if jobs:
                latencies.append(time.monotonic() - sent)
            done += len(jobs)
        connection.transport.close()

    cpu, began = time.process_time(), time.monotonic()
    await asyncio.gather(*map(work, range(plan.workers)))
    return Result(
        jobs=done,
        seconds=time.monotonic() - began,
        p50_ms=milliseconds(latencies, 0.5),
        p99_ms=milliseconds(latencies, 0.99),
        cpu_seconds=round(time.process_time() - cpu, 2),
    )


def main(plan: Path, result: Path) -> None:
    """Do what *plan* says, and write *result*."""
    asked = msgspec.json.decode(plan.read_bytes(), type=Plan)
    result.write_bytes(msgspec.json.encode(uvloop.run(work_all(asked))))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
