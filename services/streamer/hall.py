"""The hall behind every door: who is let in, and how they come to be told.

What is the same of an event stream and of a WebSocket: credential and scope are
checked, a place is taken, what was missed is told, and then what happens.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from aiohttp import HttpVersion11, web

from libs.common.access import KeyRing
from libs.common.errors import Transient, Unavailable
from services.streamer import frames
from services.streamer.asking import credential_of
from services.streamer.feed import Feed
from services.streamer.following import Following
from services.streamer.frames import Frame, Spelling
from services.streamer.marks import Mark
from services.streamer.replay import Replay
from services.streamer.settings import Settings
from services.streamer.watcher import Door, Watcher
from services.streamer.wishes import Wish


@dataclass(frozen=True, slots=True)
class Hall:
    """What every door leads to; one a process."""

    settings: Settings
    feed: Feed
    following: Following
    keys: KeyRing
    replay: Replay
    stopping: asyncio.Event

    async def admit(self, request: web.Request, wish: Wish, door: Door) -> Watcher:
        """Return the watcher that the request is.

        Raises `Unauthorized`, `Forbidden` and `Unavailable`.
        """
        credential = credential_of(request)
        principal = await self.keys.principal(credential)
        for topic in wish.topics:
            if topic.queue_name is not None:
                principal.require(topic.queue_name)
        if self.stopping.is_set():
            raise Unavailable("stopping")
        return Watcher(
            principal,
            wish,
            door=door,
            spell=_spelling(request, wish, door),
            credential=credential,
            bytes_max=self.settings.stream_buffer_bytes_max,
        )

    @asynccontextmanager
    async def place(self, watcher: Watcher) -> AsyncIterator[None]:
        """Hold a place until the block ends; events are followed by then.

        Raises `TooManyStreams` and `Unavailable`.
        """
        with self.feed.watching(watcher):
            await self.following.begin()
            yield

    def mark_of(self, watcher: Watcher) -> str | None:
        """Return what a client says to go on, that has all that was offered to it."""
        return self.feed.mark_of(watcher)

    async def missed(
        self, watcher: Watcher, since: Mark | datetime | str
    ) -> AsyncIterator[list[Frame]]:
        """Give what was missed, a page at a time; then the watcher has joined.

        When it cannot be read now, the stream is ended: the client comes back to it.
        """
        if isinstance(since, str):
            self.feed.join(watcher)
            yield [frames.events_lost(since)]
            return
        try:
            async for page in self.replay.missed(watcher, since):
                if page:
                    yield page
        except Transient:
            watcher.end(
                "unavailable", "What you missed cannot be read right now; come back"
            )


def _spelling(request: web.Request, wish: Wish, door: Door) -> Spelling:
    """Return how frames are written to a client."""
    if door == "websocket":
        return frames.messages
    if request.version < HttpVersion11:
        return frames.named if wish.named else frames.unnamed
    return frames.named_in_chunk if wish.named else frames.unnamed_in_chunk
