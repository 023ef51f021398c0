"""What people do to jobs by hand: cancel, reprioritize, retry a dead letter, purge."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from libs.common.db import Conn
from libs.common.sql import load

SQL: Final = load(__package__, "interventions")


@dataclass(frozen=True, slots=True)
class Requeued:
    """A dead letter that is ready again, in its lane; or held, *in_line*."""

    job_id: UUID
    lane_id: int
    push: bool
    in_line: bool


async def cancel(
    conn: Conn, *, organization_id: UUID, job_id: UUID, actor: str
) -> bool:
    """Cancel an open job nobody works on; return whether it was one."""
    row = await conn.fetchrow(SQL["cancel"], organization_id, job_id, actor)
    return row is not None


async def cancel_in_work(
    conn: Conn, *, organization_id: UUID, job_id: UUID, actor: str
) -> int | None:
    """Cancel a job that somebody works on, in vain from now on; return its lane.

    None when nobody does.
    """
    lane_id: int | None = await conn.fetchval(
        SQL["cancel_in_work"], organization_id, job_id, actor
    )
    return lane_id


async def reprioritize(
    conn: Conn, *, organization_id: UUID, job_id: UUID, priority: int, actor: str
) -> int | None:
    """Give an open job nobody works on another priority.

    Return the one it had, or None when it is no such job.
    """
    old: int | None = await conn.fetchval(
        SQL["reprioritize"], organization_id, job_id, 100 - priority, actor
    )
    return old


async def requeue(
    conn: Conn,
    *,
    organization_id: UUID,
    job_ids: Collection[UUID],
    actor: str,
    queue_names: Sequence[str] | None = None,
) -> list[Requeued]:
    """Make dead letters (of these queues) ready again; return those that were.

    Those that have a line are held at its end (`release_lines`).
    """
    rows = await conn.fetch(
        SQL["requeue"],
        organization_id,
        sorted(job_ids),
        actor,
        None if queue_names is None else list(queue_names),
    )
    return [Requeued(*row) for row in rows]


async def choose_dead(
    conn: Conn,
    *,
    organization_id: UUID,
    queue_names: Sequence[str] | None,
    died_before: datetime | None,
    limit: int,
) -> list[UUID]:
    """Return up to *limit* dead letters, the oldest jobs first."""
    rows = await conn.fetch(
        SQL["choose_dead"],
        organization_id,
        None if queue_names is None else list(queue_names),
        died_before,
        limit,
    )
    return [row["job_id"] for row in rows]


async def purge(
    conn: Conn, *, organization_id: UUID, job_ids: Collection[UUID], actor: str
) -> int:
    """Delete dead letters for good; return how many were."""
    rows = await conn.fetch(SQL["purge"], organization_id, sorted(job_ids), actor)
    return len(rows)
