"""Circles: watchers who are told the same, so that it is made ready once for them all.

They asked for the same, may see the same, and it is written to them in the same way.
An event is matched and spelled once a circle, however many are in it; a circle is found
by what the event is about, so that those who watch something else cost nothing.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from services.streamer.frames import Frame, Spelling
from services.streamer.recent import Position
from services.streamer.tidings import Tiding
from services.streamer.watcher import Watcher
from services.streamer.wishes import Topic, Wish

_EVERYTHING: Final = Topic()


class Key(NamedTuple):
    """What the watchers of a circle have in common."""

    wish: Wish
    scope: tuple[str, ...] | None
    spell: Spelling

    @classmethod
    def of(cls, watcher: Watcher) -> "Key":
        """Return the key of the circle that *watcher* belongs to."""
        return cls(watcher.wish, watcher.principal.scope, watcher.spell)


class _Pending(NamedTuple):
    """What is to be told; nothing that is not an event has a position."""

    position: Position | None
    frames: list[Frame]


class Circle:
    """Who is told the same, and what they are to be told next."""

    __slots__ = ("_pending", "key", "members")

    def __init__(self, key: Key) -> None:
        self.key: Final = key
        self.members: set[Watcher] = set()
        self._pending: list[_Pending] = []

    @property
    def topics(self) -> Iterable[Topic]:
        """What it is found by."""
        wish = self.key.wish
        return (_EVERYTHING,) if wish.everything else wish.topics

    @property
    def is_behind(self) -> bool:
        """Whether there is something to be told."""
        return bool(self._pending)

    def hear(self, tiding: Tiding) -> bool:
        """Take in what is told of *tiding*; return whether that is anything."""
        # One speaks for them all.
        frames = next(iter(self.members)).told(tiding)
        if frames:
            self._pending.append(_Pending(tiding.position, frames))
        return bool(frames)

    def add(self, frame: Frame) -> None:
        """Take in what is about no event."""
        self._pending.append(_Pending(None, [frame]))

    def tell(self) -> Iterator[None]:
        """Tell everybody what is to be told, one after the other.

        They may come, go and change in between: each knows how far it was told.
        """
        count = len(self._pending)
        if not count:
            return
        told = [frame for pending in self._pending for frame in pending.frames]
        positions = [one.position for one in self._pending if one.position]
        data = self.key.spell(told)
        for watcher in tuple(self.members):
            if watcher not in self.members:
                continue
            if positions and watcher.has(positions[0]):
                self.catch_up(watcher, self._pending[:count])
            else:
                watcher.tell(told, data)
                if positions:
                    watcher.live_after = positions[-1]
            yield
        del self._pending[:count]

    def catch_up(
        self, watcher: Watcher, pending: Sequence[_Pending] | None = None
    ) -> None:
        """Tell one alone of the events that are to be told and that it has not."""
        frames: list[Frame] = []
        for position, told in self._pending if pending is None else pending:
            if position is not None and not watcher.has(position):
                frames += told
                watcher.live_after = position
        watcher.offer(frames)


class Circles:
    """The circles of one organization."""

    def __init__(self) -> None:
        self._by_key: dict[Key, Circle] = {}
        self._by_topic: dict[Topic, set[Circle]] = {}
        self._seats: dict[Watcher, Circle] = {}

    def seat(self, watcher: Watcher) -> None:
        """Put *watcher* where it belongs."""
        key = Key.of(watcher)
        circle = self._by_key.get(key)
        if circle is None:
            circle = self._by_key[key] = Circle(key)
            for topic in circle.topics:
                self._by_topic.setdefault(topic, set()).add(circle)
        circle.members.add(watcher)
        self._seats[watcher] = circle

    def of(self, watcher: Watcher) -> Circle | None:
        """Return where *watcher* is; None while it is nowhere."""
        return self._seats.get(watcher)

    def unseat(self, watcher: Watcher) -> None:
        """Take *watcher* out, if it is in; a circle goes with its last member."""
        circle = self._seats.pop(watcher, None)
        if circle is None:
            return
        circle.members.discard(watcher)
        if circle.members:
            return
        del self._by_key[circle.key]
        for topic in circle.topics:
            found = self._by_topic[topic]
            found.discard(circle)
            if not found:
                del self._by_topic[topic]

    def about(self, tiding: Tiding) -> set[Circle]:
        """Return those that may be told of *tiding*."""
        queue_name, job_id = tiding.queue_name, tiding.job_id
        found: set[Circle] = set()
        for topic in (
            _EVERYTHING,
            Topic(queue_name),
            Topic(None, job_id),
            Topic(queue_name, job_id),
        ):
            found |= self._by_topic.get(topic, set())
        return found

    def __iter__(self) -> Iterator[Circle]:
        """Yield each circle."""
        return iter(self._by_key.values())
