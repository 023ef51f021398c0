"""Jobs handed to workers: whoever asks at the same moment shares one statement.

Lanes of queues with a limit go another way, in batches of their own, so that whoever
waits there for somebody else's transaction keeps nobody else waiting (promise 7).
"""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final
from uuid import UUID

import structlog
from prometheus_client import Counter as Metric

from libs.common.admission import Admission, admission
from libs.common.aftermath import follow_up
from libs.common.batcher import Batcher
from libs.common.bus import Bus
from libs.common.db import Conn, Pool, borrow
from libs.common.errors import Transient
from libs.common.store import claims, settlement
from libs.common.store.claims import Asked, ClaimedWork, Given
from libs.common.store.settlement import Settled

log = structlog.get_logger()

CLAIMED: Final = Metric("bellhop_work_claimed_total", "Jobs handed to workers.")
#: How many jobs one statement hands out at most.
_JOBS_MAX: Final = 1000
_LIMITED_MAX: Final = 100_000


@dataclass(slots=True, eq=False)
class Handout:
    """What one worker asks of one lane, and what becomes of it."""

    organization_id: UUID
    asked: Asked
    work: list[ClaimedWork] = field(default_factory=list)
    #: When there may be more (seconds from then), if the queue's rate is why not now.
    again_seconds: float | None = None
    #: Nothing was given because the queue has a limit: ask the other way.
    refused: bool = False
    #: Nobody waits for it any more: what is given goes back.
    abandoned: bool = False


class Handouts:
    """Claims for workers in batches."""

    def __init__(self, pool: Pool, bus: Bus, *, batch_max: int, lanes: int) -> None:
        self._pool = pool
        self._bus = bus
        #: Lanes that were refused: only where to ask first, never who gets how much.
        self._limited: set[int] = set()
        self._free: Batcher[Handout, None] = Batcher(
            "claim", self._flush_free, batch_max=batch_max, lanes=lanes
        )
        self._admitted: Batcher[Handout, None] = Batcher(
            "claim_limited", self._flush_limited, batch_max=batch_max, lanes=1
        )
        self._going_back: set[asyncio.Task[None]] = set()

    async def take(self, handout: Handout) -> None:
        """Fill in what is given.

        Raises `Unavailable` when Postgres is away.  Cancelling gives it back.
        """
        lane_id = handout.asked.lane_id
        try:
            if lane_id not in self._limited:
                await self._free.put(handout)
            else:
                handout.refused = True
            if handout.refused:
                await self._admitted.put(handout)
        except Transient:
            # What was given before Postgres went away is given.
            if not handout.work:
                raise
        except asyncio.CancelledError:
            handout.abandoned = True
            # Still under way, it goes back when it comes.
            self._send_back(handout)
            raise

    async def give_back(self, handout: Handout) -> None:
        """Release the jobs: the attempts did not happen.

        When Postgres is away their leases run out instead.
        """
        work, handout.work = handout.work, []
        if not work:
            return
        try:
            async with borrow(self._pool) as conn:
                closed = await settlement.settle(
                    conn,
                    attempts=[
                        Settled(
                            job_id=job.job_id,
                            lease_id=job.lease_id,
                            owner=handout.asked.owner,
                            organization_id=handout.organization_id,
                            how="released",
                        )
                        for job in work
                    ],
                    actor=handout.asked.owner,
                )
        except Transient as error:
            log.warning("work.not_released", cause=str(error), jobs=len(work))
            return
        await self._bus.ring_lanes((job.lane_id, False) for job in closed)
        await follow_up(
            self._pool,
            self._bus,
            lanes={job.lane_id for job in closed if job.limited},
            awaited=False,
            left_line=False,
        )

    async def drain(self) -> None:
        """Return when nothing is under way."""
        await self._free.drain()
        await self._admitted.drain()
        while self._going_back:
            await asyncio.wait(self._going_back)

    def _send_back(self, handout: Handout) -> None:
        if handout.work:
            # Owned by the set, awaited by `drain`.
            task = asyncio.create_task(self.give_back(handout))
            self._going_back.add(task)
            task.add_done_callback(self._going_back.discard)

    # --- queues without a limit ----------------------------------------------------

    async def _flush_free(self, batch: Sequence[Handout]) -> list[None]:
        for piece in _pieces(batch):
            open_ = {handout.asked.lease_id: handout for handout in piece}
            asked = [handout.asked for handout in piece]
            while asked:
                async with borrow(self._pool) as conn:
                    given = await claims.claim_work(conn, asked=asked)
                await self._hand_over(given, open_)
                self._remember(given.refused)
                for handout in piece:
                    handout.refused |= handout.asked.lane_id in given.refused
                asked = _missing(given, open_)
        return [None] * len(batch)

    def _remember(self, refused: set[int]) -> None:
        if len(self._limited) > _LIMITED_MAX:
            self._limited.clear()
        self._limited |= refused

    # --- queues with a limit -------------------------------------------------------

    async def _flush_limited(self, batch: Sequence[Handout]) -> list[None]:
        for piece in _pieces(batch):
            open_ = {handout.asked.lease_id: handout for handout in piece}
            asked = [handout.asked for handout in piece]
            while asked:
                async with borrow(self._pool) as conn:
                    given, admitted = await _claim_admitted(conn, asked)
                await self._hand_over(given, open_)
                self._limited -= admitted.unlimited
                for handout in piece:
                    lane_id = handout.asked.lane_id
                    handout.again_seconds = admitted.again.get(lane_id)
                asked = _missing(given, open_)
        return [None] * len(batch)

    # --- both ----------------------------------------------------------------------

    async def _hand_over(self, given: Given, open_: dict[UUID, Handout]) -> None:
        for lease_id, work in given.work.items():
            handout = open_[lease_id]
            handout.work += work
            CLAIMED.inc(len(work))
            if handout.abandoned:
                self._send_back(handout)
        if given.work or given.expired:
            ended = bool(given.expired)
            await follow_up(
                self._pool, self._bus, lanes=(), awaited=ended, left_line=ended
            )


async def _claim_admitted(
    conn: Conn, asked: Sequence[Asked]
) -> tuple[Given, Admission]:
    """Claim what the limits of the queues allow."""
    wanted: Counter[int] = Counter()
    for one in asked:
        wanted[one.lane_id] += one.limit
    given = Given()
    async with admission(conn, asked=wanted) as admitted:
        allowed = list(_within(asked, admitted.quotas))
        if allowed:
            given = await claims.claim_work(
                conn, asked=allowed, admitted=admitted.gates_of
            )
            admitted.started(
                job.lane_id for work in given.work.values() for job in work
            )
    return given, admitted


def _within(asked: Sequence[Asked], quotas: dict[int, int]) -> Iterator[Asked]:
    """Return what is asked as far as the quotas go: who asked first comes first."""
    left = dict(quotas)
    for one in asked:
        part = min(one.limit, left.get(one.lane_id, 0))
        if part:
            left[one.lane_id] -= part
            yield replace(one, limit=part)


def _missing(given: Given, open_: dict[UUID, Handout]) -> list[Asked]:
    """Return what to ask for again, in place of jobs whose time to run had passed."""
    return [
        replace(open_[lease_id].asked, limit=jobs)
        for lease_id, jobs in given.expired.items()
        if not open_[lease_id].abandoned
    ]


def _pieces(batch: Sequence[Handout]) -> Iterator[list[Handout]]:
    """Cut a batch so that no piece asks for too many jobs.

    Left out is who has left, or was served before the batch had to be tried again.
    """
    piece: list[Handout] = []
    jobs = 0
    for handout in batch:
        if handout.abandoned or handout.work:
            continue
        if piece and jobs + handout.asked.limit > _JOBS_MAX:
            yield piece
            piece, jobs = [], 0
        piece.append(handout)
        jobs += handout.asked.limit
    if piece:
        yield piece
