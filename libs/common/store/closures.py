"""Closures: a queue, or an endpoint, that is deleted with its jobs, bit by bit."""

from collections.abc import Collection
from typing import Final
from uuid import UUID

from libs.common.db import Conn
from libs.common.sql import load
from libs.common.store.dependencies import Gone, Released

SQL: Final = load(__package__, "closures")


async def give_back(conn: Conn, *, lanes: Collection[int], limit: int) -> int:
    """Take up to *limit* jobs of *lanes* from whoever works on them; return how many.

    They are ready then.
    """
    return len(await conn.fetch(SQL["give_back"], sorted(lanes), limit))


async def cancel_lanes(
    conn: Conn,
    *,
    lanes: Collection[int],
    limit: int,
    actor: str | None,
    reason: str | None = None,
) -> Gone:
    """Cancel up to *limit* jobs of each open place of *lanes*."""
    [row] = await conn.fetch(SQL["cancel_lanes"], sorted(lanes), limit, actor, reason)
    return Gone(row["cancelled"], Released.read(row["released"]))


async def retire(conn: Conn, *, organization_id: UUID, name: str) -> bool:
    """Delete a queue in which nothing stands; return whether it was such a one."""
    return bool(await conn.fetchval(SQL["retire"], organization_id, name))


async def lanes_of_queue(conn: Conn, *, organization_id: UUID, name: str) -> list[int]:
    """Return the lanes of a queue."""
    rows = await conn.fetch(SQL["lanes_of_queue"], organization_id, name)
    return [row["id"] for row in rows]
