"""Erasures: an organization that is to be gone, deleted bit by bit."""

from collections.abc import Collection
from datetime import timedelta
from typing import Final
from uuid import UUID

from libs.common.db import Conn
from libs.common.sql import load

SQL: Final = load(__package__, "erasures")


async def next_erasure(conn: Conn) -> UUID | None:
    """Return the organization that waits longest to be erased, or None."""
    found: UUID | None = await conn.fetchval(SQL["next_erasure"])
    return found


async def choose_jobs(
    conn: Conn, *, organization_id: UUID, after: UUID, limit: int
) -> list[UUID]:
    """Return up to *limit* of its jobs that follow *after*, in order."""
    rows = await conn.fetch(SQL["choose_jobs"], organization_id, after, limit)
    return [row["id"] for row in rows]


async def erase(conn: Conn, *, organization_id: UUID, job_ids: Collection[UUID]) -> int:
    """Delete these jobs with all that is known of them; return how many were.

    Jobs that move at the same moment are left, whole.
    """
    erased: int = await conn.fetchval(SQL["erase"], organization_id, sorted(job_ids))
    return erased


async def erase_messages(conn: Conn, *, organization_id: UUID, at_most: int) -> int:
    """Delete messages without deliveries, with their keys; return how many were."""
    erased: int = await conn.fetchval(SQL["erase_messages"], organization_id, at_most)
    return erased


async def erase_rest(conn: Conn, *, organization_id: UUID, grace: timedelta) -> bool:
    """Delete what is left without jobs and messages; return whether it was.

    Not before *grace* is over.
    """
    return await conn.fetchval(SQL["erase_rest"], organization_id, grace) is not None
