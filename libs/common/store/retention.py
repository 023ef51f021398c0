"""What is over, how long it is kept, and how a week of it goes."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final, Literal
from uuid import UUID

import asyncpg

from libs.common.db import Conn, Row
from libs.common.sql import load

SQL: Final = load(__package__, "retention")

#: What became of a swap: it was made, nothing was left of the week, a job of it has
#: moved meanwhile, jobs are being erased, somebody has the tables locked.
Swap = Literal["swapped", "dropped", "moved", "erasing", "refused"]


@dataclass(frozen=True, slots=True)
class Retention:
    """How long an organization keeps what is over."""

    organization_id: UUID
    job_days: int
    history_days: int


@dataclass(frozen=True, slots=True)
class Week:
    """A week, and when and for which age it was looked through last."""

    monday: date
    has_jobs: bool = True
    has_messages: bool = True
    swept_days: int | None = None
    swept_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Sweep:
    """One look through one week: who, what is over when, and what is recent."""

    sweeper: str
    monday: date
    moment: datetime
    recent: datetime


async def read_plans(conn: Conn) -> list[Row]:
    """Return tier and own limits of every organization."""
    return await conn.fetch(SQL["read_plans"])


async def put_retentions(conn: Conn, *, retentions: Collection[Retention]) -> None:
    """Say how long everybody keeps what is over; who is not named is forgotten."""
    await conn.execute(
        SQL["put_retentions"],
        [each.organization_id for each in retentions],
        [each.job_days for each in retentions],
        [each.history_days for each in retentions],
    )


async def read_clock(conn: Conn) -> datetime:
    """Return what time it is for everybody."""
    now: datetime = await conn.fetchval(SQL["read_clock"])
    return now


async def list_weeks(conn: Conn) -> list[Week]:
    """Return the weeks that there are, the oldest first."""
    rows = await conn.fetch(SQL["list_weeks"])
    return [Week(*row) for row in rows]


async def read_untold(conn: Conn) -> datetime | None:
    """Return when the first transition was that is not announced or told of yet."""
    at: datetime | None = await conn.fetchval(SQL["read_untold"])
    return at


async def choose_ids(
    conn: Conn, *, monday: date, after: UUID, limit: int
) -> list[UUID]:
    """Return up to *limit* jobs of a week that follow *after*, in order."""
    rows = await conn.fetch(SQL["choose_ids"], monday, after, limit)
    return [row["id"] for row in rows]


async def count_past(
    conn: Conn, *, sweep: Sweep, job_ids: Sequence[UUID]
) -> tuple[int, int]:
    """Return how many of these jobs are over, and how many histories are."""
    [row] = await conn.fetch(SQL["count_past"], job_ids, sweep.monday, sweep.moment)
    return row["jobs"], row["histories"]


async def note_forgotten(conn: Conn, *, sweep: Sweep) -> None:
    """Say that a week is about to lose what is not recent of its journal."""
    await conn.execute(SQL["note_forgotten"], sweep.monday, sweep.recent)


async def begin_sweep(conn: Conn, *, sweep: Sweep) -> tuple[str, str]:
    """Make empty copies of a week's tables.

    Return the first mark, and the transaction that made them.
    """
    [row] = await conn.fetch(
        SQL["begin_sweep"], sweep.sweeper, sweep.monday, sweep.recent
    )
    return row["mark"], row["xid"]


async def gather(conn: Conn, *, sweep: Sweep, job_ids: Sequence[UUID]) -> str:
    """Copy what stays of these jobs; return the transaction that did."""
    xid: str = await conn.fetchval(
        SQL["gather"],
        sweep.sweeper,
        job_ids,
        sweep.monday,
        sweep.moment,
        sweep.recent,
    )
    return xid


async def choose_moved(
    conn: Conn, *, monday: date, mark: str
) -> tuple[str, list[UUID]]:
    """Return the next mark, and the jobs that moved since this one."""
    [row] = await conn.fetch(SQL["choose_moved"], monday, mark)
    return row["mark"], row["job_ids"]


async def is_seen_by_all(conn: Conn, *, xid: str) -> bool:
    """Whether everybody who reads sees what this transaction wrote."""
    return bool(await conn.fetchval(SQL["is_seen_by_all"], xid))


async def swap_week(conn: Conn, *, sweep: Sweep, mark: str) -> Swap:
    """Put the copies in the place of a week, if nothing is in the way."""
    try:
        swap: Swap = await conn.fetchval(
            SQL["swap_week"], sweep.sweeper, sweep.monday, mark
        )
    except asyncpg.LockNotAvailableError:
        return "refused"
    return swap


async def forget_past(conn: Conn, *, sweep: Sweep, job_ids: Sequence[UUID]) -> int:
    """Delete what of these jobs is over; return how many jobs went."""
    gone: int = await conn.fetchval(
        SQL["forget_past"],
        sweep.sweeper,
        job_ids,
        sweep.monday,
        sweep.moment,
        sweep.recent,
    )
    return gone


async def forget_edges(
    conn: Conn, *, monday: date, after: UUID, limit: int
) -> UUID | None:
    """Delete edges of a week's jobs that are no more, among the next *limit*.

    Return the last child that was looked at, or None.
    """
    last: UUID | None = await conn.fetchval(SQL["forget_edges"], monday, after, limit)
    return last


async def forget_completions(
    conn: Conn, *, monday: date, after: UUID, limit: int
) -> UUID | None:
    """The same of whom the end of those jobs was to be told."""
    last: UUID | None = await conn.fetchval(
        SQL["forget_completions"], monday, after, limit
    )
    return last


async def forget_workflows(
    conn: Conn, *, after: tuple[datetime, UUID], moment: datetime, limit: int
) -> tuple[int, tuple[datetime, UUID] | None]:
    """Delete workflows of whose jobs none is left, among the *limit* that follow.

    Return how many went, and where to go on, if there may be more.
    """
    [row] = await conn.fetch(SQL["forget_workflows"], *after, moment, limit)
    last = (row["finished_at"], row["id"])
    return row["gone"], None if row["id"] is None else last


async def note_sweep(conn: Conn, *, monday: date, days: int) -> None:
    """Remember that a week was looked through for what is over at this age."""
    await conn.execute(SQL["note_sweep"], monday, days)
