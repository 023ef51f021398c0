"""Attempts: when, how long, which answer."""

from typing import Final
from uuid import UUID

from libs.common.db import Conn, Row
from libs.common.sql import load

SQL: Final = load(__package__, "attempts")


async def list_attempts(
    conn: Conn,
    *,
    organization_id: UUID,
    job_id: UUID,
    limit: int,
    offset: int,
    newest_first: bool,
) -> list[Row]:
    """Return the attempts of one job."""
    return list(
        await conn.fetch(
            SQL["list_attempts"], organization_id, job_id, limit, offset, newest_first
        )
    )


async def list_of_endpoint(
    conn: Conn,
    *,
    endpoint_id: UUID,
    delivered: bool,
    limit: int,
    offset: int,
) -> list[Row]:
    """Return what an endpoint was sent, the latest first; all, or what went well."""
    return list(
        await conn.fetch(
            SQL["list_of_endpoint"],
            endpoint_id,
            True if delivered else None,
            limit,
            offset,
        )
    )


async def list_failed_at_endpoint(
    conn: Conn, *, endpoint_id: UUID, limit: int, offset: int
) -> list[Row]:
    """Return what did not go well of what an endpoint was sent, the latest first."""
    return list(
        await conn.fetch(SQL["list_failed_at_endpoint"], endpoint_id, limit, offset)
    )
