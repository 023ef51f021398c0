"""Endpoints: who receives messages.  Outgoing webhooks stand in the same table.

What changes one counts on its version and that of the organization's endpoints.
"""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal, NamedTuple
from uuid import UUID

import orjson

from libs.common.db import Conn, Row
from libs.common.errors import NotFound
from libs.common.sql import load

SQL: Final = load(__package__, "endpoints")

Scheme = Literal["v1", "v1a", "contract"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEndpoint:
    """An endpoint that was checked and may be created.

    *filter*, *retry*, *auth_shown*, *tls_shown* and the like are JSON, read; *auth* and
    *tls* are sealed, for the endpoint's id.
    """

    id: UUID
    url: str
    description: str | None = None
    event_types: list[str] = field(default_factory=lambda: ["*"])
    filter: dict[str, Any] | None = None
    headers: dict[str, str] = field(default_factory=dict)
    format: str = "payload"
    enabled: bool = True
    disabled_reason: str | None = None
    timeout_seconds: float = 15.0
    retry: dict[str, Any] | None = None
    max_retries: int = 9
    rate_limit_per_second: float | None = None
    max_concurrency: int = 10
    ordered: bool = False
    signature_scheme: Scheme = "v1"
    auth: bytes | None = None
    auth_shown: dict[str, Any] | None = None
    tls: bytes | None = None
    tls_shown: dict[str, Any] | None = None
    send_traceparent: bool = False
    metadata: dict[str, Any] = field(default_factory=dict)


class Count(NamedTuple):
    """How many endpoints an organization has, and how many of them are enabled."""

    all_of_them: int
    enabled: int


async def create_endpoint(
    conn: Conn, *, organization_id: UUID, new: NewEndpoint
) -> None:
    """Create an endpoint; raises `NotFound` when the organization is no more."""
    made = await conn.fetchval(
        SQL["create_endpoint"], organization_id, _columns(asdict(new))
    )
    if made is None:
        raise NotFound("Organization not found")


async def read_endpoint(conn: Conn, *, organization_id: UUID, id_: UUID) -> Row | None:
    """Return one endpoint as it is shown, or None."""
    return await conn.fetchrow(SQL["read_endpoint"], organization_id, id_)


async def list_endpoints(
    conn: Conn, *, organization_id: UUID, limit: int, offset: int
) -> list[Row]:
    """Return endpoints as they are shown, the newest first."""
    return list(await conn.fetch(SQL["list_endpoints"], organization_id, limit, offset))


async def count_endpoints(conn: Conn, *, organization_id: UUID) -> Count:
    """Return how many endpoints an organization has, outgoing webhooks with them."""
    [row] = await conn.fetch(SQL["count_endpoints"], organization_id)
    return Count(*row)


async def change_endpoint(
    conn: Conn,
    *,
    organization_id: UUID,
    id_: UUID,
    changes: Mapping[str, Any],
) -> bool:
    """Change the columns that are given, as in `NewEndpoint`; return whether it is.

    In a transaction that holds the organization (`organizations.lock_organization`).
    A reason why it is disabled goes when it is enabled, and is ``manual`` unless said.
    """
    changed = await conn.fetchval(
        SQL["change_endpoint"], organization_id, id_, _columns(changes)
    )
    return changed is not None


async def delete_endpoint(conn: Conn, *, organization_id: UUID, id_: UUID) -> bool:
    """Delete an endpoint with its secrets; return whether it was there.

    In a transaction that holds the organization (`organizations.lock_organization`).
    """
    gone = await conn.fetchval(SQL["delete_endpoint"], organization_id, id_)
    return gone is not None


async def read_subscriptions(
    conn: Conn, *, organization_ids: Collection[UUID]
) -> list[Row]:
    """Return what the endpoints of these organizations ask for, by organization."""
    return list(await conn.fetch(SQL["read_subscriptions"], list(organization_ids)))


def _columns(given: Mapping[str, Any]) -> str:
    """Return columns as Postgres reads them from JSON."""
    return orjson.dumps(
        {
            name: f"\\x{value.hex()}" if isinstance(value, bytes) else value
            for name, value in given.items()
        }
    ).decode()
