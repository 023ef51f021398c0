"""Leases: kept alive by their owners, or recovered when the owner is gone."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from libs.common.db import Conn, Row
from libs.common.lifecycle import CRASHES_MAX
from libs.common.sql import load
from libs.common.store.dependencies import NOBODY, Released
from libs.common.store.settlement import spelled

SQL: Final = load(__package__, "leases")


@dataclass(frozen=True, slots=True)
class Recovered:
    """A job that left its owner for its lane; *dead* when there is no hope for it.

    *released* is what came of all that were recovered with it.
    """

    job_id: UUID
    lease_id: UUID
    lane_id: int
    dead: bool
    released: Released = NOBODY


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewed:
    """A worker's job that it wants to keep for *lease* from now.

    *lease_id* is None for whichever lease the worker has; *queues* are those it may
    touch, None for all.
    """

    job_id: UUID
    lease_id: UUID | None
    owner: str
    organization_id: UUID
    queues: tuple[str, ...] | None
    lease: timedelta


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
    """Let no batch's lease run out before *grace* from now.

    Return how many were near.
    """
    return len(await conn.fetch(SQL["grant_grace"], grace))


async def recover(
    conn: Conn,
    *,
    limit: int,
    as_of: datetime | None = None,
    spared: Collection[UUID] = (),
) -> tuple[list[Recovered], bool]:
    """Take the jobs of up to *limit* batches whose leases have run out.

    With *as_of* only those that had by then, and never those of *spared*, which are
    held by the living.  Return the jobs, and whether there may be more such leases.
    """
    rows = await conn.fetch(SQL["recover"], limit, CRASHES_MAX, as_of, sorted(spared))
    recovered = _recovered([row for row in rows if row["job_id"] is not None])
    return recovered, bool(rows) and rows[0]["leases"] == limit


async def renew_work(conn: Conn, *, renewals: Sequence[Renewed]) -> dict[int, datetime]:
    """Renew workers' leases; return the new deadlines of those that were live.

    They go by their place in *renewals*.
    """
    # Whoever locks several jobs locks them in one order.
    order = sorted(range(len(renewals)), key=lambda index: renewals[index].job_id)
    asked = [renewals[index] for index in order]
    rows = await conn.fetch(
        SQL["renew_work"],
        [renewal.job_id for renewal in asked],
        [renewal.lease_id for renewal in asked],
        [renewal.owner for renewal in asked],
        [renewal.organization_id for renewal in asked],
        [spelled(renewal.queues) for renewal in asked],
        [renewal.lease for renewal in asked],
    )
    return {order[row["index"]]: row["deadline"] for row in rows}


async def recover_work(conn: Conn, *, limit: int) -> list[Recovered]:
    """Take up to *limit* jobs from workers whose leases have run out."""
    return _recovered(await conn.fetch(SQL["recover_work"], limit))


async def release_work(
    conn: Conn,
    *,
    organization_id: UUID,
    owner: str,
    queue_names: Sequence[str] | None = None,
    limit: int = 1000,
) -> list[Recovered]:
    """Make up to *limit* jobs that a worker holds ready again, charging no retry.

    *queue_names* are those that whoever says so may touch, None for all.  Whoever gets
    *limit* jobs asks again: there may be more.
    """
    rows = await conn.fetch(
        SQL["release_work"],
        organization_id,
        owner,
        limit,
        None if queue_names is None else list(queue_names),
    )
    return [Recovered(*row) for row in rows]


async def expire_leases_of(
    conn: Conn, *, workers: Sequence[tuple[UUID, str]]
) -> list[UUID]:
    """Let the leases of these (organization, worker)s run out now; return the jobs."""
    rows = await conn.fetch(
        SQL["expire_leases_of"],
        [organization_id for organization_id, _ in workers],
        [owner for _, owner in workers],
    )
    return [row["job_id"] for row in rows]


async def find_live(
    conn: Conn, *, held: Sequence[tuple[UUID, UUID]]
) -> set[tuple[UUID, UUID]]:
    """Return those of these (job, lease)s whose workers still hold them."""
    rows = await conn.fetch(
        SQL["find_live"], [job for job, _ in held], [lease for _, lease in held]
    )
    return {(row["job_id"], row["lease_id"]) for row in rows}


def _recovered(rows: Sequence[Row]) -> list[Recovered]:
    released = Released.read(rows[0]["released"] if rows else None)
    return [
        Recovered(
            row["job_id"], row["lease_id"], row["lane_id"], row["hopeless"], released
        )
        for row in rows
    ]
