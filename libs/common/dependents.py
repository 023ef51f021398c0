"""Jobs that waited for a job that has ended: where they are let go somebody is told.

Called by whoever ended jobs, right after the commit.  Whom the statement that ended
them had to leave is looked at then, and by the scheduler, so that nothing is lost when
nobody else can.
"""

from collections.abc import Collection, Iterable
from typing import Final
from uuid import UUID

import structlog

from libs.common.bus import Bus
from libs.common.db import Conn, Pool, borrow
from libs.common.errors import Transient
from libs.common.lines import release_lines
from libs.common.store import dependencies, workflows
from libs.common.store.dependencies import Released
from libs.common.store.workflows import Swept

log = structlog.get_logger()

_BATCH: Final = 500


async def tell_released(pool: Pool, bus: Bus, released: Iterable[Released]) -> None:
    """Ring where jobs became ready, and look at who was left over."""
    told = {one for one in released if one != dependencies.NOBODY}
    await _ring(bus, told)
    if any(one.joined for one in told):
        await release_lines(pool, bus)
    if any(one.left_over for one in told):
        await release_dependents(pool, bus)


async def release_dependents(pool: Pool, bus: Bus) -> None:
    """Look at jobs and workflows that were noted until nothing is left, and ring.

    Cheap when nothing was.  When Postgres is away the scheduler's next look does it.
    """
    more, in_lines = True, False
    try:
        while more:
            async with borrow(pool) as conn:
                looks, looked = await dependencies.release(conn, limit=_BATCH)
                swept = await sweep_workflows(conn, ids=looked.sweeping)
            released = [looked, *(each.released for each in swept)]
            more = looks == _BATCH or any(each.left_over for each in released)
            in_lines |= any(each.joined for each in released)
            in_lines |= any(each.left_line for each in swept)
            await _ring(bus, released)
            if looked.unblocked or looked.cancelled or looked.over or swept:
                await bus.ring_journal()
    except Transient as error:
        log.warning("dependents.look_postponed", cause=str(error))
    if in_lines:
        await release_lines(pool, bus)


async def sweep_workflows(
    conn: Conn, *, ids: Collection[UUID], actor: str | None = None
) -> list[Swept]:
    """Cancel what is left of workflows that were cancelled, or failed at once.

    Return what was done, bit by bit.
    """
    done: list[Swept] = []
    while ids:
        swept = await workflows.sweep(conn, ids=ids, actor=actor)
        if not swept.chosen:
            break
        done.append(swept)
    return done


async def _ring(bus: Bus, released: Iterable[Released]) -> None:
    await bus.ring_lanes(
        (lane, push)
        for one in released
        for push, lanes in ((True, one.push_lanes), (False, one.work_lanes))
        for lane in lanes
    )
