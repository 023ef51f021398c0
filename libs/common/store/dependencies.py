"""Jobs that wait for jobs: edges from a child to its parents, and what comes of them.

Whoever ends a job notes its children in ``rechecks``, in the same statement; `release`
looks at what was noted.  An edge is committed while a statement that cannot see it may
be ending the parent, so a new edge is looked at again for a minute.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, Literal
from uuid import UUID

from libs.common.db import Conn, Row
from libs.common.sql import load

SQL: Final = load(__package__, "dependencies")

Mode = Literal["all", "any"]
#: What a job waits for of another: that it completes, ends, or fails.
Kind = Literal["success", "completion", "failure"]


@dataclass(frozen=True, slots=True)
class Looked:
    """What came of a look: how many children were met, and where jobs became ready.

    *joined* of them are held, in lines (`release_lines`).
    """

    looks: int
    unblocked: int
    cancelled: int
    joined: int
    push_lanes: list[int]
    work_lanes: list[int]


async def lock_graph(conn: Conn, *, organization_id: UUID) -> None:
    """Wait until nobody else adds edges to an organization's graph."""
    await conn.fetchval(SQL["lock_graph"], organization_id)


async def find_jobs(
    conn: Conn, *, ids: Collection[UUID]
) -> dict[UUID, tuple[UUID, str]]:
    """Return the (organization, queue) of each of *ids* that is a job."""
    return {
        row["id"]: (row["organization_id"], row["queue_name"])
        for row in await conn.fetch(SQL["find_jobs"], list(ids))
    }


async def depend(
    conn: Conn,
    *,
    job_id: UUID,
    parents: Collection[UUID],
    mode: Mode,
    kind: Kind = "success",
    actor: str,
) -> list[UUID] | None:
    """Let a job wait for *parents*, in a transaction with `lock_graph` before it.

    Return the parents of the edges that are new, or None when the job has begun or
    ended.
    """
    added: list[UUID] | None = await conn.fetchval(
        SQL["depend"], job_id, list(parents), mode, actor, kind
    )
    return added


async def release(conn: Conn, *, limit: int) -> Looked:
    """Look at up to *limit* children whose parents ended, and move who need not wait.

    There may be more when as many were looked at, or when any was cancelled.
    """
    [row] = await conn.fetch(SQL["release"], limit)
    return Looked(**row)


async def parents_of(
    conn: Conn, *, job_id: UUID, queue_names: Sequence[str] | None
) -> list[Row]:
    """Return what a job waits or waited for: id, queue_name, mode, kind, status."""
    return list(await conn.fetch(SQL["parents_of"], job_id, _names(queue_names)))


async def children_of(
    conn: Conn, *, job_id: UUID, queue_names: Sequence[str] | None, limit: int
) -> list[Row]:
    """Return up to *limit* jobs that wait or waited for a job, as `parents_of`."""
    return list(
        await conn.fetch(SQL["children_of"], job_id, _names(queue_names), limit)
    )


def _names(queue_names: Sequence[str] | None) -> list[str] | None:
    return None if queue_names is None else list(queue_names)
