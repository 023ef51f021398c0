"""What people do to jobs by hand: cancel, reprioritize, retry a dead letter, purge."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from libs.common.db import Conn, Row
from libs.common.sql import load
from libs.common.store.dependencies import Gone, Released

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
) -> Released | None:
    """Cancel an open job nobody works on; return what came of it, None if none is."""
    row = await conn.fetchrow(SQL["cancel"], organization_id, job_id, actor)
    return None if row is None else Released.read(row["released"])


async def cancel_in_work(
    conn: Conn, *, organization_id: UUID, job_id: UUID, actor: str
) -> tuple[int, Released] | None:
    """Cancel a job that somebody works on, in vain from now on.

    Return its lane, and what came of it; None when nobody does.
    """
    row = await conn.fetchrow(SQL["cancel_in_work"], organization_id, job_id, actor)
    return None if row is None else (row["lane_id"], Released.read(row["released"]))


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


async def group_dead(
    conn: Conn,
    *,
    organization_id: UUID,
    queue_names: Sequence[str] | None,
    letters: int,
    groups: int,
) -> list[Row]:
    """Return what the newest *letters* died of, in up to *groups*, the most first."""
    return list(
        await conn.fetch(
            SQL["group_dead"],
            organization_id,
            None if queue_names is None else list(queue_names),
            letters,
            groups,
        )
    )


async def purge(
    conn: Conn, *, organization_id: UUID, job_ids: Collection[UUID], actor: str
) -> Gone:
    """Delete dead letters for good."""
    [row] = await conn.fetch(SQL["purge"], organization_id, sorted(job_ids), actor)
    return Gone(row["purged"], Released.read(row["released"]))
