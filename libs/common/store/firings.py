"""Firings: schedules that are due, and what became of their ticks."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, NamedTuple
from uuid import UUID

from libs.common.db import Conn, Row
from libs.common.sql import column, load
from libs.common.ticks import Tick

SQL: Final = load(__package__, "firings")

Source = Literal["cron", "schedule_trigger", "backfill"]


class NextDue(NamedTuple):
    """In how many seconds the next is due, how many then; whether a tick is queued."""

    seconds: float | None
    schedules: int
    queued: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What became of a tick, or of a schedule that was triggered by hand (no tick).

    It has a job or an *error_message*.
    """

    id: UUID
    schedule_id: UUID
    source: Source
    tick: datetime | None = None
    job_id: UUID | None = None
    missed: int = 0
    error_message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """Where a schedule stood, and what comes next."""

    schedule_id: UUID
    so_far: datetime | None
    following: Tick | None
    queued: datetime | None


async def claim_due(conn: Conn, *, limit: int) -> list[Row]:
    """Return schedules that are due; until the transaction ends they are the caller's.

    The longest due come first; those that somebody else has are left out.
    """
    return list(await conn.fetch(SQL["claim_due"], limit))


async def claim_queued(conn: Conn, *, limit: int) -> list[Row]:
    """Return schedules whose queued tick waits for nothing any more, as `claim_due`."""
    return list(await conn.fetch(SQL["claim_queued"], limit))


async def next_due(conn: Conn, *, limit: int) -> NextDue:
    """Return when there is something to do, and for how many, up to *limit*."""
    [row] = await conn.fetch(SQL["next_due"], limit)
    return NextDue(*row)


async def find_alive(
    conn: Conn, *, endpoints: Collection[tuple[UUID, UUID]]
) -> dict[UUID, bool]:
    """Return the endpoints among these (organization, endpoint) that there are.

    Each with whether what goes there goes in order.
    """
    rows = await conn.fetch(
        SQL["find_alive"],
        [organization_id for organization_id, _ in endpoints],
        [endpoint_id for _, endpoint_id in endpoints],
    )
    return {row["id"]: row["ordered"] for row in rows}


async def record(conn: Conn, *, runs: Sequence[Run]) -> dict[UUID, list[UUID]]:
    """Note what became of ticks, no two of which are the same one.

    Return the jobs that are new to each schedule, the latest last: the caller counts
    them (`count_on`, `move_on`).
    """
    rows = await conn.fetch(
        SQL["record"],
        [run.id for run in runs],
        [run.schedule_id for run in runs],
        column(run.tick for run in runs),
        [run.source for run in runs],
        column(run.job_id for run in runs),
        [run.missed for run in runs],
        column(run.error_message for run in runs),
    )
    found: dict[UUID, list[UUID]] = {}
    for row in sorted(rows, key=lambda row: row["job_id"]):
        found.setdefault(row["schedule_id"], []).append(row["job_id"])
    return found


async def count_on(
    conn: Conn, *, schedule_id: UUID, runs: int, latest: UUID | None
) -> None:
    """Count what a schedule fired without moving on; *latest* may hold up the next."""
    await conn.execute(SQL["count_on"], schedule_id, runs, latest)


async def move_on(
    conn: Conn,
    *,
    moves: Sequence[Move],
    jobs: Mapping[UUID, Sequence[UUID]],
    edition: str,
) -> dict[UUID, datetime]:
    """Let schedules go on to what comes next; return when each did.

    *jobs* are what each has fired, the latest last.  Those that stood elsewhere stay
    there.
    """
    made = [jobs.get(move.schedule_id, ()) for move in moves]
    following = [move.following or (None, None) for move in moves]
    rows = await conn.fetch(
        SQL["move_on"],
        [move.schedule_id for move in moves],
        [move.so_far for move in moves],
        [tick for tick, _ in following],
        [at for _, at in following],
        column(move.queued for move in moves),
        [len(ids) for ids in made],
        column(ids[-1] if ids else None for ids in made),
        edition,
    )
    return {row["id"]: row["moved_at"] for row in rows}


async def forget_runs(conn: Conn, *, age: timedelta, at_most: int) -> None:
    """Delete what schedules did longer ago than this."""
    await conn.execute(SQL["forget_runs"], age, at_most)
