"""API keys: found by the SHA-256 of the key, which itself is never stored."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from libs.common.db import Conn, Row
from libs.common.sql import load

SQL: Final = load(__package__, "api_keys")


async def create_key(
    conn: Conn,
    *,
    id_: UUID,
    organization_id: UUID,
    key_sha256: bytes,
    name: str,
    queues: Sequence[str] = (),
    rate_limit: int | None = None,
    expires_at: datetime | None = None,
) -> Row:
    """Create a key."""
    row = await conn.fetchrow(
        SQL["create_key"],
        id_,
        organization_id,
        key_sha256,
        name,
        list(queues),
        rate_limit,
        expires_at,
    )
    if row is None:
        raise LookupError("INSERT … RETURNING returned nothing")
    return row


async def find_key(conn: Conn, *, key_sha256: bytes) -> Row | None:
    """Return the key with this hash, whatever its state, or None."""
    return await conn.fetchrow(SQL["find_key"], key_sha256)


async def find_keys(conn: Conn, *, key_sha256: Collection[bytes]) -> list[Row]:
    """Return the keys with these hashes, whatever their state, in no order."""
    return list(await conn.fetch(SQL["find_keys"], key_sha256))


async def list_keys(
    conn: Conn, *, organization_id: UUID, limit: int, offset: int
) -> list[Row]:
    """Return keys of an organization, newest first."""
    return list(await conn.fetch(SQL["list_keys"], organization_id, limit, offset))


async def list_active(
    conn: Conn, *, organization_id: UUID, limit: int, offset: int
) -> list[Row]:
    """Return keys that open something now, the oldest first."""
    return list(await conn.fetch(SQL["list_active"], organization_id, limit, offset))


async def count_active(conn: Conn, *, organization_id: UUID) -> int:
    """Return how many keys open something now: what the plan counts."""
    count: int = await conn.fetchval(SQL["count_active"], organization_id)
    return count


async def read_key(conn: Conn, *, organization_id: UUID, id_: UUID) -> Row | None:
    """Return one key, or None."""
    return await conn.fetchrow(SQL["read_key"], organization_id, id_)


async def change_key(
    conn: Conn,
    *,
    organization_id: UUID,
    id_: UUID,
    name: str | None = None,
    queues: Sequence[str] | None = None,
    rate_limit: int | None = None,
    is_active: bool | None = None,
    unlimited: bool = False,
) -> Row | None:
    """Change what is given, keep the rest; return the key, or None if there is none.

    *unlimited* takes its rate away.
    """
    return await conn.fetchrow(
        SQL["change_key"],
        organization_id,
        id_,
        name,
        None if queues is None else list(queues),
        rate_limit,
        is_active,
        unlimited,
    )


async def note_used(conn: Conn, *, ids: Collection[UUID]) -> None:
    """Remember that these keys were used just now."""
    await conn.execute(SQL["note_used"], sorted(ids))
