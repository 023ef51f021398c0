"""Workflows: jobs that belong together, and how they stand as a whole.

A workflow waits for its jobs as a child waits for its parents, by edges of its own in
``dependencies``: so the statement that ends the last of its jobs ends it, too
(``release_children`` in the schema).  The claim that begins its first job makes it
running.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, Literal
from uuid import UUID

from libs.common.db import Conn, Row
from libs.common.sql import load
from libs.common.store.dependencies import Kind, Mode, Released

SQL: Final = load(__package__, "workflows")

#: What becomes of a workflow's other jobs when one has failed.
Policy = Literal["continue", "fail_fast"]
#: How a workflow stands.
State = Literal["pending", "running", "completed", "failed", "cancelled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewWorkflow:
    """A workflow that was checked; *metadata* is JSON."""

    id: UUID
    organization_id: UUID
    name: str
    description: str | None
    metadata: str | None
    policy: Policy
    queue_names: Collection[str]
    total_jobs: int
    #: What names it, and a hash of what was asked for: both or neither.
    idempotency_key: str | None = None
    fingerprint: bytes | None = None


@dataclass(frozen=True, slots=True)
class Edge:
    """That a job waits for another."""

    child_id: UUID
    parent_id: UUID
    mode: Mode
    kind: Kind


@dataclass(frozen=True, slots=True)
class Swept:
    """How many jobs were *chosen*, how many *cancelled*, and how many left a line."""

    chosen: int
    cancelled: int
    left_line: int
    released: Released


@dataclass(frozen=True, slots=True)
class Restarted:
    """A job that starts over, in a lane; it is ready, in a line, or waits."""

    job_id: UUID
    lane_id: int
    push: bool
    is_ready: bool
    in_line: bool


async def count_open(conn: Conn, *, organization_id: UUID) -> int:
    """Return how many workflows of an organization are not over."""
    count: int = await conn.fetchval(SQL["count_open"], organization_id)
    return count


async def create_workflow(conn: Conn, *, new: NewWorkflow) -> bool:
    """Create a workflow, in the transaction that creates its jobs.

    Return False when another has its idempotency key (`find_by_key`).
    """
    id_ = await conn.fetchval(
        SQL["create_workflow"],
        new.id,
        new.organization_id,
        new.name,
        new.description,
        new.metadata,
        new.policy,
        sorted(new.queue_names),
        new.total_jobs,
        new.idempotency_key,
        new.fingerprint,
    )
    return id_ is not None


async def find_by_key(
    conn: Conn, *, organization_id: UUID, key: str
) -> tuple[UUID, bytes] | None:
    """Return the workflow that has an idempotency key, and its fingerprint."""
    row = await conn.fetchrow(SQL["find_by_key"], organization_id, key)
    return None if row is None else (row["id"], row["fingerprint"])


async def add_jobs(
    conn: Conn, *, workflow_id: UUID, jobs: Sequence[tuple[str, UUID]]
) -> None:
    """Add these (key, job)s to a workflow, in the transaction that creates them."""
    await conn.execute(
        SQL["add_jobs"], workflow_id, [key for key, _ in jobs], [id_ for _, id_ in jobs]
    )


async def add_edges(conn: Conn, *, edges: Sequence[Edge]) -> None:
    """Let jobs that are created in this transaction wait for others."""
    await conn.execute(
        SQL["add_edges"],
        [edge.child_id for edge in edges],
        [edge.parent_id for edge in edges],
        [edge.mode for edge in edges],
        [edge.kind for edge in edges],
    )


async def sweep(conn: Conn, *, ids: Collection[UUID], actor: str | None) -> Swept:
    """Cancel what is left of workflows, once; again until none is chosen."""
    [row] = await conn.fetch(SQL["sweep"], sorted(ids), actor)
    return Swept(
        chosen=row["chosen"],
        cancelled=row["cancelled"],
        left_line=row["left_line"],
        released=Released.read(row["released"]),
    )


async def stop(conn: Conn, *, organization_id: UUID, id_: UUID) -> bool:
    """Cancel a workflow, and leave its jobs to `sweep`; return whether it was open."""
    return await conn.fetchval(SQL["stop"], organization_id, id_) is not None


async def lock_workflow(conn: Conn, *, organization_id: UUID, id_: UUID) -> Row | None:
    """Return a workflow that nobody else changes until the transaction ends."""
    return await conn.fetchrow(SQL["lock_workflow"], organization_id, id_)


async def restart(conn: Conn, *, workflow_id: UUID, actor: str) -> list[Restarted]:
    """Let what failed or was cancelled start over, in the transaction of the lock."""
    rows = await conn.fetch(SQL["restart"], workflow_id, actor)
    return [Restarted(*row) for row in rows]


async def hold_worker(
    conn: Conn, *, workflow_id: UUID, worker_id: str, lease_id: UUID | None
) -> UUID | None:
    """Return a job of a workflow that a worker has, and keeps until the commit."""
    job_id: UUID | None = await conn.fetchval(
        SQL["hold_worker"], workflow_id, worker_id, lease_id
    )
    return job_id


async def keys_of(conn: Conn, *, workflow_id: UUID) -> dict[str, UUID]:
    """Return the jobs of a workflow by their keys."""
    rows = await conn.fetch(SQL["keys_of"], workflow_id)
    return {row["key"]: row["job_id"] for row in rows}


async def extend(
    conn: Conn,
    *,
    workflow_id: UUID,
    more: int,
    queue_names: Collection[str],
    waiting: Collection[UUID],
) -> None:
    """Count *more* jobs of a workflow that is locked; look at those that wait."""
    await conn.execute(
        SQL["extend"], workflow_id, more, sorted(queue_names), sorted(waiting)
    )


async def read_workflow(conn: Conn, *, organization_id: UUID, id_: UUID) -> Row | None:
    """Return one workflow with how far it has come, or None."""
    return await conn.fetchrow(SQL["read_workflow"], organization_id, id_)


async def list_workflows(
    conn: Conn,
    *,
    organization_id: UUID,
    queue_names: Sequence[str] | None,
    state: str | None,
    limit: int,
    offset: int,
) -> list[Row]:
    """Return workflows, all of whose queues are these, newest first."""
    return list(
        await conn.fetch(
            SQL["list_workflows"],
            organization_id,
            None if queue_names is None else list(queue_names),
            state,
            limit,
            offset,
        )
    )


async def jobs_of(conn: Conn, *, workflow_id: UUID) -> list[Row]:
    """Return the jobs of a workflow in the order in which they came."""
    return list(await conn.fetch(SQL["jobs_of"], workflow_id))


async def edges_of(conn: Conn, *, workflow_id: UUID) -> list[Edge]:
    """Return what the jobs of a workflow wait for, or waited for."""
    rows = await conn.fetch(SQL["edges_of"], workflow_id)
    return [Edge(*row) for row in rows]
