"""Schedules that are due become jobs: each tick once, with any number of schedulers.

A batch is one transaction: it takes schedules that are due and that nobody else has,
creates their jobs, notes what became of each tick, and lets the schedules move on from
where they stood.  Whoever dies half-way has done nothing, and the next one does it.
What Postgres says the time is decides; we only sleep until about then.

Midnight is the tick of many.  So a few hands take batches side by side, as many as were
seen to be due next: Postgres works for one of them while another thinks.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Final, NamedTuple
from uuid import UUID

import structlog
from prometheus_client import Counter, Histogram

from libs.common.aftermath import follow_up
from libs.common.bus import Bus
from libs.common.db import Conn, Pool, Row, borrow
from libs.common.errors import Transient
from libs.common.firing import Fired, make_jobs
from libs.common.lines import release_lines
from libs.common.loops import Doorbell
from libs.common.messages import SchedulesChanged
from libs.common.plans import PlanLimits
from libs.common.store import firings, interventions, schedules
from libs.common.store.dependencies import Released
from libs.common.store.firings import NextDue, Run
from libs.common.zones import EDITION
from services.scheduler.decisions import Decisions

log = structlog.get_logger()

FIRED: Final = Counter("bellhop_schedules_fired_total", "Ticks that became jobs.")
REFUSED: Final = Counter(
    "bellhop_schedules_refused_total", "Ticks that a plan had no room for."
)
MISSED: Final = Counter(
    "bellhop_schedules_missed_total", "Ticks that came while nobody could fire them."
)
SKIPPED: Final = Counter(
    "bellhop_schedules_skipped_total", "Ticks left out: the run before was not over."
)
LAG: Final = Histogram(
    "bellhop_schedules_lag_seconds",
    "From when a tick is due to when its job is there.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60, 600),
)

_ACTOR: Final = "schedule"
#: Batches that are under way at once, at most.
_HANDS: Final = 3
#: Another scheduler has what is due; it will be done in a moment.
_HELD_SECONDS: Final = 0.02
#: A queued tick waits for a job to end, and nobody says when.
_QUEUED_SECONDS: Final = 0.25


class Recurring:
    """One actor: fires, and sleeps until the next tick is due."""

    def __init__(
        self,
        pool: Pool,
        bus: Bus,
        bell: Doorbell,
        *,
        plan_limits: PlanLimits | None,
        batch_max: int,
        poll_seconds: float,
        grace: timedelta,
    ) -> None:
        self._pool = pool
        self._bus = bus
        self._bell = bell
        self._batch_max: Final = batch_max
        self._poll_seconds: Final = poll_seconds
        self._undecided: Final = partial(Decisions, grace, plan_limits)
        #: What is to come, as it looked last: nobody has looked yet.
        self._next = NextDue(0.0, 0, queued=True)

    async def run(self, stopping: asyncio.Event) -> None:
        """Fire until stopped: asleep until the next is due, but not for long."""
        while not stopping.is_set():
            wait = self._poll_seconds
            try:
                wait = min(wait, await self._turn(stopping))
            except Transient as error:
                log.warning("loop.turn_lost", turn="recurring", cause=str(error))
            if wait > 0:
                await self._bell.wait(at_most=wait)

    async def listen(self, stopping: asyncio.Event) -> None:
        """Hear that something may be due earlier, until stopped."""
        await self._bus.hear(
            SchedulesChanged, lambda _: self._bell.ring(), stopping=stopping
        )

    async def _turn(self, stopping: asyncio.Event) -> float:
        """Fire what is due and what was queued; return the seconds until there is more.

        Raises what a hand raised when all of them are through.
        """
        hands = min(max(1, -(-self._next.schedules // self._batch_max)), _HANDS)
        counts = await asyncio.gather(
            *(self._fire_due(stopping) for _ in range(hands)), return_exceptions=True
        )
        for count in counts:
            if isinstance(count, BaseException):
                raise count
        taken = any(counts)
        if self._next.queued:
            taken |= await self._fire(firings.claim_queued, Decisions.decide_queued) > 0
        if taken:
            await self._bus.ring_journal()
        async with borrow(self._pool) as conn:
            self._next = await firings.next_due(conn, limit=self._batch_max * _HANDS)
        wait = self._poll_seconds
        if self._next.seconds is not None:
            # Due and not taken: another scheduler holds it right now.
            least = 0.0 if taken else _HELD_SECONDS
            wait = min(wait, max(self._next.seconds, least))
        return min(wait, _QUEUED_SECONDS) if self._next.queued else wait

    async def _fire_due(self, stopping: asyncio.Event) -> int:
        """Fire batches until one is not full; return how many schedules were due."""
        taken = 0
        while not stopping.is_set():
            count = await self._fire(firings.claim_due, Decisions.decide)
            taken += count
            if count < self._batch_max:
                break
        return taken

    async def _fire(
        self,
        claim: Callable[..., Awaitable[list[Row]]],
        decide: Callable[[Decisions, Row], None],
    ) -> int:
        """Fire one batch; return how many schedules are in it."""
        decisions = self._undecided()
        async with borrow(self._pool) as conn, conn.transaction():
            rows = await claim(conn, limit=self._batch_max)
            for row in rows:
                decide(decisions, row)
            done = await _carry_out(conn, decisions)
        _count(decisions, done)
        await self._tell(done.fired)
        if decisions.cancelled:
            await follow_up(
                self._pool,
                self._bus,
                lanes=done.freed,
                left_line=True,
                released=done.released,
            )
        return len(rows)

    async def _tell(self, fired: Sequence[Fired]) -> None:
        """Say what came; who waits for it looks again by itself if this is lost."""
        lanes = {one.lane for one in fired if one.lane is not None}
        if lanes:
            await self._bus.ring_lanes(lanes)
        if any(one.in_line for one in fired):
            await release_lines(self._pool, self._bus)


class _Done(NamedTuple):
    """What was fired, what was noted of all ticks, and where there is room now."""

    fired: list[Fired]
    runs: list[Run]
    #: In which lanes there is room now, and what came of what was cancelled.
    freed: set[int]
    released: set[Released]
    #: When each schedule moved on.
    moved: dict[UUID, datetime]


async def _carry_out(conn: Conn, decisions: Decisions) -> _Done:
    """Do what was decided."""
    for row in decisions.gone:
        await schedules.pause(
            conn, organization_id=row["organization_id"], id_=row["id"]
        )
    freed, released = await _cancel(conn, decisions.cancelled)
    asked, moves = decisions.asked, decisions.moves
    fired = await make_jobs(conn, asked=asked) if asked else []
    runs = [*(one.run() for one in fired), *decisions.runs]
    jobs = await firings.record(conn, runs=runs) if runs else {}
    moved = {}
    if moves:
        moved = await firings.move_on(conn, moves=moves, jobs=jobs, edition=EDITION)
    return _Done(fired, runs, freed, released, moved)


async def _cancel(
    conn: Conn, jobs: Sequence[tuple[UUID, UUID]]
) -> tuple[set[int], set[Released]]:
    """Cancel jobs wherever they stand.

    Return the lanes in which there is room now, and what came of it.
    """
    freed, released = set(), set()
    for organization_id, job_id in jobs:
        which = {"organization_id": organization_id, "job_id": job_id}
        if done := await interventions.cancel(conn, **which, actor=_ACTOR):
            released.add(done)
        elif found := await interventions.cancel_in_work(conn, **which, actor=_ACTOR):
            freed.add(found[0])
            released.add(found[1])
    return freed, released


def _count(decisions: Decisions, done: _Done) -> None:
    made = sum(one.job_id is not None for one in done.fired)
    FIRED.inc(made)
    REFUSED.inc(len(done.fired) - made)
    SKIPPED.inc(len(done.runs) - len(done.fired))
    MISSED.inc(sum(run.missed for run in done.runs))
    for id_, at in decisions.due_at.items():
        if id_ in done.moved:
            LAG.observe((done.moved[id_] - at).total_seconds())
