"""Identifiers: UUIDv7 everywhere, so that an id sorts by its time of birth.

RFC 9562, section 5.7: 48 bits of Unix milliseconds stand first.  Partitions of the
job tables are ranges of ids, and need no second column to be found.
"""

from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import uuid_utils.compat

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)

new_id = uuid_utils.compat.uuid7
"""Return a new UUIDv7; later calls in one process sort after earlier ones."""


def first_id_at(moment: datetime) -> UUID:
    """Return the smallest UUIDv7 that can be born at *moment*, to the millisecond."""
    return UUID(int=max(0, (moment - _EPOCH) // _MILLISECOND) << 80)


def born_at(id_: UUID) -> datetime:
    """Return when a UUIDv7 was born (UTC, millisecond precision)."""
    return _EPOCH + (id_.int >> 80) * _MILLISECOND


def parse_id(text: str) -> UUID | None:
    """Return the id that *text* spells, or None: a malformed id names nothing."""
    try:
        return UUID(text)
    except ValueError:
        return None
