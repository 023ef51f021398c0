"""Jobs that waited for a job that has ended: let go, or cancelled with it.

And workflows that may be over with it.  Called by whoever ends jobs, right after the
commit; the scheduler looks, too, so that nothing is lost when somebody cannot.
"""

from collections.abc import Collection
from typing import Final
from uuid import UUID

import structlog

from libs.common.bus import Bus
from libs.common.db import Conn, Pool, borrow
from libs.common.errors import Transient
from libs.common.lines import release_lines
from libs.common.messages import JournalGrew
from libs.common.store import dependencies, workflows

log = structlog.get_logger()

_BATCH: Final = 500


async def release_dependents(pool: Pool, bus: Bus) -> None:
    """Look at the children of jobs that ended until nothing is left, and ring.

    Then at the workflows of which a job ended.  Cheap when nothing ended that had
    children.  When Postgres is away the scheduler's next look does it.
    """
    more, lines = True, 0
    try:
        while more:
            async with borrow(pool) as conn:
                looked = await dependencies.release(conn, limit=_BATCH)
                more = looked.looks == _BATCH or looked.cancelled > 0
                over, cancelled = 0, 0
                if not more:
                    over, cancelled, left = await _look_at_workflows(conn)
                    more = cancelled > 0
                    lines += left
            lines += looked.joined
            await bus.ring_lanes(
                [(lane, True) for lane in looked.push_lanes]
                + [(lane, False) for lane in looked.work_lanes]
            )
            if looked.unblocked or looked.cancelled or over or cancelled:
                await bus.ring(JournalGrew())
    except Transient as error:
        log.warning("dependents.look_postponed", cause=str(error))
    if lines:
        await release_lines(pool, bus)


async def sweep_workflows(
    conn: Conn, *, ids: Collection[UUID], actor: str | None = None
) -> tuple[int, int]:
    """Cancel what is left of workflows that were cancelled, or failed at once.

    Return how many jobs were cancelled, and how many of them left a line.
    """
    cancelled, left = 0, 0
    while True:
        swept = await workflows.sweep(conn, ids=ids, actor=actor)
        cancelled += swept.cancelled
        left += swept.left_line
        if not swept.chosen:
            return cancelled, left


async def _look_at_workflows(conn: Conn) -> tuple[int, int, int]:
    """Return how many are over, how many jobs were cancelled, and how many in lines."""
    over, cancelled, left = 0, 0, 0
    more = True
    while more:
        looked = await workflows.look(conn, limit=_BATCH)
        more = looked.looks == _BATCH
        over += looked.settled
        if looked.sweeping:
            jobs, in_line = await sweep_workflows(conn, ids=looked.sweeping)
            cancelled += jobs
            left += in_line
    return over, cancelled, left
