"""Messages: sent once, to every endpoint that asks for them.

A delivery of a message is a job (`store.jobs`) in the queue `QUEUE`.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from libs.common.db import Conn, Row
from libs.common.ids import born_at
from libs.common.sql import column, load

SQL: Final = load(__package__, "messages")

#: Where deliveries of messages stand.
QUEUE: Final = "webhooks"

#: What became of a message that wanted in.
Outcome = Literal["created", "taken", "stale", "gone"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMessage:
    """A message that was checked and may be created.

    *version* is that of the organization's endpoints which the sender knows.
    """

    id: UUID
    organization_id: UUID
    version: int
    event_type: str
    #: JSON text, as the producer spelled it.
    payload: str
    ordering_key: str | None = None
    idempotency_key: str | None = None
    fingerprint: bytes | None = None
    #: How often it was delivered to us before.
    hops: int = 0


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """The message that holds an idempotency key, and the request that made it."""

    message_id: UUID
    fingerprint: bytes
    deliveries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which messages a list shows; None does not filter.

    *created_after* is inclusive, *created_before* exclusive.
    """

    endpoint_id: UUID | None = None
    event_type: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    limit: int = 50
    offset: int = 0


async def hold_endpoints(conn: Conn, *, organization_ids: Collection[UUID]) -> None:
    """Let nobody change these organizations' endpoints until the transaction ends."""
    await conn.execute(SQL["hold_endpoints"], list(organization_ids))


async def create(conn: Conn, *, messages: Sequence[NewMessage]) -> dict[UUID, Outcome]:
    """Create *messages* in one statement; return what became of each.

    In a transaction in which the deliveries of those that were ``created`` are created
    too: until it ends nobody changes an endpoint of these organizations.
    """
    rows = await conn.fetch(
        SQL["create"],
        [one.id for one in messages],
        [one.organization_id for one in messages],
        [one.version for one in messages],
        [one.event_type for one in messages],
        [one.payload for one in messages],
        column(one.ordering_key for one in messages),
        column(one.idempotency_key for one in messages),
        column(one.fingerprint for one in messages),
        [born_at(one.id) for one in messages],
        [one.hops for one in messages],
    )
    return {row["id"]: row["outcome"] for row in rows}


async def find_by_keys(
    conn: Conn, *, keys: Sequence[tuple[UUID, str]]
) -> dict[tuple[UUID, str], KeyHolder]:
    """Return who holds these (organization, idempotency key)s."""
    rows = await conn.fetch(
        SQL["find_by_keys"], [key[0] for key in keys], [key[1] for key in keys]
    )
    return {
        (row["organization_id"], row["key"]): KeyHolder(
            row["message_id"], row["fingerprint"], row["deliveries"]
        )
        for row in rows
    }


async def read_message(conn: Conn, *, organization_id: UUID, id_: UUID) -> Row | None:
    """Return one message, or None."""
    return await conn.fetchrow(SQL["read_message"], organization_id, id_)


async def list_messages(
    conn: Conn, *, organization_id: UUID, chosen: Filter
) -> list[Row]:
    """Return messages of whatever endpoint, the newest first."""
    return list(
        await conn.fetch(SQL["list_messages"], organization_id, *_arguments(chosen))
    )


async def list_messages_of(
    conn: Conn, *, organization_id: UUID, chosen: Filter
) -> list[Row]:
    """Return messages that went to the endpoint chosen, the newest first."""
    return list(
        await conn.fetch(
            SQL["list_messages_of"],
            organization_id,
            *_arguments(chosen),
            chosen.endpoint_id,
        )
    )


async def list_deliveries(conn: Conn, *, message_id: UUID, limit: int) -> list[Row]:
    """Return what became of a message, job by job."""
    return list(await conn.fetch(SQL["list_deliveries"], message_id, limit))


def _arguments(chosen: Filter) -> tuple[object, ...]:
    return (
        chosen.event_type,
        chosen.created_after,
        chosen.created_before,
        chosen.limit,
        chosen.offset,
    )
