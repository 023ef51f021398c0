"""Backfills: ticks of the past that somebody wants to have fired, bit by bit."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, Literal
from uuid import UUID

from libs.common.db import Conn, Row
from libs.common.sql import load

SQL: Final = load(__package__, "backfills")

State = Literal["running", "completed", "failed"]


async def create_backfill(
    conn: Conn,
    *,
    id_: UUID,
    schedule_id: UUID,
    since: datetime,
    until: datetime,
    total: int,
) -> Row:
    """Begin a backfill of *total* ticks from *since* on and before *until*."""
    row = await conn.fetchrow(
        SQL["create_backfill"], id_, schedule_id, since, until, total
    )
    if row is None:
        raise LookupError("INSERT … RETURNING returned nothing")
    return row


async def read_backfill(conn: Conn, *, schedule_id: UUID, id_: UUID) -> Row | None:
    """Return one backfill of a schedule, or None."""
    return await conn.fetchrow(SQL["read_backfill"], schedule_id, id_)


async def count_running(conn: Conn, *, schedule_id: UUID) -> int:
    """Return how many backfills of a schedule are under way."""
    count: int = await conn.fetchval(SQL["count_running"], schedule_id)
    return count


async def claim_running(conn: Conn) -> Row | None:
    """Return a backfill that is under way, with its schedule, or None.

    Until the transaction ends both are the caller's.
    """
    return await conn.fetchrow(SQL["claim_running"])


async def find_fired(
    conn: Conn, *, schedule_id: UUID, ticks: Sequence[datetime]
) -> set[datetime]:
    """Return those of these ticks that have their job."""
    rows = await conn.fetch(SQL["find_fired"], schedule_id, list(ticks))
    return {row["tick"] for row in rows}


async def advance(
    conn: Conn,
    *,
    id_: UUID,
    reached: datetime | None,
    created: int,
    skipped: int,
    state: State,
    error_message: str | None = None,
) -> None:
    """Note how far a backfill came, how many more it did, and whether it is over."""
    await conn.execute(
        SQL["advance"], id_, reached, created, skipped, state, error_message
    )


async def forget_backfills(conn: Conn, *, age: timedelta, at_most: int) -> None:
    """Delete backfills that are over and began longer ago than this."""
    await conn.execute(SQL["forget_backfills"], age, at_most)
