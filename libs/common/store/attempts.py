"""Attempts: when, how long, which answer."""

from typing import Final
from uuid import UUID

from libs.common.db import Conn, Row
from libs.common.sql import load

SQL: Final = load(__package__, "attempts")


async def list_attempts(
    conn: Conn, *, organization_id: UUID, job_id: UUID, limit: int, offset: int
) -> list[Row]:
    """Return the attempts of one job, the first one first."""
    return list(
        await conn.fetch(SQL["list_attempts"], organization_id, job_id, limit, offset)
    )
