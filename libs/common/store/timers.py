"""What time does to jobs: due, expired."""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from libs.common.db import Conn
from libs.common.sql import load

SQL: Final = load(__package__, "timers")


@dataclass(frozen=True, slots=True)
class Promoted:
    """How many jobs became ready in a lane, and whether they are pushed."""

    lane_id: int
    jobs: int
    push: bool


@dataclass(frozen=True, slots=True)
class Expired:
    """Jobs that ended unrun, and how many moments of jobs were dealt with."""

    job_ids: list[UUID]
    moments: int


async def promote_due(conn: Conn, *, limit: int) -> list[Promoted]:
    """Make up to *limit* due jobs ready; return which lanes they went to."""
    return [Promoted(*row) for row in await conn.fetch(SQL["promote_due"], limit)]


async def next_due(conn: Conn) -> float | None:
    """Return in how many seconds the next job is due (below 0: it is), or None."""
    seconds: float | None = await conn.fetchval(SQL["next_due"])
    return seconds


async def expire(conn: Conn, *, limit: int) -> Expired:
    """Finish open jobs whose time to run has passed.

    Looks at up to *limit* such moments, most of which may be those of jobs that have
    ended in time.
    """
    [row] = await conn.fetch(SQL["expire"], limit)
    return Expired(**row)
