"""Children whose parents ended while nobody could look at once, or unseen."""

import asyncio
from typing import Final

from libs.common.bus import Bus
from libs.common.db import Pool
from libs.common.dependents import release_dependents
from libs.common.loops import every

_POLL_SECONDS: Final = 0.5


async def look_after(stopping: asyncio.Event, *, pool: Pool, bus: Bus) -> None:
    """Look after jobs that wait for jobs, until stopped (an actor)."""

    async def turn() -> None:
        await release_dependents(pool, bus)

    await every(_POLL_SECONDS, turn, stopping=stopping)
