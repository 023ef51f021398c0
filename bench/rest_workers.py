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

_LEASE_SECONDS = 300


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Settle *jobs* by so many *workers*, *batch* at a time.

    When *claimed_ahead* all are claimed before the clock starts, and only completing
    is timed.  A batch of one is completed by ``/jobs/{id}/complete``, a larger one by
    ``/jobs/complete/bulk``.
    """

    port: int
    key: str
    jobs: int
    workers: int = 8
    batch: int = 1
    claimed_ahead: bool = False


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


class Worker:
    """One worker on one connection."""

    def __init__(self, plan: Plan, number: int, connection: Connection) -> None:
        self._plan = plan
        self._name = f"bench-{number}"
        self._connection = connection

    async def claim(self) -> list[Job]:
        """Claim a batch."""
        answer = await self._connection.post(
            "/jobs/claim",
            {
                "queue_name": QUEUE,
                "worker_id": self._name,
                "limit": self._plan.batch,
                "lease_duration_secs": _LEASE_SECONDS,
            },
        )
        return msgspec.json.decode(answer, type=Claimed).jobs

    async def complete(self, jobs: list[Job]) -> None:
        """Complete jobs: one by one, or all in one call."""
        if self._plan.batch == 1:
            for job in jobs:
                await self._connection.post(
                    f"/jobs/{job.id}/complete",
                    {"worker_id": self._name, "lease_id": job.lease_id},
                )
            return
        settled = [{"job_id": job.id, "lease_id": job.lease_id} for job in jobs]
        answer = await self._connection.post(
            "/jobs/complete/bulk", {"worker_id": self._name, "jobs": settled}
        )
        if b'"failed":[]' not in answer:
            raise RuntimeError(answer.decode())

    def close(self) -> None:
        """Leave."""
        self._connection.transport.close()


async def work_all(plan: Plan) -> Result:
    """Settle everything there is."""
    workers = [await _worker(plan, number) for number in range(plan.workers)]
    latencies: list[float] = []
    done = 0

    async def settle(worker: Worker, jobs: list[Job]) -> None:
        nonlocal done
        sent = time.monotonic()
        await worker.complete(jobs)
        latencies.append(time.monotonic() - sent)
        done += len(jobs)

    async def work(worker: Worker) -> None:
        while done < plan.jobs:
            if jobs := await worker.claim():
                await settle(worker, jobs)

    async def settle_all(worker: Worker, batches: list[list[Job]]) -> None:
        for jobs in batches:
            await settle(worker, jobs)

    if plan.claimed_ahead:
        batches = await asyncio.gather(*(_claim_all(plan, one) for one in workers))
        load = list(map(settle_all, workers, batches))
    else:
        load = list(map(work, workers))
    cpu, began = time.process_time(), time.monotonic()
    await asyncio.gather(*load)
    seconds = time.monotonic() - began
    for worker in workers:
        worker.close()
    return Result(
        jobs=done,
        seconds=seconds,
        p50_ms=milliseconds(latencies, 0.5),
        p99_ms=milliseconds(latencies, 0.99),
        cpu_seconds=round(time.process_time() - cpu, 2),
    )


async def _worker(plan: Plan, number: int) -> Worker:
    _, connection = await asyncio.get_running_loop().create_connection(
        partial(Connection, plan), "127.0.0.1", plan.port
    )
    return Worker(plan, number, connection)


async def _claim_all(plan: Plan, worker: Worker) -> list[list[Job]]:
    """Claim one worker's share."""
    own: list[list[Job]] = []
    # Of few jobs the first workers have all.
    share = max(1, plan.jobs // plan.batch // plan.workers)
    while len(own) < share:
        jobs = await worker.claim()
        if not jobs:
            break
        own.append(jobs)
    return own


def main(plan: Path, result: Path) -> None:
    """Do what *plan* says, and write *result*."""
    asked = msgspec.json.decode(plan.read_bytes(), type=Plan)
    result.write_bytes(msgspec.json.encode(uvloop.run(work_all(asked))))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
