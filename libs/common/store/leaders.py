"""Who does what only one should do at a time.

A leader is an economy, never a guarantee: two of them for a moment must be harmless.
"""

from datetime import timedelta
from typing import Final

from libs.common.db import Conn
from libs.common.sql import load

SQL: Final = load(__package__, "leaders")


async def elect(
    conn: Conn, *, duty: str, holder: str, lasting: timedelta
) -> int | None:
    """Take or keep *duty* for a while; return the term, or None if another has it."""
    term: int | None = await conn.fetchval(SQL["elect"], duty, holder, lasting)
    return term


async def resign(conn: Conn, *, duty: str, holder: str) -> None:
    """Give *duty* back."""
    await conn.execute(SQL["resign"], duty, holder)
