"""Schedules that are due become jobs: each tick once, with any number of schedulers.

A turn is one transaction: it takes schedules that are due and that nobody else has,
creates their jobs, notes what became of each tick, and lets the schedules move on from
where they stood.  Whoever dies half-way has done nothing, and the next one does it.
What Postgres says the time is decides; we only sleep until about then.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import structlog
from prometheus_client import Counter, Histogram

from libs.common.aftermath import follow_up
from libs.common.bus import Bus
from libs.common.db import Conn, Pool, Row, borrow
from libs.common.errors import Transient
from libs.common.firing import Fired, Firing, is_gone, make_jobs
from libs.common.ids import new_id
from libs.common.lines import release_lines
from libs.common.loops import Doorbell
from libs.common.messages import JournalGrew, SchedulesChanged
from libs.common.plans import PlanLimits
from libs.common.quotas import stored_plan
from libs.common.store import firings, interventions, schedules
from libs.common.store.firings import Move, Run
from libs.common.ticks import Misfire, Rhythm, Tick, due, overlap, rhythm_of
from libs.common.zones import EDITION

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
#: Another scheduler has what is due; it will be done in a moment.
_HELD_SECONDS: Final = 0.02
#: A queued tick waits for a job to end, and nobody says when.
_QUEUED_SECONDS: Final = 0.25
_STILL_RUNNING: Final = "skipped: the run before is not over"
_QUEUE_IS_FULL: Final = "skipped: the run before is not over, and a tick waits for it"
_SUPERSEDED: Final = "skipped: a later tick was due as well"


@dataclass(slots=True)
class _Decided:
    """What is to happen to schedules that are due."""

    asked: list[Firing] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)
    #: Jobs to cancel, by whose they are.
    cancelled: list[tuple[UUID, UUID]] = field(default_factory=list)
    gone: list[Row] = field(default_factory=list)


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
        self._plan_limits = plan_limits
        self._batch_max: Final = batch_max
        self._poll_seconds: Final = poll_seconds
        self._grace: Final = grace

    async def run(self, stopping: asyncio.Event) -> None:
        """Fire until stopped: asleep until the next is due, but not for long."""
        while not stopping.is_set():
            wait = self._poll_seconds
            try:
                wait = min(wait, await self._turn())
            except Transient as error:
                log.warning("loop.turn_lost", turn="recurring", cause=str(error))
            if wait > 0:
                await self._bell.wait(at_most=wait)

    async def listen(self, stopping: asyncio.Event) -> None:
        """Hear that something may be due earlier, until stopped."""
        await self._bus.hear(
            SchedulesChanged, lambda _: self._bell.ring(), stopping=stopping
        )

    async def _turn(self) -> float:
        """Fire one batch; return the seconds until there is something to do."""
        async with borrow(self._pool) as conn:
            taken = await self._fire(conn)
            following = await firings.next_due(conn)
        wait = self._poll_seconds
        if following.seconds is not None:
            # Due and not taken: another scheduler holds it right now.
            least = 0.0 if taken else _HELD_SECONDS
            wait = min(wait, max(following.seconds, least))
        return min(wait, _QUEUED_SECONDS) if following.queued else wait

    async def _fire(self, conn: Conn) -> bool:
        """Fire what is due and what was queued; return whether there was something."""
        async with conn.transaction():
            rows = await firings.claim_due(conn, limit=self._batch_max)
            decided = _Decided()
            for row in rows:
                self._decide(row, decided)
            queued = await firings.claim_queued(conn, limit=self._batch_max)
            for row in queued:
                self._decide_queued(row, decided)
            for row in decided.gone:
                await schedules.pause(
                    conn, organization_id=row["organization_id"], id_=row["id"]
                )
            freed = await _cancel(conn, decided.cancelled)
            fired = await make_jobs(conn, asked=decided.asked) if decided.asked else []
            runs = [*(one.run() for one in fired), *decided.runs]
            jobs = await firings.record(conn, runs=runs) if runs else {}
            moved = {}
            if decided.moves:
                moved = await firings.move_on(
                    conn, moves=decided.moves, jobs=jobs, edition=EDITION
                )
        _count(rows, fired, runs, moved)
        await self._tell(fired)
        if decided.cancelled:
            await follow_up(
                self._pool, self._bus, lanes=freed, awaited=True, left_line=True
            )
        return bool(rows)

    def _decide(self, row: Row, decided: _Decided) -> None:
        """Decide about a schedule that is due."""
        if is_gone(row):
            decided.gone.append(row)
            return
        first = Tick(row["next_tick"], row["next_at"])
        try:
            found = due(
                rhythm_of_row(row),
                first,
                misfire=_misfire(row),
                now=row["asked_at"],
                grace=self._grace,
            )
        except ValueError as error:
            # A zone that there is no more, for example: it has to be changed.
            log.warning("schedule.unreadable", schedule_id=str(row["id"]))
            decided.runs.append(_without_job(row, first.tick, str(error)))
            decided.moves.append(_move(row, None, row["queued_tick"]))
            return
        over = overlap(
            row["overlap"], found.ticks, busy=row["busy"], queued=row["queued_tick"]
        )
        for tick in over.fired:
            missed = found.missed if tick == over.fired[0] else 0
            decided.asked.append(self._firing(row, tick, missed))
        decided.runs.extend(
            _without_job(row, tick, _why_skipped(row)) for tick in over.skipped
        )
        if found.missed and not found.ticks:
            words = f"missed: nobody could fire it within {self._grace.seconds} seconds"
            decided.runs.append(_without_job(row, first.tick, words, found.missed - 1))
        if over.cancels:
            decided.cancelled.append((row["organization_id"], row["last_job_id"]))
        decided.moves.append(_move(row, found.following, over.queued))

    def _decide_queued(self, row: Row, decided: _Decided) -> None:
        """Decide about a schedule whose queued tick waits for nothing any more."""
        if any(move.schedule_id == row["id"] for move in decided.moves):
            # It was due, too, and another tick may be queued by now: the next turn.
            return
        if is_gone(row):
            decided.gone.append(row)
            return
        decided.asked.append(self._firing(row, row["queued_tick"], 0))
        decided.moves.append(_move(row, following_of(row), None))

    def _firing(self, row: Row, tick: datetime, missed: int) -> Firing:
        return Firing(
            schedule=row,
            plan=stored_plan(row, self._plan_limits),
            source="cron",
            tick=tick,
            missed=missed,
        )

    async def _tell(self, fired: Sequence[Fired]) -> None:
        """Say what came; who waits for it looks again by itself if this is lost."""
        lanes = {one.lane for one in fired if one.lane is not None}
        if lanes:
            await self._bus.ring_lanes(lanes)
            await self._bus.ring(JournalGrew())
        if any(one.in_line for one in fired):
            await release_lines(self._pool, self._bus)


async def _cancel(conn: Conn, jobs: Sequence[tuple[UUID, UUID]]) -> set[int]:
    """Cancel jobs wherever they stand; return the lanes in which there is room now."""
    freed = set()
    for organization_id, job_id in jobs:
        which = {"organization_id": organization_id, "job_id": job_id}
        if not await interventions.cancel(conn, **which, actor=_ACTOR):
            lane_id = await interventions.cancel_in_work(conn, **which, actor=_ACTOR)
            if lane_id is not None:
                freed.add(lane_id)
    return freed


def rhythm_of_row(row: Row) -> Rhythm:
    """Return when a stored schedule fires; raises `ValueError` for one that is none."""
    return rhythm_of(
        row["id"],
        expression=row["cron_expression"],
        timezone=row["timezone"],
        created_at=row["created_at"],
        start_at=row["start_at"],
        end_at=row["end_at"],
        jitter_seconds=row["jitter_seconds"],
    )


def following_of(row: Row) -> Tick | None:
    """Return what a stored schedule does next."""
    if row["next_tick"] is None:
        return None
    return Tick(row["next_tick"], row["next_at"])


def _misfire(row: Row) -> Misfire:
    if row["misfire"] != "catch_up":
        return Misfire(policy=row["misfire"])
    return Misfire(
        policy="catch_up",
        most=row["catch_up_max"],
        window=timedelta(seconds=row["catch_up_seconds"]),
    )


def _move(row: Row, following: Tick | None, queued: datetime | None) -> Move:
    return Move(
        schedule_id=row["id"],
        so_far=row["next_tick"],
        following=following,
        queued=queued,
    )


def _without_job(row: Row, tick: datetime, words: str, missed: int = 0) -> Run:
    return Run(
        id=new_id(),
        schedule_id=row["id"],
        source="cron",
        tick=tick,
        missed=missed,
        error_message=words,
    )


def _why_skipped(row: Row) -> str:
    match row["overlap"]:
        case "cancel_previous":
            return _SUPERSEDED
        case "queue_one":
            return _QUEUE_IS_FULL
        case _:
            return _STILL_RUNNING


def _count(
    rows: Sequence[Row],
    fired: Sequence[Fired],
    runs: Sequence[Run],
    moved: dict[UUID, datetime],
) -> None:
    made = sum(one.job_id is not None for one in fired)
    FIRED.inc(made)
    REFUSED.inc(len(fired) - made)
    SKIPPED.inc(len(runs) - len(fired))
    MISSED.inc(sum(run.missed for run in runs))
    for row in rows:
        if row["id"] in moved:
            LAG.observe((moved[row["id"]] - row["next_at"]).total_seconds())
