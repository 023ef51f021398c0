"""Sessions: a sign-in, whose tokens carry its id and die with it."""

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

from libs.common.db import Conn, Row
from libs.common.sql import load

SQL: Final = load(__package__, "sessions")


async def create_session(
    conn: Conn,
    *,
    id_: UUID,
    organization_id: UUID,
    api_key_id: UUID,
    email: str | None,
    lasts: timedelta,
) -> None:
    """Begin a session on a key; it ends with the key, or after *lasts*."""
    await conn.execute(
        SQL["create_session"], id_, organization_id, api_key_id, email, lasts
    )


async def find_session(conn: Conn, *, id_: UUID, api_key_id: UUID) -> Row:
    """Return the key, its organization and the session; what is gone is null."""
    row = await conn.fetchrow(SQL["find_session"], id_, api_key_id)
    if row is None:
        raise LookupError("VALUES returned nothing")
    return row


async def find_sessions(conn: Conn, *, named: Sequence[tuple[UUID, UUID]]) -> list[Row]:
    """Return the same of many, (session, key) each, in their order."""
    return list(
        await conn.fetch(
            SQL["find_sessions"],
            [session_id for session_id, _ in named],
            [key_id for _, key_id in named],
        )
    )


async def end_sessions(
    conn: Conn, *, organization_id: UUID, ids: Collection[UUID]
) -> None:
    """End sessions of an organization; those of others stay."""
    await conn.execute(SQL["end_sessions"], organization_id, sorted(ids))


async def forget_sessions(conn: Conn, *, at_most: int) -> None:
    """Delete sessions that are over."""
    await conn.execute(SQL["forget_sessions"], at_most)
