"""What time does to jobs: due, expired."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from libs.common.db import Conn
from libs.common.sql import load
from libs.common.store.dependencies import Released

SQL: Final = load(__package__, "timers")

#: Before everybody.
EVER: Final = datetime.min.replace(tzinfo=UTC)
_AGE: Final = timedelta(seconds=0.5)


@dataclass(frozen=True, slots=True)
class Promoted:
    """How many jobs became ready in a lane, and whether they are pushed.

    *late_seconds* is how long the one that was due first had been so.
    """

    lane_id: int
    jobs: int
    push: bool
    late_seconds: float


@dataclass(frozen=True, slots=True)
class Expired:
    """Jobs that ended unrun, and what came of it for who had waited for them.

    *moments* is how many moments of jobs were dealt with.
    """

    job_ids: list[UUID]
    moments: int
    released: Released


@dataclass(frozen=True, slots=True)
class NextDue:
    """In how many seconds the next job is due (below 0: it is), or None.

    Nobody who is there stands before *front*.
    """

    seconds: float | None
    front: datetime


async def promote_due(
    conn: Conn, *, limit: int, since: datetime = EVER
) -> list[Promoted]:
    """Make up to *limit* due jobs ready; return which lanes they went to.

    Who was due before *since* is passed over (see `NextDue`).
    """
    rows = await conn.fetch(SQL["promote_due"], limit, since)
    return [Promoted(*row) for row in rows]


async def next_due(
    conn: Conn, *, since: datetime = EVER, age: timedelta = _AGE
) -> NextDue:
    """Return when the next job is due of those who are not due before *since*.

    The front is *age* ago at the latest, so that who commits a little late is seen.
    """
    [row] = await conn.fetch(SQL["next_due"], since, age)
    return NextDue(*row)


async def expire(conn: Conn, *, limit: int) -> Expired:
    """Finish open jobs whose time to run has passed.

    Looks at up to *limit* such moments, most of which may be those of jobs that have
    ended in time.
    """
    [row] = await conn.fetch(SQL["expire"], limit)
    return Expired(row["job_ids"], row["moments"], Released.read(row["released"]))
