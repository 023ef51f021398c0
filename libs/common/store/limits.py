"""Queues with a limit: how many of their jobs may be started now.

Not to be called by themselves: `libs.common.admission` puts them in order.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from libs.common.db import Conn
from libs.common.sql import load

SQL: Final = load(__package__, "limits")


@dataclass(frozen=True, slots=True)
class Room:
    """How many jobs of a lane's queue may be started now; None is any number.

    *starts* is what the rate allows, *places* what the concurrency does.  The next
    start but those is free in *next_start_seconds*.
    """

    lane_id: int
    queue_id: UUID
    starts: int | None
    next_start_seconds: float | None
    places: int | None


async def lock_queues(conn: Conn, *, lanes: Collection[int]) -> list[UUID]:
    """Keep others from starting jobs of these lanes' queues until we commit."""
    rows = await conn.fetch(SQL["lock_queues"], sorted(lanes))
    return [row["id"] for row in rows]


async def read_rooms(
    conn: Conn, *, lanes: Collection[int], locked: Sequence[UUID]
) -> list[Room]:
    """Return the rooms of those lanes whose queues are *locked*."""
    rows = await conn.fetch(SQL["read_rooms"], sorted(lanes), locked)
    return [Room(*row) for row in rows]


async def spend(conn: Conn, *, started: Mapping[UUID, int]) -> dict[UUID, float]:
    """Note how many jobs of which queue were started.

    Return when (in seconds) the next may be, of the queues that have a rate.
    """
    rows = await conn.fetch(SQL["spend"], list(started), list(started.values()))
    return {row["queue_id"]: row["next_start_seconds"] for row in rows}
