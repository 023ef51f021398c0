"""Queues: what jobs get that do not say it themselves."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from libs.common.db import Conn, Row
from libs.common.sql import load

SQL: Final = load(__package__, "queues")


async def read_queue(conn: Conn, *, organization_id: UUID, name: str) -> Row | None:
    """Return a queue's configuration, or None when nobody configured it."""
    return await conn.fetchrow(SQL["read_queue"], organization_id, name)


async def find_queue(conn: Conn, *, organization_id: UUID, name: str) -> Row | None:
    """Return a queue that was configured or has jobs, or None.

    Of one that was never configured *id* is None, and *opened_at* since when it is.
    """
    return await conn.fetchrow(SQL["find_queue"], organization_id, name)


async def list_queues(
    conn: Conn,
    *,
    organization_id: UUID,
    names: Sequence[str] | None,
    limit: int,
    offset: int,
) -> list[Row]:
    """Return queues, configured or not, by name; *names* limits them to these."""
    return list(
        await conn.fetch(
            SQL["list_queues"],
            organization_id,
            None if names is None else list(names),
            limit,
            offset,
        )
    )


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
    cleared: Sequence[str] = (),
    unlimited: bool = False,
) -> Row:
    """Create or change a queue; None keeps what is there; *settings* (JSON) merge.

    The settings *cleared* are taken away, and with *unlimited* the rate limit is.
    """
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
        list(cleared),
        unlimited,
    )
    if row is None:
        raise LookupError("INSERT … RETURNING returned nothing")
    return row


async def pause_queue(
    conn: Conn, *, id_: UUID, organization_id: UUID, name: str, reason: str | None
) -> Row | None:
    """Let nothing be claimed from a queue; return since when and why, or None."""
    return await conn.fetchrow(SQL["pause_queue"], id_, organization_id, name, reason)


async def resume_queue(conn: Conn, *, organization_id: UUID, name: str) -> Row | None:
    """Let a queue's jobs be claimed again; return since when it had been paused."""
    return await conn.fetchrow(SQL["resume_queue"], organization_id, name)
