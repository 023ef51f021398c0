"""What workers say of their jobs: completed, or failed; many share one statement.

REST and gRPC put it here and get the same answer.  Who does not hold the job is told
why (contract 4.2).
"""

import asyncio
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from prometheus_client import Counter

from libs.common.aftermath import follow_up
from libs.common.backoff import delay_seconds, policy_of
from libs.common.batcher import Batcher
from libs.common.bus import Bus
from libs.common.db import Pool, borrow
from libs.common.errors import BellhopError, Fault, Malformed, Rejected, Transient
from libs.common.messages import WorkReady
from libs.common.store import settlement as store
from libs.common.store.settlement import (
    Closed,
    Death,
    How,
    Policy,
    Question,
    Settled,
)
from services.ingest.fencing import (
    EXPIRED_COMPLETING,
    EXPIRED_FAILING,
    Claimant,
    refusal,
)
from services.ingest.settings import BATCH_BYTES_MAX

SETTLED: Final = Counter(
    "bellhop_work_settled_total", "Jobs that workers ended.", ["how"]
)
#: The largest result of a job, in bytes (contract, Limits).
RESULT_BYTES_MAX: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a worker's attempt ended.

    *queues* are those the caller may touch, None for all.  *lease_id* is as it was
    given.  *result* is JSON; *error* is None when the attempt succeeded; without
    *retry* a job that failed is not tried again, and else no sooner than
    *retry_after_seconds* from now.
    """

    organization_id: UUID
    queues: tuple[str, ...] | None
    job_id: UUID
    worker_id: str
    lease_id: str | None
    result: str | None = None
    error: str | None = None
    retry: bool = True
    retry_after_seconds: float = 0.0

    @property
    def claimant(self) -> Claimant:
        """Who says so."""
        return Claimant(self.worker_id, self.lease_id)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the job; *delay_seconds* until it is tried again."""

    how: How
    delay_seconds: float | None = None


class Settlement:
    """Settles, in batches; one a process."""

    def __init__(
        self,
        pool: Pool,
        bus: Bus,
        *,
        batch_max: int,
        lanes: int,
        require_lease_id: bool = False,
        on_ended: Callable[[Ended, Outcome], None] | None = None,
    ) -> None:
        """Settle on *pool*; *on_ended* hears of each attempt that was settled."""
        self._pool = pool
        self._bus = bus
        self._require_lease_id = require_lease_id
        self._on_ended = on_ended
        self._watched: dict[UUID, set[asyncio.Event]] = {}
        self._batcher: Batcher[Ended, Outcome | BellhopError] = Batcher(
            "settle",
            self._flush,
            batch_max=batch_max,
            lanes=lanes,
            weigh=lambda ended: len(ended.result or ""),
            weight_max=BATCH_BYTES_MAX,
        )

    async def settle(self, ended: Ended) -> Outcome:
        """Settle one attempt; return once it is committed.

        Raises `NotFound`, `Conflict` or `LeaseExpired` when it is not the worker's to
        settle, `Malformed`, and `Unavailable`: then it may have been settled or not.
        """
        self._check(ended)
        answer = await self._batcher.put(ended)
        if isinstance(answer, BellhopError):
            raise answer
        return answer

    async def settle_all(self, ended: Sequence[Ended]) -> list[Outcome | BellhopError]:
        """Settle many attempts; each is answered for itself, in order."""
        answers: dict[int, Outcome | BellhopError] = {}
        for index, each in enumerate(ended):
            try:
                self._check(each)
            except Malformed as error:
                answers[index] = error
        sound = [index for index in range(len(ended)) if index not in answers]
        settled = await self._batcher.put_all([ended[index] for index in sound])
        answers |= dict(zip(sound, settled, strict=True))
        return [answers[index] for index in range(len(ended))]

    async def give_back(self, ended: Sequence[Ended]) -> None:
        """Make claimed jobs ready again that nobody has begun; charges no retry.

        What is no longer so leased is left alone.  Raises `Unavailable`; the leases run
        out then.
        """
        if not ended:
            return
        told = [_settled(each, "released") for each in ended if each.claimant.readable]
        async with borrow(self._pool) as conn:
            closed = await store.settle(conn, attempts=told, actor="")
        await self._tell(closed)

    @contextmanager
    def watched(self, job_id: UUID) -> Iterator[asyncio.Event]:
        """Yield an event that is set when the job is settled through this process."""
        event = asyncio.Event()
        self._watched.setdefault(job_id, set()).add(event)
        try:
            yield event
        finally:
            events = self._watched[job_id]
            events.discard(event)
            if not events:
                del self._watched[job_id]

    async def drain(self) -> None:
        """Return when everything that was said is committed."""
        await self._batcher.drain()

    def _check(self, ended: Ended) -> None:
        if self._require_lease_id and ended.lease_id is None:
            raise Malformed(Fault("lease_id", "is required", "missing"))
        if ended.result is not None and len(ended.result.encode()) > RESULT_BYTES_MAX:
            raise Malformed(Fault("result", "result is larger than 1 MiB", "size"))

    async def _flush(self, batch: Sequence[Ended]) -> list[Outcome | BellhopError]:
        """Settle a batch; what cannot be stored spoils nobody else's."""
        try:
            return await self._settle(batch)
        except Transient as error:
            return [error for _ in batch]
        except Rejected as error:
            if len(batch) > 1:
                # The batcher tries them one by one.
                raise
            return [error]

    async def _settle(self, batch: Sequence[Ended]) -> list[Outcome | BellhopError]:
        policies = await self._policies(batch)
        told: dict[int, Settled] = {}
        for index, ended in enumerate(batch):
            settled = _judge(ended, policies.get(ended.job_id))
            if settled is not None:
                told[index] = settled
        answers: dict[int, Outcome | BellhopError] = {}
        if told:
            async with borrow(self._pool) as conn:
                closed = await store.settle(
                    conn, attempts=list(told.values()), actor=""
                )
            places = list(told)
            for job in closed:
                index = places[job.index]
                answers[index] = self._note(batch[index], told[index])
            await self._tell(closed)
        refused = [index for index in range(len(batch)) if index not in answers]
        if refused:
            errors = await self._refusals([batch[index] for index in refused])
            answers |= dict(zip(refused, errors, strict=True))
        return [answers[index] for index in range(len(batch))]

    async def _policies(self, batch: Sequence[Ended]) -> dict[UUID, Policy]:
        """Return what decides on the retries of those that failed."""
        failed = [
            (ended.job_id, ended.claimant.lease, ended.worker_id)
            for ended in batch
            if ended.error is not None and ended.retry and ended.claimant.readable
        ]
        if not failed:
            return {}
        async with borrow(self._pool) as conn:
            return await store.read_policies(conn, leases=failed)

    async def _refusals(self, refused: Sequence[Ended]) -> list[BellhopError]:
        """Return why these were not settled; what was settled stays settled."""
        try:
            async with borrow(self._pool) as conn:
                standings = await store.read_standing(
                    conn,
                    questions=[
                        Question(
                            job_id=ended.job_id,
                            organization_id=ended.organization_id,
                            queues=ended.queues,
                            owner=ended.worker_id,
                        )
                        for ended in refused
                    ],
                )
        except Transient as error:
            return [error for _ in refused]
        return [
            refusal(
                ended.claimant,
                standing,
                expired=EXPIRED_COMPLETING if ended.error is None else EXPIRED_FAILING,
            )
            for ended, standing in zip(refused, standings, strict=True)
        ]

    def _note(self, ended: Ended, settled: Settled) -> Outcome:
        outcome = Outcome(settled.how, settled.delay_seconds)
        SETTLED.labels(settled.how).inc()
        if self._on_ended is not None:
            self._on_ended(ended, outcome)
        return outcome

    async def _tell(self, closed: Sequence[Closed]) -> None:
        """Tell everybody who waits for it that jobs left their workers."""
        if not closed:
            return
        for job in closed:
            for event in self._watched.get(job.job_id, ()):
                event.set()
        released = {job.lane_id for job in closed if job.how == "released"}
        if released:
            await self._bus.ring(WorkReady(lanes=sorted(released)))
        await follow_up(
            self._pool,
            self._bus,
            lanes={job.lane_id for job in closed if job.limited},
            released={job.released for job in closed},
            left_line=any(job.left_line for job in closed),
        )


def _judge(ended: Ended, policy: Policy | None) -> Settled | None:
    """Return how the attempt is settled; None when it cannot be the worker's."""
    if not ended.claimant.readable:
        return None
    if ended.error is None:
        return _settled(ended, "completed")
    if not ended.retry:
        return _settled(ended, "deadlettered", death="given_up")
    if policy is None:
        return None
    if policy.retry_count >= policy.max_retries:
        return _settled(ended, "deadlettered", death="attempts_exhausted")
    delay = delay_seconds(
        policy_of(policy.retry, policy.knobs),
        retry_count=policy.retry_count,
        luck=random.random(),  # noqa: S311 - jitter, no secret
        retry_after_seconds=ended.retry_after_seconds,
    )
    return _settled(ended, "retrying", delay_seconds=delay)


def _settled(
    ended: Ended,
    how: How,
    *,
    delay_seconds: float | None = None,
    death: Death | None = None,
) -> Settled:
    return Settled(
        job_id=ended.job_id,
        lease_id=ended.claimant.lease,
        how=how,
        owner=ended.worker_id,
        organization_id=ended.organization_id,
        queues=ended.queues,
        delay_seconds=delay_seconds,
        death=death,
        error=ended.error and ended.error.replace("\x00", "\ufffd"),
        result=ended.result,
    )
