"""What the event stream is to be told: transitions and notices, in one order."""

from typing import Final

import msgspec

from libs.common.db import Conn, Row
from libs.common.sql import load
from libs.common.store.journal import Entry, Position
from libs.common.store.notices import Notice

SQL: Final = load(__package__, "announcing")

#: Events are for many, and those with large tags would crowd out the others.
TAGS_BYTES_MAX: Final = 4096
#: A row begins with what stands in the journal, or in the notices.
_OF_ENTRY: Final = len(Entry.__struct_fields__)


class Transitioned(msgspec.Struct, frozen=True):
    """A transition, and what its job may be asked for by; *tags* is JSON or None."""

    entry: Entry
    job_type: str | None
    tags: str | None

    @property
    def position(self) -> Position:
        """Where it stands."""
        return self.entry.position


#: One event: a transition of a job, or what happened to something else.
Occurrence = Transitioned | Notice


async def read_unannounced(
    conn: Conn, *, after: Position, limit: int
) -> list[Occurrence]:
    """Return the next events after a position that may be announced."""
    rows = await conn.fetch(
        SQL["read_unannounced"], after.xid, after.seq, limit, TAGS_BYTES_MAX
    )
    return [occurrence(row) for row in rows]


def occurrence(row: Row) -> Occurrence:
    """Return the event that stands in the first columns of a row."""
    if row["job_id"] is None:
        return Notice(
            row["seq"],
            row["xid"],
            row["organization_id"],
            row["event"],
            row["details"],
            row["at"],
        )
    return Transitioned(Entry(*row[:_OF_ENTRY]), row["job_type"], row["tags"])
