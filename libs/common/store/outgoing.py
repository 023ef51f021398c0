"""Outgoing webhooks: endpoints that are told what happens (contract 1.10)."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from libs.common.db import Conn, Row
from libs.common.sql import load
from libs.common.store.interventions import Requeued

SQL: Final = load(__package__, "outgoing")

#: Why one is not enabled, when somebody wanted it so.
BY_HAND: Final = "manual"
#: Why one is not, whose deliveries failed again and again.
BY_ITSELF: Final = "auto_disabled"


async def create_webhook(
    conn: Conn,
    *,
    id_: UUID,
    organization_id: UUID,
    name: str,
    url: str,
    events: Sequence[str],
    format_: str,
    enabled: bool,
    timeout_seconds: float,
    retry: str,
    max_retries: int,
    max_concurrency: int,
) -> None:
    """Create an outgoing webhook; *retry* is a policy as JSON."""
    await conn.execute(
        SQL["create_webhook"],
        id_,
        organization_id,
        name,
        url,
        list(events),
        format_,
        enabled,
        BY_HAND,
        timeout_seconds,
        retry,
        max_retries,
        max_concurrency,
    )


async def list_webhooks(conn: Conn, *, organization_id: UUID, limit: int) -> list[Row]:
    """Return the webhooks of an organization, newest first."""
    return list(await conn.fetch(SQL["list_webhooks"], organization_id, limit))


async def read_webhook(conn: Conn, *, organization_id: UUID, id_: UUID) -> Row | None:
    """Return one webhook, or None."""
    return await conn.fetchrow(SQL["read_webhook"], organization_id, id_)


async def change_webhook(
    conn: Conn,
    *,
    organization_id: UUID,
    id_: UUID,
    name: str | None,
    url: str | None,
    events: Sequence[str] | None,
    format_: str | None,
    enabled: bool | None,
) -> bool:
    """Change a webhook, None keeps what is there; return whether there is one."""
    changed = await conn.fetchval(
        SQL["change_webhook"],
        organization_id,
        id_,
        name,
        url,
        None if events is None else list(events),
        format_,
        enabled,
        BY_HAND,
    )
    return changed is not None


async def delete_webhook(conn: Conn, *, organization_id: UUID, id_: UUID) -> bool:
    """Delete a webhook; return whether there was one."""
    deleted = await conn.fetchval(SQL["delete_webhook"], organization_id, id_)
    return deleted is not None


async def list_deliveries(
    conn: Conn, *, endpoint_id: UUID, status: str | None, limit: int, offset: int
) -> list[Row]:
    """Return what a webhook was sent, newest first."""
    return list(
        await conn.fetch(SQL["list_deliveries"], endpoint_id, status, limit, offset)
    )


async def read_delivery(conn: Conn, *, endpoint_id: UUID, job_id: UUID) -> Row | None:
    """Return how a delivery of a webhook stands, or None when it is none of its."""
    return await conn.fetchrow(SQL["read_delivery"], endpoint_id, job_id)


async def retry_delivery(conn: Conn, *, job_id: UUID, actor: str) -> Requeued | None:
    """Make a delivery that was given up ready for one more attempt."""
    row = await conn.fetchrow(SQL["retry_delivery"], job_id, actor)
    return None if row is None else Requeued(**row)
