"""The journal: a job's history, and the source of the event stream."""

from collections.abc import Collection
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from libs.common.db import Conn, Row
from libs.common.sql import load

SQL: Final = load(__package__, "journal")


class Position(msgspec.Struct, frozen=True):
    """A point in the journal: everything up to it was announced."""

    xid: str
    seq: int


class Entry(msgspec.Struct, frozen=True):
    """One transition; *details* is JSON or None."""

    seq: int
    xid: str
    job_id: UUID
    organization_id: UUID
    queue_name: str
    transition: str
    rank: int
    attempt: int
    at: datetime
    actor: str | None
    details: str | None
    lane_id: int
    push: bool
    #: Whether it stands where others are told of jobs: nobody is told of it.
    telling: bool = False
    #: The endpoint it goes to.
    endpoint_id: UUID | None = None

    @property
    def position(self) -> Position:
        """Where this entry stands."""
        return Position(self.xid, self.seq)


async def history(
    conn: Conn,
    *,
    organization_id: UUID,
    job_id: UUID,
    limit: int,
    offset: int,
    newest_first: bool,
) -> list[Row]:
    """Return the transitions of one job."""
    return list(
        await conn.fetch(
            SQL["history"], organization_id, job_id, limit, offset, newest_first
        )
    )


async def find_traces(conn: Conn, *, job_ids: Collection[UUID]) -> dict[str, str]:
    """Return the ``traceparent`` that created each of these jobs, if one did."""
    rows = await conn.fetch(SQL["find_traces"], list(job_ids))
    return {str(row["job_id"]): row["traceparent"] for row in rows}


async def read_announced(conn: Conn) -> Position:
    """Return how far the journal was announced."""
    row = await conn.fetchrow(SQL["read_announced"])
    if row is None:
        raise LookupError("the table announced has lost its row")
    return Position(row["xid"], row["seq"])
