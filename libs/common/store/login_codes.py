"""Login codes: six digits that were mailed to somebody; only their HMAC is kept."""

from datetime import timedelta
from typing import Final
from uuid import UUID

from libs.common.db import Conn, Row
from libs.common.sql import load

SQL: Final = load(__package__, "login_codes")


async def lock_address(conn: Conn, *, email: str) -> None:
    """Be the only one who deals with an address, until the transaction ends."""
    await conn.execute(SQL["lock_address"], email)


async def recent_codes(
    conn: Conn, *, email: str, within: timedelta
) -> tuple[int, float]:
    """Return how many codes were sent, and in how many seconds the first is too old."""
    row = await conn.fetchrow(SQL["recent_codes"], email, within)
    return (row["codes"], row["room_in_seconds"] or 0.0) if row else (0, 0.0)


async def create_code(
    conn: Conn, *, id_: UUID, email: str, code_hmac: bytes, valid_for: timedelta
) -> None:
    """Note a code; those before it are good for nothing any more."""
    await conn.execute(SQL["create_code"], id_, email, code_hmac, valid_for)


async def try_code(
    conn: Conn, *, email: str, tries_max: int, within: timedelta
) -> tuple[UUID, bytes] | None:
    """Count a try; return the code's id and HMAC, or None when there is no chance."""
    row = await conn.fetchrow(SQL["try_code"], email, tries_max, within)
    return (row["id"], row["code_hmac"]) if row else None


async def use_code(conn: Conn, *, id_: UUID) -> None:
    """Note that a code was used: it is good once."""
    await conn.execute(SQL["use_code"], id_)


async def find_account(conn: Conn, *, email: str) -> Row | None:
    """Return the organization with this address and a key of it, or None."""
    return await conn.fetchrow(SQL["find_account"], email)


async def forget_codes(conn: Conn, *, older_than: timedelta, at_most: int) -> None:
    """Delete codes that count for nothing any more."""
    await conn.execute(SQL["forget_codes"], older_than, at_most)
