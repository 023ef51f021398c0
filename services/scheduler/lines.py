"""Lines that somebody joined or left while nobody could look at once."""

import asyncio
from typing import Final

from libs.common.bus import Bus
from libs.common.db import Pool
from libs.common.lines import release_lines
from libs.common.loops import every

_POLL_SECONDS: Final = 0.5


async def call_forgotten(stopping: asyncio.Event, *, pool: Pool, bus: Bus) -> None:
    """Call whose turn it is, until stopped (an actor)."""

    async def turn() -> None:
        await release_lines(pool, bus)

    await every(_POLL_SECONDS, turn, stopping=stopping)
