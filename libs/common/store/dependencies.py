"""Jobs that wait for jobs: edges from a child to its parents, and what comes of them.

The statement that ends a job lets go who waited for it (``release_children`` in the
schema), and tells what came of that: `Released`.  Whoever somebody else had in hands is
noted in ``rechecks``, and `release` looks at what was noted.  An edge is committed
while a statement that cannot see it may be ending the parent, so a new edge is noted,
too, and looked at again for a minute.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, Literal
from uuid import UUID

import orjson

from libs.common.db import Conn, Row
from libs.common.sql import load

SQL: Final = load(__package__, "dependencies")

Mode = Literal["all", "any"]
#: What a job waits for of another: that it completes, ends, or fails.
Kind = Literal["success", "completion", "failure"]


@dataclass(frozen=True, slots=True)
class Released:
    """What came of it that jobs ended, or that somebody looked, for who had waited.

    So many jobs were *unblocked*, some in these lanes; *joined* of them are held, in
    lines (`release_lines`); so many were *cancelled*, and so many workflows are *over*.
    Of those that are *sweeping*, jobs must be cancelled now.  At *left_over* somebody
    must look (`release_dependents`).
    """

    unblocked: int = 0
    cancelled: int = 0
    joined: int = 0
    over: int = 0
    push_lanes: tuple[int, ...] = ()
    work_lanes: tuple[int, ...] = ()
    sweeping: tuple[UUID, ...] = ()
    left_over: int = 0

    @classmethod
    def read(cls, told: str | None) -> "Released":
        """Return what a statement told; None when nobody had waited."""
        if told is None:
            return NOBODY
        found = orjson.loads(told)
        return cls(
            unblocked=found["unblocked"],
            cancelled=found["cancelled"],
            joined=found["joined"],
            over=found["over"],
            push_lanes=tuple(found["push_lanes"]),
            work_lanes=tuple(found["work_lanes"]),
            sweeping=tuple(UUID(id_) for id_ in found["sweeping"]),
            left_over=found["left_over"],
        )


NOBODY: Final = Released()


@dataclass(frozen=True, slots=True)
class Gone:
    """How many jobs are no more, and what came of it."""

    jobs: int
    released: Released


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


async def release(conn: Conn, *, limit: int) -> tuple[int, Released]:
    """Look at up to *limit* of those that were noted; return how many, and the rest.

    There may be more when as many were looked at, or any were left over.
    """
    [row] = await conn.fetch(SQL["release"], limit)
    return row["looks"], Released.read(row["released"])


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
