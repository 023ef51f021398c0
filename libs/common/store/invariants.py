"""What must hold at any moment (promise 4); tests ask after every fault.

One snapshot answers, so it may be asked while everything runs.
"""

from typing import Final

from libs.common.db import Conn, Row
from libs.common.sql import load

SQL: Final = load(__package__, "invariants")


async def misplaced(conn: Conn, *, seconds: float | None = None) -> list[Row]:
    """Return the jobs that are not in exactly one place: ``job_id``, ``places``.

    It looks at every job, for up to *seconds* if the connection's limit is too short.
    """
    return list(await conn.fetch(SQL["misplaced"], timeout=seconds))


async def unjournaled(conn: Conn) -> list[Row]:
    """Return the jobs whose journal does not end where they stand."""
    return list(await conn.fetch(SQL["unjournaled"]))


async def forgotten(conn: Conn) -> list[Row]:
    """Return the jobs that wait for parents in vain."""
    return list(await conn.fetch(SQL["forgotten"]))


async def out_of_turn(conn: Conn) -> list[Row]:
    """Return what is wrong with lines: ``scope``, ``key``, ``job_id``, ``wrong``."""
    return list(await conn.fetch(SQL["out_of_turn"]))
