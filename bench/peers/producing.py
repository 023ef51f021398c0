"""How an adapter creates jobs: so many callers at once, or one that keeps a pace."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any
from uuid import UUID

from bench.peers.plans import STAMP, Plan, Result
from bench.records import milliseconds, write_created

Payload = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Producer:
    """What a peer creates jobs with."""

    #: Return the new job's id.
    enqueue: Callable[[Payload], Awaitable[object]]
    enqueue_many: Callable[[list[Payload]], Awaitable[object]]


class Producing:
    """One run of a plan."""

    def __init__(self, plan: Plan, producer: Producer) -> None:
        self._plan = plan
        self._producer = producer
        self._payloads = cycle(plan.payloads)
        self._latencies: list[float] = []
        self._created: list[tuple[bytes, float, float]] = []
        self._asked = 0
        self._began = 0.0

    async def run(self) -> Result:
        """Create everything; return when the last answer is there."""
        cpu = time.process_time()
        self._began = time.monotonic()
        if self._plan.rate is not None:
            await self._keep_pace(self._plan.rate)
        else:
            call = self._call_one if self._plan.do == "enqueue" else self._call_many
            await asyncio.gather(
                *(self._call_on(call) for _ in range(self._plan.callers))
            )
        ended = time.monotonic()
        if self._plan.records:
            write_created(Path(self._plan.records), self._created)
        return Result(
            jobs=self._asked,
            seconds=ended - self._began,
            p50_ms=milliseconds(self._latencies, 0.5),
            p99_ms=milliseconds(self._latencies, 0.99),
            cpu_seconds=round(time.process_time() - cpu, 2),
        )

    async def _call_on(self, call: Callable[[], Awaitable[None]]) -> None:
        while (
            self._asked < self._plan.jobs
            and time.monotonic() - self._began < self._plan.seconds
        ):
            await call()

    async def _keep_pace(self, rate: float) -> None:
        for number in range(int(rate * self._plan.seconds)):
            due = self._began + number / rate
            await asyncio.sleep(max(due - time.monotonic(), 0.0))
            await self._call_one()

    async def _call_one(self) -> None:
        self._asked += 1
        payload = next(self._payloads)
        sent = time.monotonic()
        if self._plan.stamped:
            payload = {**payload, STAMP: sent}
        job_id = await self._producer.enqueue(payload)
        accepted = time.monotonic()
        self._latencies.append(accepted - sent)
        if self._plan.records:
            self._created.append((webhook_id(job_id).encode(), sent, accepted))

    async def _call_many(self) -> None:
        many = list(self._take(min(self._plan.batch, self._plan.jobs - self._asked)))
        self._asked += len(many)
        sent = time.monotonic()
        await self._producer.enqueue_many(many)
        self._latencies.append(time.monotonic() - sent)

    def _take(self, number: int) -> Iterator[Payload]:
        return (next(self._payloads) for _ in range(number))


def webhook_id(job_id: object) -> str:
    """Return a peer's job id as the sink wants it: as the text of a UUID."""
    return str(UUID(int=job_id)) if isinstance(job_id, int) else str(job_id)
