"""What is asked of a database while it is copied, and of a copy when it was put back.

The journal is ordered by the numbers of transactions.  A dump holds them, but a server
that it is put into counts from its own: what happens there would be older than what
happened before, and never be announced.  So the server is brought as far.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from libs.common.db import Conn, Row
from libs.common.sql import load

SQL: Final = load(__package__, "copies")

#: To look at all of a large table is one statement, and takes as long as it takes.
LOOK_SECONDS: Final = 6 * 3600.0
#: Transactions in one round trip: less than a second.
_STEP: Final = 10_000


@asynccontextmanager
async def still(conn: Conn) -> AsyncIterator[Row]:
    """Hold one view of everything until the block ends: ``snapshot`` and ``xid``."""
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        yield await hold_still(conn)


async def hold_still(conn: Conn) -> Row:
    """Return the open transaction's ``snapshot``, and the ``xid`` after it."""
    held = await conn.fetchrow(SQL["hold_still"])
    assert held is not None  # noqa: S101 - a row of constants
    return held


async def count_rows(conn: Conn) -> dict[str, int]:
    """Return how many rows each table has, by its name; empty without tables."""
    return {
        row["name"]: await conn.fetchval(row["query"], timeout=LOOK_SECONDS)
        for row in await conn.fetch(SQL["count_rows"])
    }


async def learn_sizes(conn: Conn) -> None:
    """Let the planner look at a database that was put back."""
    await conn.execute(SQL["learn_sizes"], timeout=LOOK_SECONDS)


async def pass_transactions(conn: Conn, *, until: int) -> int:
    """Let transactions pass until their numbers are beyond *until*; return how many.

    About 50,000 a second, one after the other, without a row.
    """
    first = now = int(await conn.fetchval(SQL["pass_transactions"]))
    while now <= until:
        one = f"BEGIN; {SQL['pass_transactions']} COMMIT;"
        await conn.execute(one * min(_STEP, until - now + 1))
        now = int(await conn.fetchval(SQL["pass_transactions"]))
    return now - first
