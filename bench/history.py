"""Jobs that stand somewhere as if they had come there long ago."""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from libs.common.db import Conn
from libs.common.sql import load

SQL: Final = load(__package__, "history")
#: A large piece takes long, on a slow disk.
_SECONDS_MAX: Final = 600.0


@dataclass(frozen=True, slots=True)
class Line:
    """Whose jobs they are, in which lane, and what is in them (JSON)."""

    organization_id: UUID
    queue_name: str
    lane_id: int
    payload: str


async def finished(conn: Conn, *, line: Line, numbers: range, of: int) -> None:
    """Add those *numbers*, *of* so many, of the jobs that ended well lately."""
    await conn.execute(
        SQL["finished"], *_given(line, numbers), of, timeout=_SECONDS_MAX
    )


async def scheduled(conn: Conn, *, line: Line, numbers: range) -> None:
    """Add jobs for the days to come, one a second from that number of seconds on."""
    await conn.execute(SQL["scheduled"], *_given(line, numbers), timeout=_SECONDS_MAX)


async def dead(conn: Conn, *, line: Line, numbers: range) -> None:
    """Add dead letters."""
    await conn.execute(SQL["dead"], *_given(line, numbers), timeout=_SECONDS_MAX)


async def ready(conn: Conn, *, line: Line, numbers: range) -> None:
    """Add jobs that wait for a worker."""
    await conn.execute(SQL["ready"], *_given(line, numbers), timeout=_SECONDS_MAX)


def _given(line: Line, numbers: range) -> tuple[UUID, str, int, str, int, int]:
    return (
        *(line.organization_id, line.queue_name, line.lane_id, line.payload),
        *(numbers.start, numbers.stop - 1),
    )
