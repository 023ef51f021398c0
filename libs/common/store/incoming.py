"""Webhooks that come in: who may send them, and what came."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from libs.common.db import Conn, Row
from libs.common.sql import column, load

SQL: Final = load(__package__, "incoming")


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One webhook that came in and was believed: from whom, and what it is."""

    provider: str
    event_type: str
    #: What its sender calls it and its repeats; None when it has no name.
    delivery_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A line of the log: what became of a delivery, either a job or a message."""

    id: UUID
    organization_id: UUID
    delivery: Delivery
    queue_name: str | None
    job_id: UUID | None = None
    message_id: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSource:
    """A source as it is to be; its secrets are sealed for the organization."""

    organization_id: UUID
    provider: str
    sealed: bytes
    previous_sealed: bytes | None
    previous_until: datetime | None
    enabled: bool
    queue_name: str | None
    as_message: bool


async def read_recipient(conn: Conn, *, organization_id: UUID) -> list[Row]:
    """Return an organization once for each of its sources, or once without any.

    Nothing is returned for one that is not.
    """
    return list(await conn.fetch(SQL["read_recipient"], organization_id))


async def list_sources(conn: Conn, *, organization_id: UUID) -> list[Row]:
    """Return whose deliveries an organization takes."""
    return list(await conn.fetch(SQL["list_sources"], organization_id))


async def lock_source(
    conn: Conn, *, organization_id: UUID, provider: str
) -> Row | None:
    """Return one source, and let nobody else change it until the transaction ends."""
    return await conn.fetchrow(SQL["lock_source"], organization_id, provider)


async def put_source(conn: Conn, *, source: NewSource) -> Row:
    """Let a source be as it is given; the organization must be there."""
    [row] = await conn.fetch(
        SQL["put_source"],
        source.organization_id,
        source.provider,
        source.sealed,
        source.previous_sealed,
        source.previous_until,
        source.enabled,
        source.queue_name,
        source.as_message,
    )
    return row


async def delete_source(conn: Conn, *, organization_id: UUID, provider: str) -> bool:
    """Take nothing more from a provider; return whether anything was taken."""
    found = await conn.fetchval(SQL["delete_source"], organization_id, provider)
    return found is not None


async def forget_secrets(conn: Conn) -> None:
    """Delete secrets that were good for an overlap that is over."""
    await conn.execute(SQL["forget_secrets"])


async def note_created(conn: Conn, *, entries: Sequence[Entry]) -> None:
    """Log deliveries in the transaction that creates what became of them."""
    await conn.execute(SQL["note_created"], *_columns(entries))


async def note_repeated(
    conn: Conn, *, entries: Sequence[Entry]
) -> dict[UUID, str | None]:
    """Log deliveries of what is there already; return its queues, by entry."""
    rows = await conn.fetch(SQL["note_repeated"], *_columns(entries))
    return {row["id"]: row["matched_queue"] for row in rows}


async def list_deliveries(
    conn: Conn,
    *,
    organization_id: UUID,
    status: str | None,
    since: datetime | None,
    queue_name: str | None,
    limit: int,
    offset: int,
) -> list[Row]:
    """Return a page of what came in, the latest first."""
    return list(
        await conn.fetch(
            SQL["list_deliveries"],
            organization_id,
            status,
            since,
            queue_name,
            limit,
            offset,
        )
    )


async def forget_deliveries(conn: Conn, *, older_than: timedelta, at_most: int) -> int:
    """Delete what came in long ago; return how many."""
    return len(await conn.fetch(SQL["forget_deliveries"], older_than, at_most))


async def erase_deliveries(conn: Conn, *, organization_id: UUID, at_most: int) -> int:
    """Delete what came in for an organization; return how many."""
    return len(await conn.fetch(SQL["erase_deliveries"], organization_id, at_most))


def _columns(entries: Sequence[Entry]) -> list[object]:
    return [
        [entry.id for entry in entries],
        [entry.organization_id for entry in entries],
        [entry.delivery.provider for entry in entries],
        [entry.delivery.event_type for entry in entries],
        column(entry.delivery.delivery_id for entry in entries),
        column(entry.queue_name for entry in entries),
        column(entry.job_id for entry in entries),
        column(entry.message_id for entry in entries),
    ]
