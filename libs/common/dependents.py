"""Jobs that waited for a job that has ended: let go, or cancelled with it.

Called by whoever ends jobs, right after the commit; the scheduler looks, too, so that
nothing is lost when somebody cannot.
"""

from typing import Final

import structlog

from libs.common.bus import Bus
from libs.common.db import Pool, borrow
from libs.common.errors import Transient
from libs.common.lines import release_lines
from libs.common.messages import JournalGrew
from libs.common.store import dependencies

log = structlog.get_logger()

_BATCH: Final = 500


async def release_dependents(pool: Pool, bus: Bus) -> None:
    """Look at the children of jobs that ended until nothing is left, and ring.

    Cheap when nothing ended that had children.  When Postgres is away the scheduler's
    next look does it.
    """
    more, joined = True, 0
    try:
        while more:
            async with borrow(pool) as conn:
                looked = await dependencies.release(conn, limit=_BATCH)
            more = looked.looks == _BATCH or looked.cancelled > 0
            joined += looked.joined
            await bus.ring_lanes(
                [(lane, True) for lane in looked.push_lanes]
                + [(lane, False) for lane in looked.work_lanes]
            )
            if looked.unblocked or looked.cancelled:
                await bus.ring(JournalGrew())
    except Transient as error:
        log.warning("dependents.look_postponed", cause=str(error))
    if joined:
        await release_lines(pool, bus)
