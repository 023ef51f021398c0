"""Messages none of whose deliveries is kept any longer, and how a week of them goes."""

from collections.abc import Sequence
from datetime import date
from typing import Final
from uuid import UUID

import asyncpg

from libs.common.db import Conn
from libs.common.sql import load
from libs.common.store.retention import Swap, Sweep

SQL: Final = load(__package__, "message_retention")


async def choose_messages(
    conn: Conn, *, monday: date, after: UUID, limit: int
) -> list[UUID]:
    """Return up to *limit* messages of a week that follow *after*, in order."""
    rows = await conn.fetch(SQL["choose_messages"], monday, after, limit)
    return [row["id"] for row in rows]


async def count_past_messages(
    conn: Conn, *, sweep: Sweep, message_ids: Sequence[UUID]
) -> int:
    """Return how many of these messages may go."""
    past: int = await conn.fetchval(
        SQL["count_past_messages"], message_ids, sweep.monday, sweep.moment
    )
    return past


async def begin_sweep(conn: Conn, *, sweep: Sweep) -> str:
    """Make an empty copy of a week of messages; return the transaction that did."""
    [row] = await conn.fetch(SQL["begin_sweep"], sweep.sweeper, sweep.monday)
    xid: str = row["xid"]
    return xid


async def gather_messages(
    conn: Conn, *, sweep: Sweep, message_ids: Sequence[UUID]
) -> str:
    """Copy what stays of these messages; return the transaction that did."""
    xid: str = await conn.fetchval(
        SQL["gather_messages"], sweep.sweeper, message_ids, sweep.monday, sweep.moment
    )
    return xid


async def choose_missing(conn: Conn, *, monday: date) -> list[UUID]:
    """Return the messages that somebody sends again and that were not copied."""
    rows = await conn.fetch(SQL["choose_missing"], monday)
    return [row["message_id"] for row in rows]


async def swap_messages(conn: Conn, *, sweep: Sweep) -> Swap:
    """Put the copy in the place of a week, if nothing is in the way."""
    try:
        swap: Swap = await conn.fetchval(
            SQL["swap_messages"], sweep.sweeper, sweep.monday
        )
    except asyncpg.LockNotAvailableError:
        return "refused"
    return swap


async def forget_messages(
    conn: Conn, *, sweep: Sweep, message_ids: Sequence[UUID]
) -> int:
    """Delete what of these messages may go; return how many went."""
    gone: int = await conn.fetchval(
        SQL["forget_messages"], sweep.sweeper, message_ids, sweep.monday, sweep.moment
    )
    return gone
