"""Where the ready jobs of a lane begin: claims do not walk over those that are gone.

A claim takes a lane's jobs from its front.  What was taken is dead, and is vacuumed
away within moments, unless somebody's view is older than that: a dump, a report, a
forgotten session.  Then the dead pile up at the front and every claim walks over all of
them: each claim is slower than the last.

So whoever claims much looks now and then where the living begin, and claims from there.
What was committed late may stand before that: the next look finds it, and a floor is
soon forgotten.  Whoever got too little with one asks again then (`again_seconds`).
"""

import asyncio
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog

from libs.common.db import Pool, borrow
from libs.common.errors import Transient
from libs.common.loops import pause
from libs.common.store import claims

log = structlog.get_logger()

#: How many jobs must have been taken from a lane to make it worth a look.
_TAKEN_MIN: Final = 256
_LOOK_SECONDS: Final = 0.25
#: Looking takes this part of the time at the most, as long as a look is short: whoever
#: commits late waits for the next one, however long they take.
_LOOK_SHARE_MAX: Final = 0.05
_LOOK_SECONDS_MAX: Final = 2.0
#: Who commits within this time is seen.
_AGE: Final = timedelta(seconds=0.5)
#: For how many looks a floor holds.
_LOOKS: Final = 4
_LANES_MAX: Final = 10_000


@dataclass(frozen=True, slots=True)
class _Floor:
    since: datetime
    until: float


class Floors:
    """The floors of the lanes that one process claims from (an actor)."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._loop = asyncio.get_running_loop()
        self._floors: dict[int, _Floor] = {}
        #: How many jobs were taken, by lane, and the lanes asked since the last look.
        self._taken: Counter[int] = Counter()
        self._asked: set[int] = set()
        self._pause_seconds = _LOOK_SECONDS

    def of(self, lanes: Iterable[int]) -> dict[int, datetime]:
        """Return the floors of those of *lanes* that have one now."""
        now = self._loop.time()
        found = {}
        for lane_id in lanes:
            self._asked.add(lane_id)
            floor = self._floors.get(lane_id)
            if floor is not None and now < floor.until:
                found[lane_id] = floor.since
        return found

    def took(self, lanes: Iterable[int]) -> None:
        """Note jobs that were claimed, one lane a job."""
        self._taken.update(lanes)

    @property
    def again_seconds(self) -> float:
        """When a floor that holds now holds no more: who got too little asks then."""
        return self._pause_seconds * _LOOKS

    async def look(self, stopping: asyncio.Event) -> None:
        """Look where the living begin, until stopped."""
        while not stopping.is_set():
            try:
                await self._turn()
            except Transient as error:
                log.warning("loop.turn_lost", turn="Floors.look", cause=str(error))
            await pause(self._pause_seconds, stopping)

    async def _turn(self) -> None:
        asked, self._asked = self._asked, set()
        busy = {id_ for id_ in asked if self._taken[id_] >= _TAKEN_MIN}
        now = self._loop.time()
        self._floors = {
            id_: floor for id_, floor in self._floors.items() if now < floor.until
        }
        if len(self._taken) > _LANES_MAX:
            self._taken.clear()
        if busy:
            await self._look(busy)

    async def _look(self, lanes: set[int]) -> None:
        began_at = self._loop.time()
        async with borrow(self._pool) as conn:
            found = await claims.find_floors(conn, lanes=lanes, age=_AGE)
        took = self._loop.time() - began_at
        pause_seconds = max(_LOOK_SECONDS, took / _LOOK_SHARE_MAX)
        self._pause_seconds = min(pause_seconds, _LOOK_SECONDS_MAX)
        until = began_at + self.again_seconds
        for lane_id, since in found.items():
            self._floors[lane_id] = _Floor(since, until)
