"""Where an event stands among all events: text for outsiders, two numbers to compare.

Events are announced in the order of positions, and said again in it when the stream was
lost: who has seen one position has seen all before it.
"""

import re
from typing import Final

#: As PostgreSQL counts: an xid8, and a bigint.
_POSITION: Final = re.compile(r"([0-9]{1,20})-([0-9]{1,19})", re.ASCII)


def position(xid: str, seq: int) -> str:
    """Return where an event stands: ``<transaction>-<number>``."""
    return f"{xid}-{seq}"


def is_position(text: str) -> bool:
    """Whether *text* is a position."""
    return _POSITION.fullmatch(text) is not None


def read_position(text: str) -> tuple[int, int]:
    """Return a position's two numbers, to compare them; raises `ValueError`."""
    found = _POSITION.fullmatch(text)
    if found is None:
        raise ValueError("a position is two numbers, with a hyphen between them")
    return int(found[1]), int(found[2])
