"""Leases: kept alive by their owners, or recovered when the owner is gone."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
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


async def grant_grace(conn: Conn, *, grace: timedelta) -> int:
    """Let no push lease run out before *grace* from now; return how many were near."""
    return len(await conn.fetch(SQL["grant_grace"], grace))


async def recover(
    conn: Conn, *, push: bool, limit: int, never_taken_up: Collection[UUID] = ()
) -> list[Recovered]:
    """Take the jobs of up to *limit* leases that ran out; return those jobs.

    *never_taken_up* names leases whose batch no process ever said it has.
    """
    rows = await conn.fetch(
        SQL["recover"], push, limit, CRASHES_MAX, list(never_taken_up)
    )
    return [Recovered(*row) for row in rows]


async def runs_out(conn: Conn, *, push: bool) -> float | None:
    """Return in how many seconds the next lease of this kind runs out, or None."""
    seconds: float | None = await conn.fetchval(SQL["runs_out"], push)
    return seconds
