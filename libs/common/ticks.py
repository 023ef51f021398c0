"""What a schedule is to do at a moment: which ticks are due, which were missed (pure).

A *tick* is a moment that the timetable names.  Jitter moves what happens at a tick a
little later, always by the same for the same tick of the same schedule, and never as
far as the next one.  Time is a parameter everywhere.
"""

import hashlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, NamedTuple
from uuid import UUID

from libs.common.cron import Timetable, read_timetable

MisfirePolicy = Literal["skip", "coalesce", "catch_up"]
OverlapPolicy = Literal["allow", "skip", "queue_one", "cancel_previous"]

#: The largest number of missed ticks that may be made up for at once.
CATCH_UP_MAX: Final = 1000
#: Further nobody counts what was missed.
MISSED_MAX: Final = 1000

_MOMENT: Final = timedelta(microseconds=1)
_MILLISECOND: Final = timedelta(milliseconds=1)
_LOOK_BACK: Final = timedelta(minutes=1)
_LOOK_FURTHER: Final = 8


class Tick(NamedTuple):
    """A moment of the timetable, and when it is due: the jitter later."""

    tick: datetime
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Rhythm:
    """When a schedule fires: its timetable, within its bounds, with its jitter.

    *start_at* is inclusive, *end_at* exclusive.
    """

    schedule_id: UUID
    timetable: Timetable
    start_at: datetime | None = None
    end_at: datetime | None = None
    jitter_seconds: int = 0

    def after(self, moment: datetime) -> Tick | None:
        """Return the first tick after *moment*, or None when there is no more."""
        if self.start_at is not None and moment < self.start_at:
            moment = self.start_at - _MOMENT
        tick = self.timetable.after(moment)
        if tick is None or (self.end_at is not None and tick >= self.end_at):
            return None
        return Tick(tick, tick + self._jitter(tick))

    def _jitter(self, tick: datetime) -> timedelta:
        if not self.jitter_seconds:
            return timedelta()
        most = timedelta(seconds=self.jitter_seconds)
        following = self.timetable.after(tick)
        if following is not None:
            most = min(most, following - tick)
        name = f"{self.schedule_id} {tick.timestamp():.0f}".encode()
        luck = int.from_bytes(hashlib.blake2b(name, digest_size=8).digest())
        return luck % (most // _MILLISECOND) * _MILLISECOND


def rhythm_of(
    schedule_id: UUID,
    *,
    expression: str,
    timezone: str,
    created_at: datetime,
    start_at: datetime | None = None,
    end_at: datetime | None = None,
    jitter_seconds: int = 0,
) -> Rhythm:
    """Return the rhythm of a schedule; raises `InvalidCron`, or `ValueError`."""
    return Rhythm(
        schedule_id=schedule_id,
        timetable=read_timetable(
            expression, timezone=timezone, anchor=start_at or created_at
        ),
        start_at=start_at,
        end_at=end_at,
        jitter_seconds=jitter_seconds,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Misfire:
    """What becomes of ticks that nobody looked at in time.

    ``skip``: nothing.  ``coalesce``: they and the latest are one run.  ``catch_up``: a
    run for each of the latest *most* that are not older than *window*.
    """

    policy: MisfirePolicy = "coalesce"
    most: int = CATCH_UP_MAX
    window: timedelta = timedelta(days=1)


class Due(NamedTuple):
    """What is to happen: a run for each of these ticks, the oldest first.

    *missed* is how many have none, as far as `MISSED_MAX`; *following* comes next.
    """

    ticks: tuple[datetime, ...]
    missed: int
    following: Tick | None


def due(
    rhythm: Rhythm, first: Tick, *, misfire: Misfire, now: datetime, grace: timedelta
) -> Due:
    """Return what is to happen at *now*, when *first* is the oldest tick that is due.

    *grace* is how late a tick may be that is not missed yet.
    """
    kept, seen, following = _latest(
        rhythm, first, now=now, most=misfire.most if _catches_up(misfire) else 1
    )
    match misfire.policy:
        case "coalesce":
            ticks = [tick.tick for tick in kept]
        case "skip":
            ticks = [tick.tick for tick in kept if now - tick.at <= grace]
        case "catch_up":
            oldest = now - max(misfire.window, grace)
            ticks = [tick.tick for tick in kept if tick.at >= oldest]
    return Due(tuple(ticks), min(seen - len(ticks), MISSED_MAX), following)


def _catches_up(misfire: Misfire) -> bool:
    return misfire.policy == "catch_up"


def _latest(
    rhythm: Rhythm, first: Tick, *, now: datetime, most: int
) -> tuple[Sequence[Tick], int, Tick | None]:
    """Return the latest ticks that are due, how many there were, and what comes next.

    Who was away for long is not counted to the end: then the latest are looked for from
    now backwards.
    """
    kept: deque[Tick] = deque([first], maxlen=most)
    seen = 1
    following = rhythm.after(first.tick)
    while following is not None and following.at <= now:
        if seen > MISSED_MAX + most:
            kept, following = _look_back(rhythm, following, now=now, most=most)
            break
        kept.append(following)
        seen += 1
        following = rhythm.after(following.tick)
    return kept, seen, following


def _look_back(
    rhythm: Rhythm, position: Tick, *, now: datetime, most: int
) -> tuple[deque[Tick], Tick | None]:
    """Return the latest ticks, which are all after *position*, and what comes next."""
    back = _LOOK_BACK
    while True:
        since = max(position.tick - _MOMENT, now - back)
        kept: deque[Tick] = deque(maxlen=most)
        tick = rhythm.after(since)
        while tick is not None and tick.at <= now:
            kept.append(tick)
            tick = rhythm.after(tick.tick)
        if len(kept) == most or since < position.tick:
            return kept, tick
        back *= _LOOK_FURTHER


class Overlap(NamedTuple):
    """What becomes of ticks while an earlier run may not be over."""

    fired: tuple[datetime, ...]
    skipped: tuple[datetime, ...] = ()
    #: The one that waits until the run before it is over.
    queued: datetime | None = None
    #: Whether the run before is to be cancelled.
    cancels: bool = False


def overlap(
    policy: OverlapPolicy,
    ticks: Sequence[datetime],
    *,
    busy: bool,
    queued: datetime | None,
) -> Overlap:
    """Return what becomes of *ticks*.

    *busy* is whether the latest run is not over yet, *queued* the tick that waits for
    its end already.
    """
    match policy:
        case "allow":
            return Overlap(tuple(ticks), queued=queued)
        case "cancel_previous":
            return Overlap(
                tuple(ticks[-1:]),
                tuple(ticks[:-1]),
                queued,
                cancels=busy and bool(ticks),
            )
        case "skip":
            first = 0 if busy else 1
            return Overlap(tuple(ticks[:first]), tuple(ticks[first:]), queued)
        case "queue_one":
            waiting = list(ticks)
            fired = [] if busy or queued is not None else waiting[:1]
            waiting = waiting[len(fired) :]
            if queued is None and waiting:
                queued = waiting.pop(0)
            return Overlap(tuple(fired), tuple(waiting), queued)
