"""Why a job does not run: what is to be known of that, at one glance."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from libs.common.db import Conn, Row
from libs.common.sql import load

SQL: Final = load(__package__, "explanations")


async def read_circumstances(conn: Conn, *, job_id: UUID) -> Row | None:
    """Return what may keep a job from running now, or None when it is no job."""
    return await conn.fetchrow(SQL["read_circumstances"], job_id)


async def open_parents(
    conn: Conn, *, job_id: UUID, queue_names: Sequence[str] | None, limit: int
) -> list[Row]:
    """Return up to *limit* jobs that a job still waits for, of these queues."""
    names = None if queue_names is None else list(queue_names)
    return list(await conn.fetch(SQL["open_parents"], job_id, names, limit))
