"""Queues: what jobs get that do not say it themselves."""

from typing import Final
from uuid import UUID

from libs.common.db import Conn, Row
from libs.common.sql import load

SQL: Final = load(__package__, "queues")


async def read_queue(conn: Conn, *, organization_id: UUID, name: str) -> Row | None:
    """Return a queue's configuration, or None when nobody configured it."""
    return await conn.fetchrow(SQL["read_queue"], organization_id, name)


async def is_queue_used(conn: Conn, *, organization_id: UUID, name: str) -> bool:
    """Return whether the queue ever had a job."""
    used: bool = await conn.fetchval(SQL["is_queue_used"], organization_id, name)
    return used


async def configure_queue(
    conn: Conn,
    *,
    id_: UUID,
    organization_id: UUID,
    name: str,
    max_retries: int | None,
    default_timeout: int | None,
    rate_limit: int | None,
    enabled: bool | None,
    settings: str | None,
) -> Row:
    """Create or change a queue; None keeps what is there; *settings* (JSON) merge."""
    row = await conn.fetchrow(
        SQL["configure_queue"],
        id_,
        organization_id,
        name,
        max_retries,
        default_timeout,
        rate_limit,
        enabled,
        settings,
    )
    if row is None:
        raise LookupError("INSERT … RETURNING returned nothing")
    return row
