"""Jobs whose turn it is, because somebody before them has ended or nobody was there.

Called by whoever ends or creates jobs with a line, right after the commit; the
scheduler looks, too, so that nothing is lost when somebody cannot.
"""

from typing import Final

import structlog

from libs.common.bus import Bus
from libs.common.db import Pool, borrow
from libs.common.errors import Transient
from libs.common.store import lines

log = structlog.get_logger()

#: So many locks at once, at most, of all that Postgres has.
_BATCH: Final = 200


async def release_lines(pool: Pool, bus: Bus) -> None:
    """Call whose turn it is in every line that was noted, and ring.

    It looks again after each look that found something: what was noted meanwhile of the
    same lines others have left to us.  Cheap when nothing was noted.  When Postgres is
    away the scheduler's next look does it.
    """
    try:
        while True:
            async with borrow(pool) as conn:
                if not await lines.is_noted(conn):
                    return
                async with conn.transaction():
                    checks = await lines.look(conn, limit=_BATCH)
                    if not checks:
                        return
                    called = await lines.call(conn, checks=checks)
            await bus.ring_lanes(
                [(lane, True) for lane in called.push_lanes]
                + [(lane, False) for lane in called.work_lanes]
            )
            if called.called:
                await bus.ring_journal()
    except Transient as error:
        log.warning("lines.look_postponed", cause=str(error))
