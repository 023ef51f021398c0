"""ready → leased: who is next."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from libs.common.db import Conn
from libs.common.ids import new_id
from libs.common.sql import load
from libs.common.store.lanes import Lane

SQL: Final = load(__package__, "claims")


@dataclass(frozen=True, slots=True)
class Claimed:
    """A job somebody now owns, with what is needed to carry it."""

    job_id: UUID
    lease_id: UUID
    lane_id: int
    attempt: int
    #: JSON; None when it is over the size asked for.
    payload: str | None
    payload_bytes: int
    organization_id: UUID
    target_url: str
    target_method: str
    target_headers: str | None
    target_timeout_seconds: float
    #: Its time to run has passed: settle it so, do not run it.
    expired: bool


async def ready_lanes(conn: Conn, *, after: int, limit: int) -> list[Lane]:
    """Return up to *limit* lanes with ready jobs, of any kind, after lane *after*."""
    return [Lane(**row) for row in await conn.fetch(SQL["ready_lanes"], after, limit)]


async def claim(
    conn: Conn,
    *,
    quotas: Mapping[int, int],
    lease_jobs_max: int,
    owner: str,
    push: bool,
    lease: timedelta,
    payload_bytes_max: int,
) -> list[Claimed]:
    """Lease up to ``quotas[lane]`` ready jobs of each lane.

    The jobs come under fresh leases of up to *lease_jobs_max* jobs each.
    """
    leases = -(-sum(quotas.values()) // lease_jobs_max)
    rows = await conn.fetch(
        SQL["claim"],
        list(quotas),
        list(quotas.values()),
        [new_id() for _ in range(leases)],
        lease_jobs_max,
        owner,
        push,
        lease,
        payload_bytes_max,
    )
    return [Claimed(*row) for row in rows]
