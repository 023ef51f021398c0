"""What is to become of schedules that are due (pure)."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import structlog

from libs.common.db import Row
from libs.common.firing import Firing, is_gone
from libs.common.ids import new_id
from libs.common.plans import Plan, PlanLimits
from libs.common.quotas import stored_plan
from libs.common.store.firings import Move, Run
from libs.common.ticks import Misfire, Rhythm, Tick, due, overlap, rhythm_of

log = structlog.get_logger()

_STILL_RUNNING: Final = "skipped: the run before is not over"
_QUEUE_IS_FULL: Final = "skipped: the run before is not over, and a tick waits for it"
_SUPERSEDED: Final = "skipped: a later tick was due as well"


@dataclass(slots=True)
class Decisions:
    """What is to happen to schedules of one batch, which nobody else has meanwhile."""

    #: How late a tick may be that is not missed.
    grace: timedelta
    plan_limits: PlanLimits | None
    asked: list[Firing] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)
    #: Jobs to cancel, by whose they are.
    cancelled: list[tuple[UUID, UUID]] = field(default_factory=list)
    gone: list[Row] = field(default_factory=list)
    #: When those were due that are.
    due_at: dict[UUID, datetime] = field(default_factory=dict)
    #: Plans that were read already, by tier and limits.
    plans: dict[tuple[str, str | None], Plan] = field(default_factory=dict)

    def decide(self, row: Row) -> None:
        """Decide about a schedule that is due."""
        if is_gone(row):
            self.gone.append(row)
            return
        first = Tick(row["next_tick"], row["next_at"])
        self.due_at[row["id"]] = first.at
        try:
            found = due(
                rhythm_of_row(row),
                first,
                misfire=_misfire(row),
                now=row["asked_at"],
                grace=self.grace,
            )
        except ValueError as error:
            # A zone that there is no more, for example: it has to be changed.
            log.warning("schedule.unreadable", schedule_id=str(row["id"]))
            self.runs.append(_without_job(row, first.tick, str(error)))
            self.moves.append(_move(row, None, row["queued_tick"]))
            return
        over = overlap(
            row["overlap"], found.ticks, busy=row["busy"], queued=row["queued_tick"]
        )
        for tick in over.fired:
            missed = found.missed if tick == over.fired[0] else 0
            self.asked.append(self._firing(row, tick, missed))
        self.runs.extend(
            _without_job(row, tick, _why_skipped(row)) for tick in over.skipped
        )
        if found.missed and not found.ticks:
            words = f"missed: nobody could fire it within {self.grace.seconds} seconds"
            self.runs.append(_without_job(row, first.tick, words, found.missed - 1))
        if over.cancels:
            self.cancelled.append((row["organization_id"], row["last_job_id"]))
        self.moves.append(_move(row, found.following, over.queued))

    def decide_queued(self, row: Row) -> None:
        """Decide about a schedule whose queued tick waits for nothing any more."""
        if is_gone(row):
            self.gone.append(row)
            return
        self.asked.append(self._firing(row, row["queued_tick"], 0))
        self.moves.append(_move(row, following_of(row), None))

    def _firing(self, row: Row, tick: datetime, missed: int) -> Firing:
        return Firing(
            schedule=row,
            plan=self._plan(row),
            source="cron",
            tick=tick,
            missed=missed,
        )

    def _plan(self, row: Row) -> Plan:
        key = row["plan_tier"], row["custom_limits"]
        if key not in self.plans:
            self.plans[key] = stored_plan(row, self.plan_limits)
        return self.plans[key]


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
