"""How what is watched stands: counted once, then kept by its events.

Counted are the queues that somebody watches, and all jobs of an organization of which
somebody watches everything.  Counting costs what waits there, so it is done once for
all who watch it here, and not again: every event says from which status to which a job
has come.  The count is made in one snapshot that says which events are in it
(`libs.common.store.baselines`); what is heard from the moment of asking on, and is not
in it, is added.  So the figures agree with the tables at a position of the event
stream, however busy the queue is.
"""

import asyncio
from collections import Counter as Tally
from collections.abc import Mapping
from typing import Final
from uuid import UUID
from weakref import WeakSet

import structlog

from libs.common import outgoing
from libs.common.db import Pool, borrow
from libs.common.errors import Transient
from libs.common.lifecycle import Status
from libs.common.loops import every
from libs.common.store.baselines import Baseline, read_baseline
from services.streamer import frames
from services.streamer.feed import Feed
from services.streamer.frames import Spelling
from services.streamer.tidings import Tiding
from services.streamer.watcher import Watcher

log = structlog.get_logger()

#: A queue of an organization, or all of them.
Name = tuple[str, str | None]


class Standing:
    """How a queue or an organization stands, and who was told."""

    def __init__(self) -> None:
        self.counts: Tally[Status] = Tally()
        self.told: WeakSet[Watcher] = WeakSet()
        self.has_changed = False
        self._baseline: Baseline | None = None
        self._early: list[Tiding] = []

    @property
    def is_known(self) -> bool:
        """Whether it was counted."""
        return self._baseline is not None

    def begin(self, baseline: Baseline) -> None:
        """Go on from *baseline*, with what was heard since it was asked for."""
        self._baseline = baseline
        self.counts = Tally(dict(baseline.counts))
        early, self._early = self._early, []
        for tiding in early:
            self.hear(tiding)

    def hear(self, tiding: Tiding) -> None:
        """Count what happened, unless it is counted."""
        if self._baseline is None:
            self._early.append(tiding)
            return
        if tiding.position is None or self._baseline.counts_in(tiding.position):
            return
        statuses = tiding.statuses
        if statuses is None:
            return
        old, new = statuses
        if old is not None:
            self.counts[old] -= 1
        if new is not None:
            self.counts[new] += 1
        self.has_changed = True


class Standings:
    """Keeps the standings of the queues that are watched, and tells of them."""

    def __init__(self, pool: Pool, feed: Feed, *, seconds: float) -> None:
        self._pool = pool
        self._feed = feed
        self._seconds: Final = seconds
        self._queues: dict[Name, Standing] = {}
        feed.overheard_by(self)

    def hear(self, tiding: Tiding) -> None:
        """Count one event; each comes once, in order."""
        organization_id, queue_name = tiding.organization_id, tiding.queue_name
        if queue_name is None:
            return
        standings = [self._queues.get((organization_id, queue_name))]
        # Jobs that tell of jobs are not told to who watches everything.
        if queue_name != outgoing.QUEUE:
            standings.append(self._queues.get((organization_id, None)))
        for standing in standings:
            if standing is not None:
                standing.hear(tiding)

    def of_organization(self, organization_id: str) -> Mapping[Status, int] | None:
        """Return how many jobs there are of each status; None while that is unknown."""
        standing = self._queues.get((organization_id, None))
        return standing.counts if standing is not None and standing.is_known else None

    def forget(self) -> None:
        """Count anew: what is heard from now on does not join what was heard."""
        self._queues.clear()

    async def run(self, stopping: asyncio.Event) -> None:
        """Tell whoever watches a queue how it stands, when that changes (an actor)."""
        await every(self._seconds, self._turn, stopping=stopping)

    async def _turn(self) -> None:
        watched = self._watched()
        for gone in self._queues.keys() - watched.keys():
            del self._queues[gone]
        for name, watchers in watched.items():
            standing = self._queues.get(name)
            if standing is None:
                standing = self._queues[name] = Standing()
            if not standing.is_known:
                await self._count(name, standing)
            if self._tell(name[1], standing, watchers):
                # Others have their turn before the next queue.
                await asyncio.sleep(0)

    def _watched(self) -> dict[Name, list[Watcher]]:
        """Return who watches what, and is to be told whenever it stands otherwise.

        How an organization stands is told now and then, to whoever watches everything
        (`services.streamer.pulse`).
        """
        watched: dict[Name, list[Watcher]] = {}
        if self._feed.heard is None:
            return watched
        for organization_id, circle in self._feed.circles():
            wish = circle.key.wish
            if wish.everything and circle.key.scope is None:
                watched.setdefault((organization_id, None), [])
            for topic in wish.topics if wish.counts else ():
                if topic.queue_name is not None and topic.job_id is None:
                    name = organization_id, topic.queue_name
                    watched.setdefault(name, []).extend(circle.members)
        return watched

    async def _count(self, name: Name, standing: Standing) -> None:
        organization_id, queue_name = name
        try:
            async with borrow(self._pool) as conn:
                baseline = await read_baseline(
                    conn, organization_id=UUID(organization_id), queue_name=queue_name
                )
        except Transient as error:
            # Asked for again in the next turn, with what is heard until then.
            log.debug("standing.uncounted", cause=str(error))
            return
        standing.begin(baseline)

    @staticmethod
    def _tell(
        queue_name: str | None, standing: Standing, watchers: list[Watcher]
    ) -> bool:
        """Tell whoever does not know how a queue stands; return whether anybody was."""
        if not standing.is_known or queue_name is None:
            return False
        new = [watcher for watcher in watchers if watcher not in standing.told]
        to_tell = watchers if standing.has_changed else new
        standing.has_changed = False
        told = [frames.queue_stats(queue_name, standing.counts)] if to_tell else []
        spelled: dict[Spelling, bytes] = {}
        for watcher in to_tell:
            data = spelled.get(watcher.spell)
            if data is None:
                data = spelled[watcher.spell] = watcher.spell(told)
            watcher.tell(told, data)
            standing.told.add(watcher)
        return bool(to_tell)
