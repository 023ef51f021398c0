"""What time does to jobs: due, expired."""

from typing import Final
from uuid import UUID

from libs.common.db import Conn
from libs.common.sql import load

SQL: Final = load(__package__, "timers")


async def promote_due(conn: Conn, *, limit: int) -> dict[int, int]:
    """Make up to *limit* due jobs ready; return how many went to which lane."""
    return {
        row["lane_id"]: row["jobs"]
        for row in await conn.fetch(SQL["promote_due"], limit)
    }


async def next_due(conn: Conn) -> float | None:
    """Return in how many seconds the next job is due (below 0: it is), or None."""
    seconds: float | None = await conn.fetchval(SQL["next_due"])
    return seconds


async def expire(conn: Conn, *, limit: int) -> list[UUID]:
    """Finish up to *limit* open jobs whose time to run has passed; return them."""
    return [row["job_id"] for row in await conn.fetch(SQL["expire"], limit)]
