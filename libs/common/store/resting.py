"""Jobs of endpoints that are disabled rest, those of deleted ones end.

ready → held and back; what was deleted is cancelled by `closures`.
"""

from collections.abc import Collection
from typing import Final, NamedTuple
from uuid import UUID

from libs.common.db import Conn, Row
from libs.common.sql import load

SQL: Final = load(__package__, "resting")


class Found(NamedTuple):
    """Lanes whose jobs are in the wrong place, and after which lane to look on.

    *gone* are those of endpoints that are no more.  *after* is 0 when all were seen.
    """

    lanes: list[int]
    gone: list[int]
    after: int


class Deleted(NamedTuple):
    """An endpoint that was deleted, and its lanes."""

    endpoint_id: UUID
    lanes: list[int]


async def lanes_at_rest(conn: Conn, *, after: int, limit: int) -> Found:
    """Look among *limit* lanes with ready jobs for those that may not be sent now."""
    return _found(await conn.fetch(SQL["lanes_at_rest"], after, limit))


async def hold(conn: Conn, *, lanes: Collection[int], limit: int) -> int:
    """Hold up to *limit* jobs of each lane of a disabled endpoint; return how many."""
    return len(await conn.fetch(SQL["hold"], sorted(lanes), limit))


async def lanes_to_wake(conn: Conn, *, after: int, limit: int) -> Found:
    """Look among *limit* lanes that rest for those that need not any more."""
    return _found(await conn.fetch(SQL["lanes_to_wake"], after, limit))


async def wake(conn: Conn, *, lanes: Collection[int], limit: int) -> dict[int, int]:
    """Make up to *limit* resting jobs of each lane ready; return how many, by lane."""
    rows = await conn.fetch(SQL["wake"], sorted(lanes), limit)
    return {row["lane_id"]: row["jobs"] for row in rows}


async def deleted_endpoints(conn: Conn, *, limit: int) -> list[Deleted]:
    """Return up to *limit* endpoints that were deleted."""
    rows = await conn.fetch(SQL["deleted_endpoints"], limit)
    return [Deleted(row["id"], row["lanes"]) for row in rows]


async def remove_endpoint(conn: Conn, *, endpoint_id: UUID) -> bool:
    """Forget a deleted endpoint for good, if no job of it is open."""
    return await conn.fetchval(SQL["remove_endpoint"], endpoint_id) is not None


def _found(rows: list[Row]) -> Found:
    return Found(
        [row["lane_id"] for row in rows if row["gone"] is False],
        [row["lane_id"] for row in rows if row["gone"]],
        next((row["last"] for row in rows if row["last"] is not None), 0),
    )
