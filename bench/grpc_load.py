"""The load on the gRPC door: producers, and workers that do nothing but settle.

``python -m bench.grpc_load PLAN RESULT`` (JSON files, see `Plan` and `Result`).
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import msgspec
import uvloop
from google.protobuf.struct_pb2 import Struct

from bench.bodies import QUEUE, payload
from bench.records import milliseconds
from libs.common.pb import spooled_pb2 as pb
from libs.common.pb import spooled_pb2_grpc as doors

_LEASE_SECONDS = 300
_VARIANTS = 64
_HANDLER_SECONDS_MAX = 30.0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to do: a name of `KINDS`, by so many *callers*, over so many *channels*.

    Producers go on for *seconds*; workers until *jobs* are settled, or have followed
    so many *chains* of *jobs* to their ends.
    """

    port: int
    key: str
    kind: str
    queue: str = QUEUE
    callers: int = 64
    channels: int = 4
    batch: int = 1
    seconds: float = 1e9
    jobs: int = 10**9
    chains: int = 1


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What became of it."""

    jobs: int
    seconds: float
    p50_ms: float
    p99_ms: float
    cpu_seconds: float


class Caller:
    """One caller on one channel."""

    def __init__(self, plan: Plan, number: int, queue: doors.QueueServiceStub) -> None:
        self.plan = plan
        self.name = f"bench-{number}"
        self.queue = queue
        self.metadata = (("x-api-key", plan.key),)

    async def enqueue(self, request: pb.EnqueueRequest) -> int:
        """Enqueue one job."""
        await self.queue.Enqueue(request, metadata=self.metadata)
        return 1

    async def enqueue_batch(self, request: pb.EnqueueBatchRequest) -> int:
        """Enqueue a batch."""
        answer = await self.queue.EnqueueBatch(request, metadata=self.metadata)
        refused = [one.error for one in answer.items if not one.job_id]
        if refused:
            raise RuntimeError(f"refused: {refused[0]}")
        return len(answer.items)

    async def dequeue(self) -> list[pb.Job]:
        """Claim a batch."""
        request = pb.DequeueRequest(
            queue_name=self.plan.queue,
            worker_id=self.name,
            lease_duration_secs=_LEASE_SECONDS,
            batch_size=self.plan.batch,
        )
        answer = await self.queue.Dequeue(request, metadata=self.metadata)
        return list(answer.jobs)

    async def complete(self, jobs: list[pb.Job]) -> int:
        """Complete jobs: one by one, or all in one call."""
        if self.plan.batch == 1:
            for job in jobs:
                await self.queue.Complete(
                    pb.CompleteRequest(
                        job_id=job.id, worker_id=self.name, lease_id=job.lease_id
                    ),
                    metadata=self.metadata,
                )
            return len(jobs)
        request = pb.CompleteBatchRequest(worker_id=self.name)
        for job in jobs:
            request.items.add(job_id=job.id, lease_id=job.lease_id)
        answer = await self.queue.CompleteBatch(request, metadata=self.metadata)
        refused = [one.error for one in answer.items if not one.success]
        if refused:
            raise RuntimeError(f"refused: {refused[0]}")
        return len(answer.items)

    def stream(self, queue: str) -> Any:
        """Return a stream of the jobs of a queue."""
        request = pb.StreamJobsRequest(
            queue_name=queue, worker_id=self.name, lease_duration_secs=_LEASE_SECONDS
        )
        return self.queue.StreamJobs(request, metadata=self.metadata)


class Load:
    """One run of a plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._jobs = 0
        self._latencies: list[float] = []
        self._last = 0.0

    async def run(self) -> Result:
        """Do it; raises what a call raised."""
        async with _callers(self._plan) as callers:
            prepared = await PREPARE[self._plan.kind](callers)
            cpu, began = time.process_time(), time.monotonic()
            await asyncio.gather(
                *(
                    KINDS[self._plan.kind](self, caller, own, began)
                    for caller, own in zip(callers, prepared, strict=True)
                )
            )
            return Result(
                jobs=self._jobs,
                seconds=self._last - began,
                p50_ms=milliseconds(self._latencies, 0.5),
                p99_ms=milliseconds(self._latencies, 0.99),
                cpu_seconds=round(time.process_time() - cpu, 2),
            )

    async def produce(self, caller: Caller, _: object, began: float) -> None:
        """Enqueue until the time is over."""
        single = self._plan.kind == "enqueue"
        one = [_enqueue(self._plan, number) for number in range(_VARIANTS)]
        many = _enqueue_batch(self._plan)
        turn = 0
        while time.monotonic() - began < self._plan.seconds:
            turn += 1
            await self._timed(
                caller.enqueue(one[turn % _VARIANTS])
                if single
                else caller.enqueue_batch(many)
            )

    async def work(self, caller: Caller, _: object, __: float) -> None:
        """Claim and complete until so many jobs are done."""
        while self._jobs < self._plan.jobs:
            jobs = await caller.dequeue()
            if jobs:
                await self._timed(caller.complete(jobs))
            elif self._jobs < self._plan.jobs:
                # The others have the last ones.
                await asyncio.sleep(0.001)

    async def complete(
        self, caller: Caller, batches: list[list[pb.Job]], _: float
    ) -> None:
        """Complete what was claimed before the clock started."""
        for jobs in batches:
            await self._timed(caller.complete(jobs))

    async def echo(self, caller: Caller, _: object, began: float) -> None:
        """Complete what there is not, until the time is over: for a bare server."""
        jobs = [pb.Job(id=str(_LEASE_SECONDS) * 12, lease_id="x" * 36)]
        while time.monotonic() - began < self._plan.seconds:
            await self._timed(caller.complete(jobs))

    async def handle(self, caller: Caller, _: object, began: float) -> None:
        """Enqueue now and then, and time it until the stream gives it."""
        stream = caller.stream(self._plan.queue)
        request = _enqueue(self._plan, 1)
        while time.monotonic() - began < self._plan.seconds:
            sent = time.monotonic()
            made = asyncio.create_task(caller.enqueue(request))
            async with asyncio.timeout(_HANDLER_SECONDS_MAX):
                job = await stream.read()
            self._note(time.monotonic() - sent, 1)
            await made
            await caller.complete([job])
            await asyncio.sleep(0.02)
        stream.cancel()

    async def follow(self, caller: Caller, _: object, __: float) -> None:
        """Complete each job of a chain, and time it until the stream gives the next."""
        for number in range(self._plan.chains):
            stream = caller.stream(f"{self._plan.queue}-{number}")
            job = await stream.read()
            for _ in range(self._plan.jobs - 1):
                sent = time.monotonic()
                done = asyncio.create_task(caller.complete([job]))
                async with asyncio.timeout(_HANDLER_SECONDS_MAX):
                    job = await stream.read()
                self._note(time.monotonic() - sent, 1)
                await done
            await caller.complete([job])
            stream.cancel()

    async def _timed(self, call: Awaitable[int]) -> None:
        sent = time.monotonic()
        done = await call
        self._note(time.monotonic() - sent, done)

    def _note(self, seconds: float, jobs: int) -> None:
        self._jobs += jobs
        self._latencies.append(seconds)
        self._last = time.monotonic()


Step = Callable[[Load, Caller, object, float], Awaitable[None]]


async def _nothing(callers: list[Caller]) -> list[object]:
    return [None] * len(callers)


async def _claim_all(callers: list[Caller]) -> list[object]:
    """Claim so many jobs, shared out among the callers."""
    claimed: list[list[list[pb.Job]]] = [[] for _ in callers]
    each = max(callers[0].plan.jobs // callers[0].plan.batch // len(callers), 1)

    async def take(caller: Caller, own: list[list[pb.Job]]) -> None:
        while len(own) < each and (jobs := await caller.dequeue()):
            own.append(jobs)

    await asyncio.gather(*map(take, callers, claimed))
    return list(claimed)


KINDS: dict[str, Step] = {
    "enqueue": Load.produce,
    "enqueue_batch": Load.produce,
    "work": Load.work,
    "echo": Load.echo,
    "complete": Load.complete,  # type: ignore[dict-item]  # what _claim_all prepares
    "follow": Load.follow,
    "handle": Load.handle,
}
PREPARE = {**dict.fromkeys(KINDS, _nothing), "complete": _claim_all}


def _enqueue(plan: Plan, number: int) -> pb.EnqueueRequest:
    body = Struct()
    body.update(payload(number))
    return pb.EnqueueRequest(queue_name=plan.queue, payload=body)


def _enqueue_batch(plan: Plan) -> pb.EnqueueBatchRequest:
    request = pb.EnqueueBatchRequest(queue_name=plan.queue)
    for number in range(plan.batch):
        request.items.add().payload.update(payload(number))
    return request


@asynccontextmanager
async def _callers(plan: Plan) -> AsyncIterator[list[Caller]]:
    async with AsyncExitStack() as stack:
        stubs = []
        for number in range(plan.channels):
            channel = grpc.aio.insecure_channel(
                f"127.0.0.1:{plan.port}",
                # Channels with equal options would share one connection.
                options=[("bench.channel", number)],
            )
            await stack.enter_async_context(channel)
            stubs.append(doors.QueueServiceStub(channel))
        yield [
            Caller(plan, number, stubs[number % plan.channels])
            for number in range(plan.callers)
        ]


def main(plan: Path, result: Path) -> None:
    """Do what *plan* says, and write *result*."""
    asked = msgspec.json.decode(plan.read_bytes(), type=Plan)
    result.write_bytes(msgspec.json.encode(uvloop.run(Load(asked).run())))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
