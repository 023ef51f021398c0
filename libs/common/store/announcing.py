"""What the event stream is to be told: transitions and notices, in one order."""

from dataclasses import dataclass
from typing import Final

from libs.common.db import Conn, Row
from libs.common.sql import load
from libs.common.store.journal import Entry, Position
from libs.common.store.notices import Notice

SQL: Final = load(__package__, "announcing")

#: Events are for many, and those with large tags would crowd out the others.
_TAGS_BYTES_MAX: Final = 4096


@dataclass(frozen=True, slots=True)
class Transitioned:
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
        SQL["read_unannounced"], after.xid, after.seq, limit, _TAGS_BYTES_MAX
    )
    return [_occurrence(row) for row in rows]


def _occurrence(row: Row) -> Occurrence:
    if row["job_id"] is None:
        return Notice(
            row["seq"],
            row["xid"],
            row["organization_id"],
            row["event"],
            row["details"],
            row["at"],
        )
    *entry, job_type, tags = row
    return Transitioned(Entry(*entry), job_type, tags)
