"""What is over goes when its time to be kept is over, a week at a time.

One scheduler, elected for this, looks through each week when it has become old enough
for somebody's retention (`sweeping`), messages first: theirs are deliveries that went
when that was done last, so nobody who still sends one again loses it.
"""

import asyncio
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Final
from uuid import UUID

import structlog
from prometheus_client import Gauge

from libs.common.db import Pool, borrow
from libs.common.ids import new_id
from libs.common.loops import every
from libs.common.plans import Limits, PlanLimits
from libs.common.quotas import stored_plan
from libs.common.store import leaders, retention
from libs.common.store.retention import Retention, Sweep, Week
from services.scheduler.duties import give_back
from services.scheduler.sweeping import DUTY, TERM, Sweeper

log = structlog.get_logger()

OLDEST: Final = Gauge(
    "bellhop_oldest_week_timestamp_seconds", "When the oldest week of jobs began."
)

_TURN_SECONDS: Final = 600.0
#: A week is looked through again after this, whatever its age: plans change, and what
#: was open is over.
_AGAIN: Final = timedelta(days=7)
#: Nothing is touched while transitions of that long ago are not announced.
_UNTOLD_MAX: Final = timedelta(hours=1)
#: What happened within a day may be told of still, whatever a plan says.
_DAYS_MIN: Final = 1
_DAYS_MAX: Final = 36_500
#: Each has up to some hundred jobs.
_WORKFLOWS: Final = 20


class Retainer:
    """One actor: looks through what is old enough, and lets go what is over."""

    def __init__(
        self, pool: Pool, *, plan_limits: PlanLimits | None, recent: timedelta
    ) -> None:
        self._pool = pool
        self._plan_limits = plan_limits
        #: The journal of that long is for who was away (the streamer's replays).
        self._recent: Final = recent

    async def run(self, stopping: asyncio.Event) -> None:
        """Look every few minutes, until stopped."""

        async def turn() -> None:
            await self.sweep_due(stopping)

        await every(_TURN_SECONDS, turn, stopping=stopping)

    async def sweep_due(self, stopping: asyncio.Event) -> None:
        """Look through every week that is due, if nobody else does."""
        holder = f"sweep-{new_id().hex}"
        async with borrow(self._pool) as conn:
            if not await leaders.elect(conn, duty=DUTY, holder=holder, lasting=TERM):
                return
        try:
            kept = await self._put_retentions()
            async with borrow(self._pool) as conn:
                weeks = await retention.list_weeks(conn)
                now = await retention.read_clock(conn)
            if weeks:
                OLDEST.set(_start_of(weeks[0].monday).timestamp())
            for week in weeks:
                days = due(week, kept, now=now, recent=self._recent)
                if days is None:
                    continue
                if stopping.is_set() or not await self._is_told(now):
                    return
                sweep = Sweep(holder, week.monday, now, now - self._recent)
                sweeper = Sweeper(self._pool, sweep, stopping)
                if not await sweeper.sweep(week, days=days):
                    return
            await self._forget_workflows(now, stopping)
        finally:
            await give_back(self._pool, duty=DUTY, holder=holder)

    async def _is_told(self, now: datetime) -> bool:
        """Whether all that is not of this hour was announced and told."""
        async with borrow(self._pool) as conn:
            untold = await retention.read_untold(conn)
        if untold is None or untold >= now - _UNTOLD_MAX:
            return True
        log.warning("retention.waits", cause="untold", since=untold.isoformat())
        return False

    async def _put_retentions(self) -> set[int]:
        """Note how long everybody keeps what is over; return how many days occur."""
        async with borrow(self._pool) as conn:
            plans = await retention.read_plans(conn)
            # Thousands of organizations have a handful of plans.
            known: dict[tuple[str, str | None], Limits] = {}
            retentions = []
            for row in plans:
                key = row["plan_tier"], row["custom_limits"]
                if key not in known:
                    known[key] = stored_plan(row, self._plan_limits).limits
                limits = known[key]
                days = min(max(limits.job_retention_days, _DAYS_MIN), _DAYS_MAX)
                history = min(max(limits.history_retention_days, _DAYS_MIN), days)
                retentions.append(Retention(row["organization_id"], days, history))
            await retention.put_retentions(conn, retentions=retentions)
        return {each.job_days for each in retentions} | {
            each.history_days for each in retentions
        }

    async def _forget_workflows(self, now: datetime, stopping: asyncio.Event) -> None:
        """Walk once through workflows that are over; those without jobs go."""
        after: tuple[datetime, UUID] | None = (
            datetime.fromtimestamp(0, UTC),
            UUID(int=0),
        )
        while after is not None and not stopping.is_set():
            async with borrow(self._pool) as conn:
                _, after = await retention.forget_workflows(
                    conn, after=after, moment=now, limit=_WORKFLOWS
                )


def due(
    week: Week, kept: Iterable[int], *, now: datetime, recent: timedelta
) -> int | None:
    """Return for which retention a week is due to be looked through, or None (pure).

    That is when it has become older, wholly, than one more of the retentions that occur
    (*kept*, in days), and again after a week; never while its events are recent.
    """
    age = now - _start_of(week.monday) - timedelta(weeks=1)
    passed = [days for days in kept if age >= timedelta(days=days)]
    # Last week's is made anew when it is missing.
    if not passed or age < max(recent, timedelta(weeks=1)):
        return None
    days = max(passed)
    if week.swept_at is None or week.swept_days is None:
        return days
    is_due = days > week.swept_days or now - week.swept_at >= _AGAIN
    return days if is_due else None


def _start_of(monday: date) -> datetime:
    return datetime(monday.year, monday.month, monday.day, tzinfo=UTC)
