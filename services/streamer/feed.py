"""The feed: who watches, and what they are told.

One subscription a process brings every event; `Feed` hands each to the watchers of
its organization.  It never waits for anybody, so no watcher delays another.

Hearing and telling are two things.  What is heard is noted in the circles that it
concerns (`services.streamer.circles`); telling writes what was noted, in one piece a
watcher, and then rests for as long as it took.  With few watchers each event is told
at once; with thousands, those of a moment together.

Events come in the order of their positions, each once (`services.streamer.following`).
"""

import asyncio
import time
from collections import Counter as Tally
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from prometheus_client import Counter, Gauge

from libs.common.access import Principal
from libs.common.bus import read_event
from libs.common.errors import Unavailable
from libs.common.messages import Event
from services.streamer import marks
from services.streamer.circles import Circle, Circles
from services.streamer.frames import Frame
from services.streamer.recent import Position, Recent
from services.streamer.tidings import Tiding
from services.streamer.watcher import Door, Watcher

STREAMS_OPEN = Gauge("bellhop_streams_open", "Streams that watchers hold open.")
EVENTS_HEARD = Counter("bellhop_events_heard_total", "Events taken from the bus.")

#: How many are written to before others get their turn.
_TOLD_AT_ONCE: Final = 200


class Overhearer(Protocol):
    """Who hears every event, once and in order."""

    def hear(self, tiding: Tiding) -> None:
        """Take one in, at once."""

    def forget(self) -> None:
        """Begin anew: events were not followed for a while."""


class TooManyStreams(Unavailable):
    """The organization holds as many streams as it may."""


class Feed:
    """Hands every event to the watchers of its organization."""

    def __init__(
        self,
        *,
        per_organization_max: int,
        streams_max: int,
        recent_bytes_max: int,
    ) -> None:
        self._per_organization_max: Final = per_organization_max
        self._streams_max: Final = streams_max
        self._recent: Final = Recent(bytes_max=recent_bytes_max)
        self._watchers: dict[str, set[Watcher]] = {}
        self._circles: dict[str, Circles] = {}
        self._behind: dict[Circle, None] = {}
        self._something = asyncio.Event()
        self._held: Tally[tuple[str, Door]] = Tally()
        self._count = 0
        #: How far events were heard; None while none are followed.
        self.heard: Position | None = None
        self._overhearer: Overhearer | None = None

    def overheard_by(self, overhearer: Overhearer) -> None:
        """Let somebody hear every event, whoever watches."""
        self._overhearer = overhearer

    @contextmanager
    def watching(self, watcher: Watcher) -> Iterator[None]:
        """Count *watcher* in until the block ends; it is told nothing until it joins.

        Raises `TooManyStreams`, and `Unavailable` when the process has its fill.
        """
        organization_id = str(watcher.principal.organization_id)
        held = (organization_id, watcher.door)
        if self._held[held] >= self._per_organization_max:
            raise TooManyStreams(
                f"at most {self._per_organization_max} streams at once"
            )
        if self._count >= self._streams_max:
            raise TooManyStreams("this server has its fill of streams")
        self._watchers.setdefault(organization_id, set()).add(watcher)
        self._circles.setdefault(organization_id, Circles())
        self._count_one(held, 1)
        try:
            yield
        finally:
            peers = self._watchers[organization_id]
            peers.discard(watcher)
            self._circles[organization_id].unseat(watcher)
            if not peers:
                del self._watchers[organization_id], self._circles[organization_id]
            self._count_one(held, -1)

    # --- what happens --------------------------------------------------------------

    def begin(self, floor: Position) -> None:
        """Follow anew: what is heard from now on is complete behind *floor*."""
        self._recent.begin(floor)
        self.heard = floor
        if self._overhearer is not None:
            self._overhearer.forget()

    def hear(self, event: Event, data: bytes) -> None:
        """Note one event for who watches; *data* is how the bus spells it."""
        EVENTS_HEARD.inc()
        tiding = Tiding(event)
        position = tiding.position
        if position is not None:
            self._recent.add(event.organization_id, position, data)
            self.heard = position
        if self._overhearer is not None:
            self._overhearer.hear(tiding)
        circles = self._circles.get(event.organization_id)
        if circles is not None:
            for circle in circles.about(tiding):
                if circle.hear(tiding):
                    self._note(circle)

    def since(
        self, watcher: Watcher, position: Position, *, at_most: int
    ) -> list[Tiding] | None:
        """Return what happened behind *position* in the watcher's organization.

        None when that is too long ago.  The watcher joins when there is no more: what
        happens after that is told.  Nothing can happen in between.
        """
        found = self._recent.after(
            str(watcher.principal.organization_id), position, at_most=at_most
        )
        if found is None:
            return None
        if len(found) < at_most:
            self._seat(watcher, max(position, self.heard or position))
        return [Tiding(event) for event in map(read_event, found) if event is not None]

    def remembers(self, position: Position) -> bool:
        """Whether everything behind *position* is in memory."""
        floor, heard = self._recent.floor, self.heard
        return floor is not None and heard is not None and floor <= position <= heard

    def join(self, watcher: Watcher) -> None:
        """Tell *watcher* of what happens from now on."""
        self._seat(watcher, self.heard or (0, 0))

    def mark_of(self, watcher: Watcher) -> str | None:
        """Return what says that all was seen that *watcher* was told."""
        told = watcher.live_after
        if told is None or self.heard is None:
            return None
        circle = self._circles_of(watcher).of(watcher)
        if circle is None or circle.is_behind:
            return marks.spell(told)
        return marks.spell(max(told, self.heard))

    # --- telling -------------------------------------------------------------------

    async def run(self, stopping: asyncio.Event) -> None:
        """Tell what was heard until stopped and everybody was shown out (an actor)."""
        while not stopping.is_set():
            await self._something.wait()
            began = time.monotonic()
            await self.tell()
            # What was written may leave at the end of this round of the loop only.
            await asyncio.sleep(0)
            await asyncio.sleep(time.monotonic() - began)

    async def tell(self) -> None:
        """Tell everybody what was heard for them."""
        self._something.clear()
        behind, self._behind = self._behind, {}
        told = 0
        for circle in behind:
            for _ in circle.tell():
                told += 1
                if told % _TOLD_AT_ONCE == 0:
                    await asyncio.sleep(0)

    def circles(self) -> Iterator[tuple[str, Circle]]:
        """Yield all circles, each with its organization."""
        for organization_id, circles in self._circles.items():
            for circle in circles:
                yield organization_id, circle

    def add(self, circle: Circle, frame: Frame) -> None:
        """Tell a circle of what is no event, if it asked for it."""
        if circle.key.wish.wants(frame):
            circle.add(frame)
            self._note(circle)

    def _note(self, circle: Circle) -> None:
        self._behind[circle] = None
        self._something.set()

    # --- who watches ---------------------------------------------------------------

    @contextmanager
    def changing(self, watcher: Watcher) -> Iterator[None]:
        """Let what *watcher* asks for change; it was told by then what it had asked."""
        circles = self._circles_of(watcher)
        circle = circles.of(watcher)
        if circle is None:
            yield
            return
        circle.catch_up(watcher)
        circles.unseat(watcher)
        try:
            yield
        finally:
            self._seat(watcher, self.heard or (0, 0))

    def renew(self, watcher: Watcher, principal: Principal) -> None:
        """Let *watcher* see what *principal* may, from now on."""
        if principal.scope == watcher.principal.scope:
            watcher.principal = principal
        else:
            with self.changing(watcher):
                watcher.principal = principal

    def _seat(self, watcher: Watcher, told: Position) -> None:
        watcher.live_after = max(told, watcher.live_after or told)
        self._circles_of(watcher).seat(watcher)

    def _circles_of(self, watcher: Watcher) -> Circles:
        return self._circles[str(watcher.principal.organization_id)]

    def end_all(self, why: str) -> None:
        """End every stream; clients connect again, elsewhere."""
        for watcher in self.watchers():
            watcher.end(why)
        self._something.set()

    def watchers(self) -> list[Watcher]:
        """Return everybody who watches."""
        return [watcher for peers in self._watchers.values() for watcher in peers]

    @property
    def is_watched(self) -> bool:
        """Whether there is anybody to tell."""
        return self._count > 0

    def _count_one(self, held: tuple[str, Door], by: int) -> None:
        self._held[held] += by
        if not self._held[held]:
            del self._held[held]
        self._count += by
        STREAMS_OPEN.set(self._count)
