"""A watcher: one stream's mailbox, and what ends it.

The feed puts in, the stream takes out.  A mailbox holds a bounded number of bytes of
frames, which many watchers share; who lets it fill up is sent away, never waited for.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final, Literal

from prometheus_client import Counter

from libs.common.access import Principal
from libs.common.errors import Forbidden
from services.streamer.frames import Frame, Last
from services.streamer.tidings import Tiding
from services.streamer.wishes import Topic, Wish, may_see

STREAMS_ENDED = Counter(
    "bellhop_streams_ended_total", "Streams that the streamer ended.", ["why"]
)

Door = Literal["sse", "websocket"]

_LAST: Final = Last()
#: How many topics one watcher may follow at once.
_TOPICS_MAX: Final = 100
#: How much is taken at once; more is written in turns.
_TAKE_BYTES_MAX: Final = 64 * 1024


class Watcher:
    """Who watches, what they asked for, and what waits for them.

    It holds at most *bytes_max*.  `end` may be called by anybody, once; it interrupts
    whatever the stream waits for (`presence`).
    """

    def __init__(
        self,
        principal: Principal,
        wish: Wish,
        *,
        door: Door,
        credential: str,
        bytes_max: int,
    ) -> None:
        #: Whose eyes they are; renewed when the credential is checked again.
        self.principal = principal
        self.wish = wish
        self.door: Final = door
        self.credential: Final = credential
        #: Why the stream was ended, and in words for the one who watches.
        self.ended_because: str | None = None
        self.farewell: str | None = None
        #: Events behind this reach the mailbox; None while it catches up.
        self.live_after: tuple[int, int] | None = None
        self._interrupt: Callable[[], None] | None = None
        self._bytes_max: Final = bytes_max
        self._bytes = 0
        self._frames: list[Frame] = []
        self._some = asyncio.Event()

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

    def offer(self, frames: Iterable[Frame]) -> None:
        """Put *frames* in; end the stream if there is no room."""
        if self.ended_because is not None:
            return
        for frame in frames:
            self._bytes += len(frame.body)
            self._frames.append(frame)
        if self._bytes > self._bytes_max:
            self.end("slow", "You read too slowly; connect again")
        elif self._frames:
            self._some.set()

    async def take(self, *, at_most_seconds: float) -> list[Frame]:
        """Return what waits, a write's worth, or nothing after *at_most_seconds*."""
        if not self._frames:
            try:
                async with asyncio.timeout(at_most_seconds):
                    await self._some.wait()
            except TimeoutError:
                return []
        size = count = 0
        for frame in self._frames:
            size += len(frame.body)
            count += 1
            if size >= _TAKE_BYTES_MAX:
                break
        taken = self._frames[:count]
        del self._frames[:count]
        self._bytes -= size
        if not self._frames:
            self._some.clear()
        return taken

    def end(self, why: str, farewell: str | None = None) -> None:
        """End the stream, with *farewell* as its last word; the mailbox is emptied."""
        if self.ended_because is not None:
            return
        self.ended_because = why
        self.farewell = farewell
        self._frames.clear()
        self._bytes = 0
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
