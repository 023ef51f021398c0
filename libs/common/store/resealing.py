"""Everything that stands sealed, to be sealed anew with another key."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from libs.common.db import Conn
from libs.common.sql import load

SQL: Final = load(__package__, "resealing")


@dataclass(frozen=True, slots=True)
class SealedPart:
    """A sealed text: of which *part* of the house, its *name* there, and its owner."""

    part: str
    name: str
    owner: str
    sealed: bytes


async def find_old(
    conn: Conn, *, key_id: bytes, after: tuple[str, str], limit: int
) -> list[SealedPart]:
    """Return what another key than this one sealed, after (part, name), in order."""
    rows = await conn.fetch(SQL["find_old"], key_id, *after, limit)
    return [SealedPart(**row) for row in rows]


async def reseal(
    conn: Conn, *, part: str, changes: Sequence[tuple[SealedPart, bytes]]
) -> int:
    """Put new sealed texts in the places of those of one *part*; return how many.

    What somebody changed meanwhile stays.
    """
    resealed: int = await conn.fetchval(
        SQL["reseal"],
        part,
        [one.name for one, _ in changes],
        [one.sealed for one, _ in changes],
        [new for _, new in changes],
    )
    return resealed
