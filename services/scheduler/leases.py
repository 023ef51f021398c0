"""Workers' leases that ran out: the jobs go to somebody else (contract 4.1).

The leases of webhook batches are the dispatcher's: it alone hears who holds them.
"""

import asyncio
from typing import Final

import structlog

from libs.common.bus import Bus
from libs.common.db import Pool, borrow
from libs.common.loops import every
from libs.common.messages import JournalGrew
from libs.common.store import leases

log = structlog.get_logger()

_BATCH: Final = 500


async def recover_dropped(
    stopping: asyncio.Event, *, pool: Pool, bus: Bus, poll_seconds: float
) -> None:
    """Recover until stopped (an actor)."""

    async def turn() -> None:
        more = True
        while more:
            async with borrow(pool) as conn:
                recovered, more = await leases.recover(conn, push=False, limit=_BATCH)
            if not recovered:
                continue
            log.warning("jobs.recovered", jobs=len(recovered))
            await bus.ring(JournalGrew())

    await every(poll_seconds, turn, stopping=stopping)
