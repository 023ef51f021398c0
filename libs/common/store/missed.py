"""What a watcher missed: events of one organization, read from the tables again.

The tables have every event, whatever became of the stream.  They are read in the order
of positions, a page at a time.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from libs.common.db import Conn
from libs.common.sql import load
from libs.common.store.announcing import TAGS_BYTES_MAX, Occurrence, occurrence
from libs.common.store.journal import Position

SQL: Final = load(__package__, "missed")

#: How many events of others may be passed over for one page.
_SCAN_MAX: Final = 5_000


@dataclass(frozen=True, slots=True)
class Page:
    """Events, and the position up to which they are all."""

    found: list[Occurrence]
    upto: Position


@dataclass(frozen=True, slots=True)
class Standing:
    """How a job stands since its last transition."""

    queue_name: str
    status: str
    position: Position
    at: datetime


async def read_horizon(conn: Conn) -> Position:
    """Return a position before which nothing can happen any more."""
    return Position(await conn.fetchval(SQL["read_horizon"]), 0)


async def read_page(
    conn: Conn, *, organization_id: UUID, after: Position, horizon: Position, limit: int
) -> Page:
    """Return some of what happened in an organization behind *after*.

    When that is all there is, the page reaches to the *horizon*.
    """
    rows = await conn.fetch(
        SQL["read_page"],
        organization_id,
        after.xid,
        after.seq,
        horizon.xid,
        _SCAN_MAX,
        limit,
        TAGS_BYTES_MAX,
    )
    if not rows:
        return Page([], horizon)
    *_, reached_xid, reached_seq = rows[0]
    found = [occurrence(row) for row in rows if row["seq"] is not None]
    return Page(found, Position(reached_xid, reached_seq))


async def read_onward(
    conn: Conn, *, organization_id: UUID, after: Position
) -> Position | None:
    """Return up to where nothing happened in an organization behind *after*.

    None when that is nowhere, or not known.
    """
    row = await conn.fetchrow(SQL["read_onward"], organization_id, after.xid, after.seq)
    return None if row is None else Position(row["xid"], row["seq"])


async def forget_stretches(conn: Conn, *, limit: int) -> int:
    """Forget up to *limit* stretches that the journal has left; return how many."""
    gone: int = await conn.fetchval(SQL["forget_stretches"], limit)
    return gone


async def read_of_job(
    conn: Conn,
    *,
    organization_id: UUID,
    job_id: UUID,
    after: Position,
    horizon: Position,
    limit: int,
) -> list[Occurrence]:
    """Return what happened to a job behind *after*, the oldest first."""
    rows = await conn.fetch(
        SQL["read_of_job"],
        organization_id,
        job_id,
        after.xid,
        after.seq,
        horizon.xid,
        limit,
        TAGS_BYTES_MAX,
    )
    return [occurrence(row) for row in rows]


async def read_standing(
    conn: Conn, *, organization_id: UUID, job_id: UUID
) -> Standing | None:
    """Return how a job stands, or None when there is none."""
    row = await conn.fetchrow(SQL["read_standing"], organization_id, job_id)
    if row is None:
        return None
    return Standing(
        row["queue_name"], row["status"], Position(row["xid"], row["seq"]), row["at"]
    )


async def is_forgotten(conn: Conn, *, xid: str) -> bool:
    """Whether something may be forgotten that happened behind this transaction."""
    return bool(await conn.fetchval(SQL["is_forgotten"], xid))


async def read_first(conn: Conn, *, xid: str) -> tuple[Position, datetime] | None:
    """Return the first transition from this transaction number on, and when it was."""
    row = await conn.fetchrow(SQL["read_first"], xid)
    return None if row is None else (Position(row["xid"], row["seq"]), row["at"])
