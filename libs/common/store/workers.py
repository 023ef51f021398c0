"""Workers: who says to be one.  A claim needs no row here (contract 5.4)."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final, NamedTuple
from uuid import UUID

from libs.common.db import Conn, Row
from libs.common.sql import load

SQL: Final = load(__package__, "workers")


class WorkerName(NamedTuple):
    """Whose worker, and which."""

    organization_id: UUID
    id: str


class Seen(NamedTuple):
    """How a worker that showed itself stands."""

    queue_name: str
    status: str


async def count_others_up(conn: Conn, *, organization_id: UUID, worker_id: str) -> int:
    """Return how many workers are up beside *worker_id*."""
    count: int = await conn.fetchval(SQL["count_others_up"], organization_id, worker_id)
    return count


async def count_up_in_queue(
    conn: Conn, *, organization_id: UUID, queue_name: str
) -> int:
    """Return how many workers of a queue are up."""
    count: int = await conn.fetchval(
        SQL["count_up_in_queue"], organization_id, queue_name
    )
    return count


async def register(
    conn: Conn,
    *,
    id_: str,
    organization_id: UUID,
    queue_name: str,
    hostname: str,
    worker_type: str | None,
    max_concurrency: int,
    version: str | None,
    metadata: str | None,
    scope: Sequence[str] | None,
) -> bool:
    """Enter a worker; return False when its id is somebody else's.

    *metadata* is JSON; *scope* are the queues whose workers the caller may touch.
    """
    row = await conn.fetchrow(
        SQL["register"],
        id_,
        organization_id,
        queue_name,
        hostname,
        worker_type,
        max_concurrency,
        version,
        metadata,
        _listed(scope),
    )
    return row is not None


async def note_heartbeat(
    conn: Conn,
    *,
    organization_id: UUID,
    scope: Sequence[str] | None,
    worker_id: str,
    current_jobs: int,
    status: str | None,
    metadata: str | None,
    sticky: bool,
) -> Seen | None:
    """Note a sign of life; return how the worker stands, or None for no such worker.

    With *sticky* a worker that drains goes on draining, whatever it says.
    """
    row = await conn.fetchrow(
        SQL["note_heartbeat"],
        organization_id,
        _listed(scope),
        worker_id,
        current_jobs,
        status,
        metadata,
        sticky,
    )
    return None if row is None else Seen(*row)


async def sign_off(
    conn: Conn, *, organization_id: UUID, scope: Sequence[str] | None, worker_id: str
) -> bool:
    """Mark a worker offline; return whether there is such a worker."""
    row = await conn.fetchrow(
        SQL["sign_off"], organization_id, _listed(scope), worker_id
    )
    return row is not None


async def read_worker(
    conn: Conn, *, organization_id: UUID, scope: Sequence[str] | None, worker_id: str
) -> Row | None:
    """Return one worker, or None."""
    return await conn.fetchrow(
        SQL["read_worker"], organization_id, _listed(scope), worker_id
    )


async def list_workers(
    conn: Conn,
    *,
    organization_id: UUID,
    scope: Sequence[str] | None,
    limit: int,
    offset: int,
) -> list[Row]:
    """Return workers: those that are up first, then the latest come."""
    return list(
        await conn.fetch(
            SQL["list_workers"], organization_id, _listed(scope), limit, offset
        )
    )


async def mark_silent(
    conn: Conn, *, silence: timedelta, limit: int
) -> list[WorkerName]:
    """Mark workers offline that were silent for *silence*; return them."""
    rows = await conn.fetch(SQL["mark_silent"], silence, limit)
    return [WorkerName(*row) for row in rows]


async def forget_gone(conn: Conn, *, absence: timedelta, limit: int) -> None:
    """Delete workers that have been offline for *absence*."""
    await conn.execute(SQL["forget_gone"], absence, limit)


def _listed(scope: Sequence[str] | None) -> list[str] | None:
    return None if scope is None else list(scope)
