"""The feed: who watches, and what they are told.

One subscription a process brings every event; `Feed` hands each to the watchers of
its organization.  It never waits for anybody: what a watcher has not taken yet stands
in its mailbox.  So memory is bounded by the number of watchers, and no watcher delays
another.

Events come in the order of their positions, each once (`services.streamer.following`).
"""

from collections import Counter as Tally
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from prometheus_client import Counter, Gauge

from libs.common.bus import read_event
from libs.common.errors import Unavailable
from libs.common.messages import Event
from services.streamer import marks
from services.streamer.frames import Frame
from services.streamer.recent import Position, Recent
from services.streamer.tidings import Tiding
from services.streamer.watcher import Door, Watcher

STREAMS_OPEN = Gauge("bellhop_streams_open", "Streams that watchers hold open.")
EVENTS_HEARD = Counter("bellhop_events_heard_total", "Events taken from the bus.")


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
        self._count_one(held, 1)
        try:
            yield
        finally:
            peers = self._watchers[organization_id]
            peers.discard(watcher)
            if not peers:
                del self._watchers[organization_id]
            self._count_one(held, -1)

    # --- what happens --------------------------------------------------------------

    def begin(self, floor: Position) -> None:
        """Follow anew: what is heard from now on is complete behind *floor*."""
        self._recent.begin(floor)
        self.heard = floor
        if self._overhearer is not None:
            self._overhearer.forget()

    def hear(self, event: Event, data: bytes) -> None:
        """Tell the watchers of one event; *data* is how the bus spells it."""
        EVENTS_HEARD.inc()
        tiding = Tiding(event)
        position = tiding.position
        if position is not None:
            self._recent.add(event.organization_id, position, data)
            self.heard = position
        if self._overhearer is not None:
            self._overhearer.hear(tiding)
        for watcher in tuple(self._watchers.get(event.organization_id, ())):
            live_after = watcher.live_after
            if live_after is not None and (position is None or position > live_after):
                watcher.offer(watcher.told(tiding))

    def since(
        self, watcher: Watcher, position: Position, *, at_most: int
    ) -> list[Tiding] | None:
        """Return what happened behind *position* in the watcher's organization.

        None when that is too long ago.  The watcher joins when there is no more: what
        happens after that reaches its mailbox.  Nothing can happen in between.
        """
        found = self._recent.after(
            str(watcher.principal.organization_id), position, at_most=at_most
        )
        if found is None:
            return None
        if len(found) < at_most:
            watcher.live_after = position
            if self.heard is not None:
                watcher.live_after = max(position, self.heard)
        return [Tiding(event) for event in map(read_event, found) if event is not None]

    def remembers(self, position: Position) -> bool:
        """Whether everything behind *position* is in memory."""
        floor, heard = self._recent.floor, self.heard
        return floor is not None and heard is not None and floor <= position <= heard

    def join(self, watcher: Watcher) -> None:
        """Tell *watcher* of what happens from now on."""
        watcher.live_after = self.heard or (0, 0)

    def mark_behind(self, joined: Position | None) -> str | None:
        """Return what says that all was seen, by one who joined there."""
        if joined is None or self.heard is None:
            return None
        return marks.spell(max(joined, self.heard))

    # --- who watches ---------------------------------------------------------------

    def tell_all(self, frame: Frame) -> None:
        """Tell whoever watches everything of something that is nobody's own."""
        for watcher in self.watchers():
            wish = watcher.wish
            if watcher.live_after and wish.everything and wish.wants(frame):
                watcher.offer([frame])

    def end_all(self, why: str) -> None:
        """End every stream; clients connect again, elsewhere."""
        for watcher in self.watchers():
            watcher.end(why)

    def watchers(self) -> list[Watcher]:
        """Return everybody who watches."""
        return [watcher for peers in self._watchers.values() for watcher in peers]

    @property
    def is_watched(self) -> bool:
        """Whether there is anybody to tell."""
        return self._count > 0

    def _count_one(self, held: tuple[str, Door], by: int) -> None:
        self._held += Tally({held: by})
        self._count += by
        STREAMS_OPEN.set(self._count)
