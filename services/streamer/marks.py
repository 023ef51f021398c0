"""Where a client stopped: what it says to go on from there (pure).

The mark of a frame is its event's position.  An event may be several frames, and a
connection may break between them: so all but the last carry how many of them there
were, behind a dot.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from libs.common.positions import read_position

_PART: Final = re.compile(r"[1-9][0-9]?", re.ASCII)
_TIME: Final = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}.*", re.ASCII)
#: How much of it is a date, and what separates it from the time of day.
_DATE: Final = 11


@dataclass(frozen=True, slots=True)
class Mark:
    """What was seen: all up to a position, and some frames of the event behind it."""

    position: tuple[int, int]
    frames: int = 0


def read_mark(text: str) -> Mark:
    """Read the mark of a frame; raises `ValueError`."""
    position, dot, part = text.partition(".")
    xid, seq = read_position(position)
    if not dot:
        return Mark((xid, seq))
    if _PART.fullmatch(part) is None:
        raise ValueError("a part of an event is a number")
    # No two events share a number: this is behind all that came before.
    return Mark((xid, seq - 1), int(part))


def read_since(text: str) -> Mark | datetime:
    """Read what ``since`` may be: a mark, or a time (RFC 3339); raises `ValueError`."""
    if _TIME.fullmatch(text) is None:
        return read_mark(text)
    # A plus is a space to who did not encode it.
    date, rest = text[:_DATE], text[_DATE:]
    time = datetime.fromisoformat(date + rest.replace(" ", "+").upper())
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def spell(position: tuple[int, int] | None) -> str | None:
    """Return the mark of who has seen all up to *position*."""
    return None if position is None else f"{position[0]}-{position[1]}"
