"""Jobs handed to workers: whoever asks at the same moment shares one statement.

Lanes of queues with a limit go another way, in batches of their own, so that whoever
waits there for somebody else's transaction keeps nobody else waiting (promise 7).
"""

import asyncio
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
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
from libs.common.floors import Floors
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
    #: When there may be more (seconds from then), if the queue's rate is why not now,
    #: or what may stand before the lane's floor was passed over.
    again_seconds: float | None = None
    #: Nothing was given because the queue has a limit: ask the other way.
    refused: bool = False
    #: Nothing was given because others were given as many bytes as one statement gives.
    postponed: bool = False
    #: Nobody waits for it any more: what is given goes back.
    abandoned: bool = False


class Handouts:
    """Claims for workers in batches."""

    def __init__(self, pool: Pool, bus: Bus, *, batch_max: int, lanes: int) -> None:
        self._pool = pool
        self._bus = bus
        #: Where lanes begin: `Floors.look` is an actor.
        self.floors = Floors(pool)
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
            while True:
                if lane_id not in self._limited:
                    await self._free.put(handout)
                else:
                    handout.refused = True
                if handout.refused:
                    await self._admitted.put(handout)
                if not handout.postponed:
                    break
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
                    given, floored = await self._claim(conn, asked)
                await self._hand_over(given, open_)
                self._remember(given.refused)
                for handout in piece:
                    lane_id = handout.asked.lane_id
                    handout.refused |= lane_id in given.refused
                    handout.postponed = lane_id in given.beyond and not handout.work
                    handout.again_seconds = floored.get(lane_id)
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
                    given, admitted, again = await self._claim_admitted(conn, asked)
                await self._hand_over(given, open_)
                self._limited -= admitted.unlimited
                for handout in piece:
                    lane_id = handout.asked.lane_id
                    handout.postponed = lane_id in given.beyond and not handout.work
                    handout.again_seconds = again.get(lane_id)
                asked = _missing(given, open_)
        return [None] * len(batch)

    async def _claim_admitted(
        self, conn: Conn, asked: Sequence[Asked]
    ) -> tuple[Given, Admission, dict[int, float]]:
        """Claim what the limits of the queues allow."""
        wanted: Counter[int] = Counter()
        for one in asked:
            wanted[one.lane_id] += one.limit
        given = Given()
        again: dict[int, float] = {}
        async with admission(conn, asked=wanted) as admitted:
            allowed = list(_within(asked, admitted.quotas))
            if allowed:
                given, again = await self._claim(
                    conn, allowed, admitted=admitted.gates_of
                )
                admitted.started(
                    job.lane_id for work in given.work.values() for job in work
                )
        return given, admitted, again | admitted.again

    # --- both ----------------------------------------------------------------------

    async def _claim(
        self, conn: Conn, asked: Sequence[Asked], *, admitted: Collection[int] = ()
    ) -> tuple[Given, dict[int, float]]:
        """Claim; return what is given, and when to ask again where there is a floor."""
        floors = self.floors.of({one.lane_id for one in asked})
        given = await claims.claim_work(
            conn, asked=asked, admitted=admitted, floors=floors
        )
        self.floors.took(job.lane_id for work in given.work.values() for job in work)
        return given, dict.fromkeys(floors, self.floors.again_seconds)

    async def _hand_over(self, given: Given, open_: dict[UUID, Handout]) -> None:
        for lease_id, work in given.work.items():
            handout = open_[lease_id]
            handout.work += work
            CLAIMED.inc(len(work))
            if handout.abandoned:
                self._send_back(handout)
        if given.work or given.expired:
            await follow_up(
                self._pool,
                self._bus,
                lanes=(),
                left_line=bool(given.expired),
                released=[given.released],
            )


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
