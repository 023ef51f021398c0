"""Leases: kept alive by their owners, or recovered when the owner is gone."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from libs.common.db import Conn
from libs.common.lifecycle import CRASHES_MAX
from libs.common.sql import load

SQL: Final = load(__package__, "leases")


@dataclass(frozen=True, slots=True)
class Recovered:
    """A job that was taken from a dead owner; *dead* when there is no hope for it."""

    job_id: UUID
    lease_id: UUID
    lane_id: int
    dead: bool


async def renew(
    conn: Conn, *, lease_ids: Collection[UUID], lease: timedelta
) -> set[UUID]:
    """Keep leases alive for *lease* from now; return those that still are."""
    rows = await conn.fetch(SQL["renew"], sorted(lease_ids), lease)
    return {row["id"] for row in rows}


async def note_taken_up(conn: Conn, *, lease_ids: Collection[UUID]) -> None:
    """Remember that a process said that it has these batches."""
    await conn.execute(SQL["note_taken_up"], sorted(lease_ids))


async def read_clock(conn: Conn) -> datetime:
    """Return what time it is for Postgres."""
    now: datetime = await conn.fetchval(SQL["read_clock"])
    return now


async def grant_grace(conn: Conn, *, grace: timedelta) -> int:
    """Let no push lease run out before *grace* from now; return how many were near."""
    return len(await conn.fetch(SQL["grant_grace"], grace))


async def recover(
    conn: Conn, *, push: bool, limit: int, as_of: datetime | None = None
) -> tuple[list[Recovered], bool]:
    """Take the jobs of up to *limit* leases that had run out by *as_of* (or now).

    Return those jobs, and whether there may be more such leases.
    """
    rows = await conn.fetch(SQL["recover"], push, limit, CRASHES_MAX, as_of)
    recovered = [
        Recovered(row["job_id"], row["lease_id"], row["lane_id"], row["hopeless"])
        for row in rows
        if row["job_id"] is not None
    ]
    return recovered, bool(rows) and rows[0]["leases"] == limit
