"""Identifiers: UUIDv7 everywhere, so that an id sorts by its time of birth.

RFC 9562, section 5.7: 48 bits of Unix milliseconds stand first.  Partitions of the
job tables are ranges of ids, and need no second column to be found.
"""

from datetime import UTC, datetime
from uuid import UUID

import uuid_utils.compat

new_id = uuid_utils.compat.uuid7
"""Return a new UUIDv7; later calls in one process sort after earlier ones."""


def first_id_at(moment: datetime) -> UUID:
    """Return the smallest UUIDv7 that can be born at *moment*, to the millisecond."""
    milliseconds = int(moment.timestamp() * 1000)
    return UUID(int=milliseconds << 80)


def born_at(id_: UUID) -> datetime:
    """Return when a UUIDv7 was born (UTC, millisecond precision)."""
    return datetime.fromtimestamp((id_.int >> 80) / 1000, tz=UTC)


def parse_id(text: str) -> UUID | None:
    """Return the id that *text* spells, or None: a malformed id names nothing."""
    try:
        return UUID(text)
    except ValueError:
        return None
