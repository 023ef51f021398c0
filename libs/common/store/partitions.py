"""The weekly partitions of the tables that grow."""

from datetime import timedelta
from typing import Final

from libs.common.db import Conn
from libs.common.sql import load

SQL: Final = load(__package__, "partitions")


async def create_ahead(conn: Conn, *, back: timedelta, ahead: timedelta) -> int:
    """Create the partitions from *back* before now to *ahead* of it; say how many."""
    created: int = await conn.fetchval(SQL["create_ahead"], back, ahead)
    return created
