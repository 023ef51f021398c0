"""What follows when jobs left their owners' hands: who waited for that is told.

Called by whoever settles or recovers, right after the commit.  All of it may be lost:
whoever waits looks again by itself.
"""

from collections.abc import Collection, Iterable

import structlog

from libs.common.bus import Bus
from libs.common.db import Pool, borrow
from libs.common.dependents import tell_released
from libs.common.errors import Transient
from libs.common.lines import release_lines
from libs.common.messages import LanesReady, WorkReady
from libs.common.store import settlement
from libs.common.store.dependencies import Released

log = structlog.get_logger()


async def follow_up(
    pool: Pool,
    bus: Bus,
    *,
    lanes: Collection[int],
    left_line: bool,
    released: Iterable[Released] = (),
) -> None:
    """Ring for the journal, for room in the queues of *lanes*, and for who waited.

    *lanes* are those whose jobs ended and whose queue may have a limit; *left_line*
    says that one that ended may have stood in a line, *released* what came of it for
    those who had waited for them.
    """
    await bus.ring_journal()
    await tell_released(pool, bus, released)
    if left_line:
        await release_lines(pool, bus)
    if lanes:
        await _tell_of_room(pool, bus, lanes)


async def _tell_of_room(pool: Pool, bus: Bus, lanes: Collection[int]) -> None:
    try:
        async with borrow(pool) as conn:
            found = await settlement.find_room(conn, lanes=set(lanes))
    except Transient as error:
        log.warning("room.not_told", cause=str(error))
        return
    push = sorted(lane_id for lane_id, is_push in found.items() if is_push)
    work = sorted(lane_id for lane_id, is_push in found.items() if not is_push)
    if push:
        await bus.ring(LanesReady(lanes=push))
    if work:
        await bus.ring(WorkReady(lanes=work))
