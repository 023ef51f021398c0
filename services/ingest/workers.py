"""Workers come, show themselves and go: the same over REST and gRPC (contract 5.4).

A claim needs no registered worker, and a job knows only the id of whoever holds it.
Registering is for being seen, for being counted by the plan, and for giving back at
once what a worker holds when it leaves.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from libs.common.access import Principal
from libs.common.aftermath import follow_up
from libs.common.bus import Bus
from libs.common.db import Conn, Pool, borrow
from libs.common.errors import Conflict
from libs.common.ids import new_id
from libs.common.messages import WorkerSeen, WorkReady
from libs.common.store import leases, organizations, workers
from services.ingest.requests.workers import RegisterWorker

_RELEASE_BATCH: Final = 500
#: Who says so takes no place in the plan (contract 4.4).
_DOWN: Final = ("draining", "offline")


@dataclass(frozen=True, slots=True)
class Registered:
    """A worker that was entered."""

    worker_id: str
    queue_name: str


@dataclass(frozen=True, slots=True)
class Beat:
    """The answer to a sign of life; not *acknowledged* when there is no such worker."""

    acknowledged: bool
    should_drain: bool = False


async def register(
    pool: Pool, bus: Bus, *, principal: Principal, wanted: RegisterWorker
) -> Registered:
    """Enter a worker, or what it says anew when it is entered already.

    Raises `Forbidden` for a queue that is not the caller's, `Conflict` for an id that
    is somebody else's, `QuotaExceeded` when as many workers are up as the plan allows.
    """
    principal.require(wanted.queue_name)
    worker_id = wanted.worker_id or str(new_id())
    async with borrow(pool) as conn, conn.transaction():
        if principal.plan.limits.max_workers is not None:
            await organizations.lock_organization(conn, id_=principal.organization_id)
            others = await workers.count_others_up(
                conn, organization_id=principal.organization_id, worker_id=worker_id
            )
            principal.plan.require("workers", after=others + 1)
        entered = await workers.register(
            conn,
            id_=worker_id,
            organization_id=principal.organization_id,
            queue_name=wanted.queue_name,
            hostname=wanted.hostname,
            worker_type=wanted.worker_type,
            max_concurrency=wanted.max_concurrency,
            version=wanted.version,
            metadata=_json(wanted.metadata),
            scope=principal.scope,
        )
    if not entered:
        raise Conflict("Worker ID is already in use")
    await bus.ring_journal()
    return Registered(worker_id, wanted.queue_name)


async def heartbeat(
    pool: Pool,
    bus: Bus,
    *,
    principal: Principal,
    worker_id: str,
    current_jobs: int,
    status: str | None,
    metadata: Any,
    sticky: bool = True,
) -> Beat:
    """Note that a worker lives, and what it says of itself (None: as before).

    With *sticky* a worker that was told to drain stays so, whatever it says itself
    (contract 2.3).  Without, its word counts.  Raises `QuotaExceeded` for one that was
    down and would be one more that is up than the plan allows.
    """
    async with (
        borrow(pool) as conn,
        _counted(conn, principal, worker_id, status=status, sticky=sticky),
    ):
        found = await workers.note_heartbeat(
            conn,
            organization_id=principal.organization_id,
            scope=principal.scope,
            worker_id=worker_id,
            current_jobs=current_jobs,
            status=status,
            metadata=_json(metadata),
            sticky=sticky,
        )
    if found is None:
        return Beat(acknowledged=False)
    await bus.ring(
        WorkerSeen(
            organization_id=str(principal.organization_id),
            worker_id=worker_id,
            queue_name=found.queue_name,
            status=found.status,
            current_jobs=current_jobs,
            time=datetime.now(UTC).isoformat(),
        )
    )
    return Beat(acknowledged=True, should_drain=found.status == "draining")


async def deregister(
    pool: Pool, bus: Bus, *, principal: Principal, worker_id: str
) -> bool:
    """Let a worker go, and give its jobs to others without charging a retry.

    A key that is limited to queues gives back jobs of these.  Returns False when there
    is no such worker; repeating is harmless.
    """
    async with borrow(pool) as conn:
        gone = await workers.sign_off(
            conn,
            organization_id=principal.organization_id,
            scope=principal.scope,
            worker_id=worker_id,
        )
    if not gone:
        return False
    released = None
    lanes: set[int] = set()
    while released is None or len(released) == _RELEASE_BATCH:
        # A transaction of its own: a move shares none with anything else.
        async with borrow(pool) as conn:
            released = await leases.release_work(
                conn,
                organization_id=principal.organization_id,
                owner=worker_id,
                queue_names=principal.scope,
                limit=_RELEASE_BATCH,
            )
        lanes |= {job.lane_id for job in released}
    await bus.ring_journal()
    if lanes:
        await bus.ring(WorkReady(lanes=sorted(lanes)))
        # There may be room for jobs of other lanes of these queues, too.
        await follow_up(pool, bus, lanes=lanes, left_line=False)
    return True


@asynccontextmanager
async def _counted(
    conn: Conn,
    principal: Principal,
    worker_id: str,
    *,
    status: str | None,
    sticky: bool,
) -> AsyncIterator[None]:
    """Let the block note a sign of life, unless the worker has no place in the plan.

    Raises `QuotaExceeded` for one that is down and would be one too many.
    """
    if principal.plan.limits.max_workers is None or status in _DOWN:
        yield
        return
    known = await workers.read_worker(
        conn,
        organization_id=principal.organization_id,
        scope=principal.scope,
        worker_id=worker_id,
    )
    was = known and known["status"]
    drains_on = was == "draining" and (sticky or status is None)
    if was not in _DOWN or drains_on:
        yield
        return
    async with conn.transaction():
        await organizations.lock_organization(conn, id_=principal.organization_id)
        others = await workers.count_others_up(
            conn, organization_id=principal.organization_id, worker_id=worker_id
        )
        principal.plan.require("workers", after=others + 1)
        yield


def _json(value: Any) -> str | None:
    return None if value is None else orjson.dumps(value).decode()
