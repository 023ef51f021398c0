"""Tallies: what happened, counted as it is announced; and how things stand.

Every row of the journal is counted once, by the statement that remembers that it was
announced.  Who reads adds what was not announced yet, in one snapshot: so the figures
are exact whenever they are read, with and without anybody who announces.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from libs.common.db import Conn, Row
from libs.common.sql import load
from libs.common.store.journal import Position

SQL: Final = load(__package__, "tallies")


class Tally(NamedTuple):
    """What happened in one lane within one bucket, to how many jobs.

    *duration_ms* and *wait_ms* are sums: of attempts that ended, and of the time that
    jobs were ready before one began.
    """

    lane_id: int
    bucket: datetime
    transition: str
    jobs: int
    duration_ms: float
    wait_ms: float


class Credit(NamedTuple):
    """What one worker did."""

    worker_id: str
    organization_id: UUID
    completed: int
    failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """How some lanes stand: open jobs by place, what ended, and what happened lately.

    *failed* are jobs that became dead letters.  Sums of milliseconds are None when
    there is nothing to sum.
    """

    ready_jobs: int = 0
    oldest_ready_at: datetime | None = None
    scheduled_jobs: int = 0
    retrying_jobs: int = 0
    waiting_jobs: int = 0
    held_jobs: int = 0
    leased_jobs: int = 0
    dead_jobs: int = 0
    completed_jobs: int = 0
    cancelled_jobs: int = 0
    expired_jobs: int = 0
    completed_24h: int = 0
    failed_24h: int = 0
    completed_ms_24h: float | None = None
    started_24h: int = 0
    waited_ms_24h: float | None = None
    created_1h: int = 0
    completed_1h: int = 0
    failed_1h: int = 0

    @property
    def pending(self) -> int:
        """What the API calls pending (contract 4.1): a retry waits as pending."""
        return self.ready_jobs + self.retrying_jobs + self.waiting_jobs + self.held_jobs

    @property
    def open(self) -> int:
        """Jobs that are not over."""
        return self.pending + self.scheduled_jobs + self.leased_jobs

    @property
    def total(self) -> int:
        """All jobs, open or over, except purged ones."""
        return (
            self.open
            + self.dead_jobs
            + self.completed_jobs
            + self.cancelled_jobs
            + self.expired_jobs
        )

    @property
    def processing_ms(self) -> float | None:
        """How long a job took that completed within a day, on average."""
        if self.completed_ms_24h is None or not self.completed_24h:
            return None
        return round(self.completed_ms_24h / self.completed_24h, 3)

    @property
    def waiting_ms(self) -> float | None:
        """How long a job was ready before it was begun within a day, on average."""
        if self.waited_ms_24h is None or not self.started_24h:
            return None
        return round(self.waited_ms_24h / self.started_24h, 3)

    def oldest_ready_ms(self, now: datetime) -> int | None:
        """Return for how long the job that is ready longest has been so, by *now*."""
        if self.oldest_ready_at is None:
            return None
        return max(0, int((now - self.oldest_ready_at) / timedelta(milliseconds=1)))


async def count_announced(
    conn: Conn,
    *,
    before: Position,
    upto: Position,
    tallies: Sequence[Tally],
    credits_: Sequence[Credit],
    happened: Iterable[tuple[UUID, str]],
) -> bool:
    """Count what was announced between two points, and remember the second.

    *happened* says in which organizations, and in which transactions (xid).  Returns
    False, and does nothing, when the journal was not announced exactly up to
    *before*: then somebody else counted some of it.
    """
    in_order = sorted(tallies)
    by_worker = sorted(credits_)
    distinct = sorted(set(happened))
    moved = await conn.fetchval(
        SQL["count_announced"],
        upto.xid,
        upto.seq,
        before.xid,
        before.seq,
        [tally.lane_id for tally in in_order],
        [tally.bucket for tally in in_order],
        [tally.transition for tally in in_order],
        [tally.jobs for tally in in_order],
        [tally.duration_ms for tally in in_order],
        [tally.wait_ms for tally in in_order],
        [credit.worker_id for credit in by_worker],
        [credit.organization_id for credit in by_worker],
        [credit.completed for credit in by_worker],
        [credit.failed for credit in by_worker],
        [organization_id for organization_id, _ in distinct],
        [xid for _, xid in distinct],
    )
    return moved is not None


async def fold(conn: Conn, *, age: timedelta, limit: int) -> int:
    """Fold up to *limit* tallies older than *age* into days; return how many."""
    folded: int = await conn.fetchval(SQL["fold"], age, limit)
    return folded


async def of_organization(
    conn: Conn, *, organization_id: UUID, queue_names: Sequence[str] | None = None
) -> Figures:
    """Return how an organization stands, or some of its queues."""
    row = await conn.fetchrow(
        SQL["of_organization"],
        organization_id,
        None if queue_names is None else list(queue_names),
    )
    return _figures(row)


async def of_queues(
    conn: Conn, *, organization_id: UUID, queue_names: Sequence[str]
) -> dict[str, Figures]:
    """Return how each of these queues stands."""
    rows = await conn.fetch(SQL["of_queues"], organization_id, list(queue_names))
    return {row["queue_name"]: _figures(row) for row in rows}


async def series(
    conn: Conn,
    *,
    organization_id: UUID,
    queue_names: Sequence[str] | None,
    since: datetime,
) -> list[Row]:
    """Return what was announced since then: ``bucket``, ``transition``, ``jobs``, ….

    The earliest first; buckets in which nothing happened are left out.
    """
    return list(
        await conn.fetch(
            SQL["series"],
            organization_id,
            None if queue_names is None else list(queue_names),
            since,
        )
    )


async def of_everything(conn: Conn) -> Figures:
    """Return how the whole house stands."""
    return _figures(await conn.fetchrow(SQL["of_everything"]))


_FIGURES: Final = tuple(field.name for field in fields(Figures))


def _figures(row: Row | None) -> Figures:
    return Figures(**{name: row[name] for name in _FIGURES}) if row else Figures()


async def forget_tallies(conn: Conn, *, age: timedelta, at_most: int) -> None:
    """Delete days of longer ago than this."""
    await conn.execute(SQL["forget_tallies"], age, at_most)
