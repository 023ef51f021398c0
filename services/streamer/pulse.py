"""The pulse: whoever watches everything is told now and then how the house is.

Postgres and NATS are there or not, and so many jobs there are of each status.  These
come from what is counted anyway (`services.streamer.standings`), so they agree with the
events that were told before: nobody is counted for.
"""

import asyncio
from functools import partial
from typing import Final

from libs.common.bus import Bus
from libs.common.db import Pool, is_alive
from libs.common.loops import every
from services.streamer import frames, marks
from services.streamer.feed import Feed
from services.streamer.standings import Standings


class Pulse:
    """One actor; one a process."""

    def __init__(
        self, feed: Feed, standings: Standings, pool: Pool, bus: Bus, *, seconds: float
    ) -> None:
        self._feed = feed
        self._standings = standings
        self._pool = pool
        self._bus = bus
        self._seconds: Final = seconds

    async def run(self, stopping: asyncio.Event) -> None:
        """Tell until stopped."""
        await every(self._seconds, self._turn, stopping=stopping)

    async def _turn(self) -> None:
        if not self._feed.is_watched:
            return
        health = partial(
            frames.system_health,
            database=await is_alive(self._pool),
            bus=self._bus.connected,
        )
        as_of = marks.spell(self._feed.heard)
        limited = health()
        whole: dict[str, frames.Frame] = {}
        for organization_id, circle in self._feed.circles():
            if not circle.key.wish.everything:
                continue
            if circle.key.scope is not None:
                # Nothing is told of the queues of others, not even a sum.
                self._feed.add(circle, limited)
                continue
            if organization_id not in whole:
                jobs = self._standings.of_organization(organization_id)
                whole[organization_id] = health(jobs=jobs, as_of=as_of)
            self._feed.add(circle, whole[organization_id])
