"""Workers that fell silent: they are offline, and their jobs go to somebody else."""

import asyncio
from datetime import timedelta
from typing import Final

import structlog

from libs.common.db import Pool, borrow
from libs.common.loops import every
from libs.common.store import leases, workers

log = structlog.get_logger()

#: How long a worker that is gone stays to be seen.
_ABSENCE: Final = timedelta(days=7)
_BATCH: Final = 500


async def sweep(
    stopping: asyncio.Event, *, pool: Pool, silence: timedelta, every_seconds: float
) -> None:
    """Look for workers that are silent for *silence*, until stopped (an actor).

    Whoever dies between the two steps leaves the jobs to their own deadlines.
    """

    async def turn() -> None:
        silent = None
        while silent is None or len(silent) == _BATCH:
            async with borrow(pool) as conn:
                silent = await workers.mark_silent(conn, silence=silence, limit=_BATCH)
            if silent:
                log.warning("workers.silent", workers=len(silent))
                async with borrow(pool) as conn:
                    await leases.expire_leases_of(conn, workers=silent)
        async with borrow(pool) as conn:
            await workers.forget_gone(conn, absence=_ABSENCE, limit=_BATCH)

    await every(every_seconds, turn, stopping=stopping)
