"""What is to be known of a database and the house on it when somebody asks after them.

Each is one look, cheap beside a full house; nothing is changed.
"""

from typing import Final

from libs.common.db import Conn, Row
from libs.common.sql import load

SQL: Final = load(__package__, "checkup")


async def read_server(conn: Conn) -> Row:
    """Return the version, the settings that bend durability, and the clock."""
    found = await conn.fetchrow(SQL["read_server"])
    assert found is not None  # noqa: S101 - a row of constants
    return found


async def list_holders(
    conn: Conn, *, limit: int, seconds: float, transactions: int
) -> list[Row]:
    """Return who keeps old rows from being cleaned up.

    Replication slots that are *transactions* behind, and then transactions that have
    lasted for *seconds*, the oldest first.  Without the right to see others' sessions
    only our own are among them.
    """
    return list(await conn.fetch(SQL["list_holders"], limit, seconds, transactions))


async def read_house(conn: Conn) -> Row:
    """Return what is overdue, and until when somebody has duties."""
    found = await conn.fetchrow(SQL["read_house"])
    assert found is not None  # noqa: S101 - a row of counts
    return found


async def list_partitions_ahead(conn: Conn, *, weeks: int) -> list[Row]:
    """Return for each table how many partitions of the coming *weeks* are missing."""
    return list(await conn.fetch(SQL["list_partitions_ahead"], weeks))


async def count_endings(conn: Conn) -> list[Row]:
    """Return by queue what completed and what died in the last hour."""
    return list(await conn.fetch(SQL["count_endings"]))
