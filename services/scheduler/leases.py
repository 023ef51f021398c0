"""Workers' leases that ran out: the jobs go to somebody else (contract 4.1).

The leases of webhook batches are the dispatcher's: it alone hears who holds them.
"""

import asyncio
from typing import Final

import structlog

from libs.common.aftermath import follow_up
from libs.common.bus import Bus
from libs.common.db import Pool, borrow
from libs.common.loops import every
from libs.common.messages import WorkReady
from libs.common.store import leases

log = structlog.get_logger()

_BATCH: Final = 500


async def recover_dropped(
    stopping: asyncio.Event, *, pool: Pool, bus: Bus, poll_seconds: float
) -> None:
    """Recover until stopped (an actor)."""

    async def turn() -> None:
        full = True
        while full:
            async with borrow(pool) as conn:
                recovered = await leases.recover_work(conn, limit=_BATCH)
            full = len(recovered) == _BATCH
            if not recovered:
                continue
            log.warning("jobs.recovered", jobs=len(recovered))
            ready = {job.lane_id for job in recovered if not job.dead}
            if ready:
                await bus.ring(WorkReady(lanes=sorted(ready)))
            await follow_up(
                pool,
                bus,
                lanes={job.lane_id for job in recovered},
                released={job.released for job in recovered},
                left_line=any(job.dead for job in recovered),
            )

    await every(poll_seconds, turn, stopping=stopping)
