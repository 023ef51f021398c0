"""Notices: what happened beside the transitions of jobs, told to whoever asked."""

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec

from libs.common.db import Conn
from libs.common.sql import load
from libs.common.store.journal import Position

SQL: Final = load(__package__, "notices")


class Notice(msgspec.Struct, frozen=True):
    """One thing that happened; *data* is a JSON object."""

    seq: int
    xid: str
    organization_id: UUID
    event: str
    data: str
    at: datetime

    @property
    def position(self) -> Position:
        """Where this notice stands."""
        return Position(self.xid, self.seq)


async def read_told(conn: Conn) -> Position:
    """Return how far notices were told."""
    row = await conn.fetchrow(SQL["read_told"])
    if row is None:
        raise LookupError("the table announced has lost its row")
    return Position(row["xid"], row["seq"])


async def read_untold(conn: Conn, *, after: Position, limit: int) -> list[Notice]:
    """Return the next notices after a position that may be told."""
    rows = await conn.fetch(SQL["read_untold"], after.xid, after.seq, limit)
    return [Notice(*row) for row in rows]


async def note_told(conn: Conn, *, before: Position, upto: Position) -> bool:
    """Remember that notices were told up to a point.

    Returns False, and does nothing, when they were not told exactly up to *before*.
    """
    moved = await conn.fetchval(
        SQL["note_told"], upto.xid, upto.seq, before.xid, before.seq
    )
    return moved is not None


async def forget_told(conn: Conn, *, older_than: timedelta, at_most: int) -> None:
    """Delete notices that were told and announced, and are older than this."""
    await conn.execute(SQL["forget_told"], older_than, at_most)
