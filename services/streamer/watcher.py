"""Who watches: a stream as the feed sees it.

The feed tells, and does not wait: what a client has not taken stands in its connection,
as bytes that many share.  Who lets too much stand there is sent away.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final, Literal

from prometheus_client import Counter

from libs.common.access import Principal
from libs.common.errors import Forbidden
from services.streamer.frames import Frame, Last, Spelling
from services.streamer.recent import Position
from services.streamer.tidings import Tiding
from services.streamer.wishes import Topic, Wish, may_see

STREAMS_ENDED = Counter(
    "bellhop_streams_ended_total", "Streams that the streamer ended.", ["why"]
)

Door = Literal["sse", "websocket"]

_LAST: Final = Last()
#: How many topics one watcher may follow at once.
_TOPICS_MAX: Final = 100


class Watcher:
    """Who watches, what they asked for, and how they are told.

    At most *bytes_max* waits for it.  `end` may be called by anybody, once; it
    interrupts whatever the stream waits for (`presence`).
    """

    __slots__ = (
        "__weakref__",
        "_bytes_max",
        "_held",
        "_interrupt",
        "_transport",
        "credential",
        "door",
        "ended_because",
        "farewell",
        "live_after",
        "principal",
        "spell",
        "told_at",
        "wish",
    )

    def __init__(
        self,
        principal: Principal,
        wish: Wish,
        *,
        door: Door,
        spell: Spelling,
        credential: str,
        bytes_max: int,
    ) -> None:
        #: Whose eyes they are; renewed when the credential is checked again.
        self.principal = principal
        self.wish = wish
        self.door: Final = door
        self.spell: Final = spell
        self.credential: Final = credential
        #: Why the stream was ended, and in words for the one who watches.
        self.ended_because: str | None = None
        self.farewell: str | None = None
        #: Events up to this one were told; None while it catches up.
        self.live_after: Position | None = None
        #: When anything was told last (`time.monotonic`).
        self.told_at = 0.0
        self._interrupt: Callable[[], None] | None = None
        self._bytes_max: Final = bytes_max
        #: What was told while there is no connection to write to.
        self._held: list[Frame] = []
        self._transport: asyncio.WriteTransport | None = None

    def widen(self, topic: Topic) -> None:
        """Follow one topic more; raises `Forbidden`."""
        if topic.queue_name is not None:
            self.principal.require(topic.queue_name)
        topics = self.wish.topics | {topic}
        if len(topics) > _TOPICS_MAX:
            raise Forbidden(f"at most {_TOPICS_MAX} subscriptions at once")
        self.wish = replace(self.wish, topics=topics)

    def narrow(self, topic: Topic) -> None:
        """Follow one topic less; who follows none is told of everything."""
        self.wish = replace(self.wish, topics=self.wish.topics - {topic})

    def sees(self, tiding: Tiding) -> bool:
        """Whether it was asked for and may be seen."""
        return self.wish.takes(tiding) and may_see(self.principal, tiding)

    def told(self, tiding: Tiding, *, skip: int = 0) -> list[Frame]:
        """Return the frames of *tiding* that were asked for, but the first *skip*."""
        if not self.sees(tiding):
            return []
        told = [frame for frame in tiding.frames[skip:] if self.wish.wants(frame)]
        if self.wish.until_end and tiding.ends_job:
            told.append(_LAST)
        return told

    def wanted(self, frame: Frame) -> list[Frame]:
        """Return *frame* if frames of its kind were asked for."""
        return [frame] if self.wish.wants(frame) else []

    def has(self, position: Position) -> bool:
        """Whether it was told of the event there."""
        return self.live_after is not None and position <= self.live_after

    # --- telling -------------------------------------------------------------------

    def open(self, transport: asyncio.WriteTransport) -> None:
        """Write what was held, and from now on what is told, to a connection."""
        held, self._held = self._held, []
        self._transport = transport
        self.told_at = time.monotonic()
        self.offer(held)

    def shut(self) -> None:
        """Write nothing more: the connection is being closed."""
        self._transport = None

    def offer(self, frames: Sequence[Frame]) -> None:
        """Tell *frames* to this one alone."""
        if frames:
            self.tell(frames, self.spell(frames))

    def tell(self, frames: Sequence[Frame], data: bytes) -> None:
        """Tell *frames*, which *data* spells; end the stream if there is no room."""
        if self._transport is not None:
            self.write(data)
            if frames[-1].is_last:
                self.end("complete")
        elif self.ended_because is None:
            self._held += frames
            if sum(len(frame.body) for frame in self._held) > self._bytes_max:
                self._send_away()

    def write(self, data: bytes) -> None:
        """Write to the connection, without waiting."""
        transport = self._transport
        if transport is None or self.ended_because is not None:
            return
        if transport.is_closing():
            self.end("left")
        elif transport.get_write_buffer_size() > self._bytes_max:
            self._send_away()
        elif data:
            transport.write(data)
            self.told_at = time.monotonic()

    def _send_away(self) -> None:
        self.end("slow", "You read too slowly; connect again")

    def end(self, why: str, farewell: str | None = None) -> None:
        """End the stream, with *farewell* as its last word."""
        if self.ended_because is not None:
            return
        self.ended_because = why
        self.farewell = farewell
        self._held.clear()
        STREAMS_ENDED.labels(why=why).inc()
        if self._interrupt is not None:
            self._interrupt()

    @asynccontextmanager
    async def presence(self, *, seconds_max: float | None) -> AsyncIterator[None]:
        """Run the block until it returns, somebody ends the stream, or time is up.

        Nothing is raised for that, nor when the client left.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(seconds_max) as patience:
                self._interrupt = lambda: (
                    None if patience.expired() else patience.reschedule(loop.time())
                )
                if self.ended_because is not None:
                    self._interrupt()
                try:
                    yield
                finally:
                    # A timeout that is over cannot be moved any more.
                    self._interrupt = None
        except TimeoutError:
            self.end("lifetime")
        except ConnectionError:
            self.end("left")
