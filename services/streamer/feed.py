"""The feed: who watches what, and the mailbox of each watcher.

One subscription a process brings every event; `Feed` hands each to the watchers of
its organization.  It never waits for anybody: what a watcher has not taken yet stands
in its mailbox, and a watcher whose mailbox is full is ended.  So memory is bounded by
the number of watchers, and no watcher delays another.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from prometheus_client import Counter, Gauge

from libs.common import outgoing
from libs.common.access import Principal
from libs.common.bus import read_event
from libs.common.errors import Unavailable
from libs.common.messages import JobChanged
from services.streamer import frames
from services.streamer.frames import Frame

STREAMS_OPEN = Gauge("bellhop_streams_open", "Streams that watchers hold open.")
STREAMS_ENDED = Counter(
    "bellhop_streams_ended_total", "Streams that the streamer ended.", ["why"]
)
EVENTS_HEARD = Counter("bellhop_events_heard_total", "Events taken from the bus.")

#: How much one write to a connection may carry; more is written in turns.
_WRITE_BYTES_MAX: Final = 64 * 1024


class TooManyStreams(Unavailable):
    """The organization holds as many streams as it may."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a watcher asked for; absent means everything."""

    queue_name: str | None = None
    job_id: str | None = None
    names: frozenset[str] | None = None
    named: bool = False

    @property
    def everything(self) -> bool:
        """Whether it is about no job in particular."""
        return self.queue_name is None and self.job_id is None

    def takes(self, changed: JobChanged) -> bool:
        """Whether the transition is about the queue and the job asked for.

        Jobs that tell of jobs are shown to whoever asks for their queue, or for one.
        """
        if self.everything and changed.queue_name == outgoing.QUEUE:
            return False
        return self.queue_name in {None, changed.queue_name} and self.job_id in {
            None,
            changed.job_id,
        }

    def chunk(self, frame: Frame) -> bytes | None:
        """Return *frame* as asked for, or None when its name was not."""
        if self.names is not None and frame.name not in self.names:
            return None
        return frame.named if self.named else frame.unnamed


class Watcher:
    """One stream's mailbox: the feed puts in, the stream takes out.

    It holds at most *bytes_max*.  `end` may be called by anybody, once; it calls
    *interrupt*, which stops whatever the stream waits for.
    """

    def __init__(self, principal: Principal, wish: Wish, *, bytes_max: int) -> None:
        #: Whose eyes they are; renewed when the credential is checked again.
        self.principal = principal
        self.wish: Final = wish
        #: Why the stream was ended, in words for the one who watches.
        self.farewell: str | None = None
        self.interrupt: Callable[[], None] = lambda: None
        self._bytes_max: Final = bytes_max
        self._bytes = 0
        self._chunks: list[bytes] = []
        self._some = asyncio.Event()
        self._ended = False

    def offer(self, frame: Frame) -> None:
        """Put *frame* in if it was asked for; end the stream if there is no room."""
        chunk = self.wish.chunk(frame)
        if chunk is None or self._ended:
            return
        if self._bytes + len(chunk) > self._bytes_max:
            self.end("slow", "You read too slowly; connect again")
            return
        self._chunks.append(chunk)
        self._bytes += len(chunk)
        self._some.set()

    async def take(self, *, at_most_seconds: float) -> bytes:
        """Return what waits, a write's worth, or nothing after *at_most_seconds*."""
        if not self._chunks:
            try:
                async with asyncio.timeout(at_most_seconds):
                    await self._some.wait()
            except TimeoutError:
                return b""
        size = count = 0
        for chunk in self._chunks:
            size += len(chunk)
            count += 1
            if size >= _WRITE_BYTES_MAX:
                break
        taken = b"".join(self._chunks[:count])
        del self._chunks[:count]
        self._bytes -= size
        if not self._chunks:
            self._some.clear()
        return taken

    def end(self, why: str, farewell: str | None = None) -> None:
        """End the stream, with *farewell* as its last word; the mailbox is emptied."""
        if self._ended:
            return
        self._ended = True
        self.farewell = farewell
        self._chunks.clear()
        self._bytes = 0
        STREAMS_ENDED.labels(why=why).inc()
        self.interrupt()


class Feed:
    """Hands every event to the watchers of its organization."""

    def __init__(self, *, per_organization_max: int, streams_max: int) -> None:
        self._per_organization_max: Final = per_organization_max
        self._streams_max: Final = streams_max
        self._watchers: dict[str, set[Watcher]] = {}
        self._count = 0

    @contextmanager
    def watching(self, watcher: Watcher) -> Iterator[None]:
        """Hand events to *watcher* until the block ends.

        Raises `TooManyStreams`, and `Unavailable` when the process has its fill.
        """
        organization_id = str(watcher.principal.organization_id)
        peers = self._watchers.get(organization_id, set())
        if len(peers) >= self._per_organization_max or self._count >= self._streams_max:
            raise TooManyStreams(
                f"at most {self._per_organization_max} streams at once"
            )
        self._watchers.setdefault(organization_id, peers).add(watcher)
        self._count += 1
        STREAMS_OPEN.set(self._count)
        try:
            yield
        finally:
            peers.discard(watcher)
            if not peers:
                self._watchers.pop(organization_id, None)
            self._count -= 1
            STREAMS_OPEN.set(self._count)

    def hear(self, data: bytes) -> None:
        """Tell the watchers of one event, as it came from the bus."""
        EVENTS_HEARD.inc()
        changed = read_event(data)
        if not isinstance(changed, JobChanged):
            return
        watchers = self._watchers.get(changed.organization_id)
        if not watchers:
            return
        told = frames.frames_of(changed)
        for watcher in tuple(watchers):
            if watcher.wish.takes(changed) and watcher.principal.may(
                changed.queue_name
            ):
                for frame in told:
                    watcher.offer(frame)

    def tell_all(self, frame: Frame) -> None:
        """Tell whoever watches everything of something that is nobody's own."""
        for watcher in self._everybody():
            if watcher.wish.everything:
                watcher.offer(frame)

    def end_all(self, why: str) -> None:
        """End every stream; clients connect again, elsewhere."""
        for watcher in self._everybody():
            watcher.end(why)

    @property
    def is_watched(self) -> bool:
        """Whether there is anybody to tell."""
        return self._count > 0

    def _everybody(self) -> list[Watcher]:
        return [watcher for peers in self._watchers.values() for watcher in peers]
