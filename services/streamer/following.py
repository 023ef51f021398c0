"""Following the event stream, while anybody watches.

Every event costs the bus and this process something, so nothing is read for nobody.
Who begins to watch waits until the stream is followed: whatever happens after that
reaches them.
"""

import asyncio
from functools import partial
from typing import Final

from libs.common import streams
from libs.common.bus import Bus
from libs.common.errors import Unavailable
from libs.common.loops import pause
from libs.common.messages import EVENTS
from services.streamer.feed import Feed

#: Clients come back after a moment, and ask for the next stream before that.
_LINGER_SECONDS: Final = 5.0
_BEGIN_SECONDS: Final = 5.0


class Following:
    """One subscription a process, opened by its first watcher."""

    def __init__(self, bus: Bus, feed: Feed) -> None:
        self._bus = bus
        self._feed = feed
        self._wanted = asyncio.Event()
        self._began = asyncio.Event()

    async def begin(self) -> None:
        """Return when events reach the feed; the caller watches it already.

        Raises `Unavailable` when that takes too long.
        """
        self._wanted.set()
        try:
            async with asyncio.timeout(_BEGIN_SECONDS):
                await self._began.wait()
        except TimeoutError:
            raise Unavailable("the events cannot be followed right now") from None

    async def run(self, stopping: asyncio.Event) -> None:
        """Follow while somebody watches, until stopped (an actor)."""
        while not stopping.is_set():
            await pause(_LINGER_SECONDS, self._wanted, stopping)
            self._wanted.clear()
            if self._feed.is_watched and not stopping.is_set():
                await self._follow(stopping)

    async def _follow(self, stopping: asyncio.Event) -> None:
        enough = asyncio.Event()
        follow = partial(
            streams.follow, self._bus, EVENTS, self._feed.hear, stopping=enough
        )
        async with asyncio.TaskGroup() as group:
            group.create_task(follow(began=self._began))
            while self._feed.is_watched and not stopping.is_set():
                await pause(_LINGER_SECONDS, stopping)
            # Who comes from here on waits for the next time.
            self._began = asyncio.Event()
            enough.set()
