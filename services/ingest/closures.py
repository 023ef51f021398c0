"""Deleting a queue: what stands in it goes first, bit by bit (contract 1.5, D18)."""

import asyncio
from typing import Final

from libs.common.access import Principal
from libs.common.bus import Bus
from libs.common.db import Conn, Pool, borrow
from libs.common.dependents import tell_released
from libs.common.errors import Conflict, NotFound
from libs.common.lines import release_lines
from libs.common.store import closures, interventions, queues
from libs.common.store.dependencies import NOBODY, Gone, Released

_BATCH: Final = 500
#: How long one request empties a queue; whoever asks again goes on.
_SECONDS_MAX: Final = 20.0


async def delete_queue(
    pool: Pool, bus: Bus, *, principal: Principal, name: str, delete_jobs: bool
) -> None:
    """Delete a queue; with *delete_jobs* cancel and purge what stands in it before.

    Jobs in work are taken from whoever works on them.  Jobs that are over stay to be
    seen.  Raises `NotFound`, and `Conflict` when jobs stand in the queue, or it exists
    only by its jobs and they are not to be deleted.
    """
    async with borrow(pool) as conn:
        found = await queues.find_queue(
            conn, organization_id=principal.organization_id, name=name
        )
    if found is None:
        raise NotFound("Resource not found")
    if delete_jobs:
        released = await _empty(pool, principal, name)
        await bus.ring_journal()
        await tell_released(pool, bus, released)
        await release_lines(pool, bus)
    elif found["id"] is None:
        raise Conflict("Queue exists only by its jobs; delete_jobs=true deletes both")
    async with borrow(pool) as conn:
        retired = await closures.retire(
            conn, organization_id=principal.organization_id, name=name
        )
    if not retired:
        raise Conflict(
            "Queue was given new jobs while it was emptied"
            if delete_jobs
            else "Queue has jobs that are not over; delete_jobs=true deletes them"
        )


async def _empty(pool: Pool, principal: Principal, name: str) -> set[Released]:
    """Cancel what is open in a queue, and purge what is dead."""
    released: set[Released] = set()
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _SECONDS_MAX
    actor = str(principal.api_key_id)
    async with borrow(pool) as conn:
        lanes = await closures.lanes_of_queue(
            conn, organization_id=principal.organization_id, name=name
        )
    moved = 1
    while moved and loop.time() < deadline:
        # Each move is a transaction of its own.
        async with borrow(pool) as conn:
            moved = await closures.give_back(conn, lanes=lanes, limit=_BATCH)
            for gone in (
                await closures.cancel_lanes(
                    conn, lanes=lanes, limit=_BATCH, actor=actor
                ),
                await _purge(conn, principal, name, actor),
            ):
                moved += gone.jobs
                released.add(gone.released)
    return released


async def _purge(conn: Conn, principal: Principal, name: str, actor: str) -> Gone:
    """Delete some dead letters of a queue."""
    dead = await interventions.choose_dead(
        conn,
        organization_id=principal.organization_id,
        queue_names=[name],
        died_before=None,
        limit=_BATCH,
    )
    if not dead:
        return Gone(0, NOBODY)
    return await interventions.purge(
        conn, organization_id=principal.organization_id, job_ids=dead, actor=actor
    )
