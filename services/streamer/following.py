"""Following the event stream, while anybody watches: complete, in order, each once.

Every event costs the bus and this process something, so nothing is read for nobody.
Who begins to watch waits until the stream is followed: whatever happens after that
reaches them.

Every event names the one before it.  One that was heard already is passed over; where
one is missing (the stream was wiped, or lost its end with a machine) the gap is read
from the tables.  So the feed hears them all, whatever becomes of the stream.
"""

import asyncio
from typing import Final

import structlog
from prometheus_client import Counter

from libs.common import streams, tracing
from libs.common.bus import Bus, read_event, sparing
from libs.common.db import Pool, borrow
from libs.common.errors import Transient, Unavailable
from libs.common.events import words_of
from libs.common.loops import pause
from libs.common.messages import EVENTS, NULL, Event, JobChanged
from libs.common.positions import read_position
from libs.common.store import announcing, journal, missed
from libs.common.store.journal import Position
from services.streamer.feed import Feed

log = structlog.get_logger()

EVENTS_MENDED = Counter(
    "bellhop_events_mended_total",
    "Events that the stream did not have, read from the tables.",
)

#: Clients come back after a moment, and ask for the next stream before that.
_LINGER_SECONDS: Final = 5.0
_BEGIN_SECONDS: Final = 5.0
#: How many events are read again when it begins, for who comes back soon.
_BACK: Final = 10_000
_BATCH: Final = 500
_RETRY_SECONDS: Final = 1.0
_EVENTS: Final = "bellhop.events"


class Following:
    """One subscription a process, opened by its first watcher."""

    def __init__(self, bus: Bus, feed: Feed, pool: Pool) -> None:
        self._bus = bus
        self._feed = feed
        self._pool = pool
        self._wanted = asyncio.Event()
        self._began = asyncio.Event()
        self._enough = asyncio.Event()

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
        self._enough = asyncio.Event()
        self._feed.heard = None
        async with asyncio.TaskGroup() as group:
            group.create_task(
                streams.follow(
                    self._bus,
                    EVENTS,
                    self._hear,
                    back=_BACK,
                    caught_up=self._caught_up,
                    stopping=self._enough,
                )
            )
            while self._feed.is_watched and not stopping.is_set():
                await pause(_LINGER_SECONDS, stopping)
            # Who comes from here on waits for the next time.
            self._began = asyncio.Event()
            self._enough.set()

    async def _hear(self, data: bytes) -> None:
        """Hand one event to the feed, unless it has it, and what is before it first."""
        event = read_event(data)
        if event is None:
            return
        if event.position:
            position = read_position(event.position)
            heard = self._feed.heard
            before = read_position(event.after) if event.after else None
            if heard is None:
                self._feed.begin(before or position)
            elif position <= heard:
                return
            elif before is not None and before > heard:
                await self._mend(before)
                # Stopped in between, or the tables gave it as well.
                if not before <= (self._feed.heard or heard) < position:
                    return
        with sparing("Event"), tracing.receiving(_EVENTS, _trace(event)):
            self._feed.hear(event, data)

    async def _caught_up(self) -> None:
        """Look whether more was announced than the stream has, and go live."""
        async with borrow(self._pool) as conn:
            announced = _spelled(await journal.read_announced(conn))
            horizon = _spelled(await missed.read_horizon(conn))
        heard = self._feed.heard
        if self._began.is_set():
            await self._mend(announced)
        elif heard is None or not announced <= heard < horizon:
            # Nobody was told of anything yet.  A stream that is behind was wiped; one
            # that is ahead is that of another database, or of this one before it was
            # restored.
            self._feed.begin(announced)
        self._began.set()

    async def _mend(self, upto: tuple[int, int]) -> None:
        """Hear from the tables what the stream does not have, up to a position.

        Nothing else is heard meanwhile: who cannot read the gap must not leave it.
        """
        while (
            (heard := self._feed.heard) is not None
            and heard < upto
            and not self._enough.is_set()
        ):
            after = Position(str(heard[0]), heard[1])
            try:
                async with borrow(self._pool) as conn:
                    found = await announcing.read_unannounced(
                        conn, after=after, limit=_BATCH
                    )
            except Transient as error:
                log.warning("events.gap_unread", cause=str(error))
                await pause(_RETRY_SECONDS, self._enough)
                continue
            if not found:
                # What was there is erased: there is nothing to tell.
                self._feed.heard = upto
            for word in words_of(found, after=after):
                self._feed.hear(word, word.encode())
            EVENTS_MENDED.inc(len(found))
            log.info("events.gap_read", events=len(found))


def _spelled(position: Position) -> tuple[int, int]:
    return int(position.xid), position.seq


def _trace(event: Event) -> str | None:
    """Return what created the job whose creation this tells, if that is traced."""
    if not tracing.is_on() or event.type != "job.created":
        return None
    details = event.details if isinstance(event, JobChanged) else NULL
    return tracing.told_of(None if details == NULL else bytes(details).decode())
