"""Work for those who ask for it, and who waits for which: nobody polls.

REST and gRPC put what workers ask for here and get the same answer.  Who waits is woken
by `WorkReady`; that it may have been lost is why everybody looks again now and then.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from libs.common.batcher import Batcher
from libs.common.bus import Bus
from libs.common.db import Pool, borrow
from libs.common.ids import new_id
from libs.common.loops import pause
from libs.common.messages import OrganizationChanged, WorkReady
from libs.common.store import lanes
from libs.common.store.claims import Asked, ClaimedWork
from libs.common.store.lanes import LaneName
from services.ingest.handouts import Handout, Handouts

_REMEMBERED_MAX: Final = 100_000
#: How often who waits looks again unasked; and while no word could have reached us.
_LOOK_SECONDS: Final = 5.0
_LOOK_UNTOLD_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a worker asks for: up to *limit* jobs of a queue, each for *lease*."""

    organization_id: UUID
    queue_name: str
    worker_id: str
    limit: int
    lease: timedelta

    @property
    def lane(self) -> LaneName:
        """Where these jobs stand."""
        return LaneName(self.organization_id, self.queue_name, "")


def _never() -> bool:
    return False


class Claims:
    """Hands out workers' jobs, and wakes who waits for them."""

    def __init__(self, pool: Pool, bus: Bus, *, batch_max: int, lanes: int) -> None:
        self._pool = pool
        self._bus = bus
        self._handouts = Handouts(pool, bus, batch_max=batch_max, lanes=lanes)
        self._look_ups: Batcher[LaneName, int | None] = Batcher(
            "find_lanes", self._find, batch_max=batch_max, lanes=1
        )
        self._lanes: dict[LaneName, int] = {}
        #: Lanes that were told of, whether anybody here knows their names or not.
        self._told_of: set[int] = set()
        #: Bells of those who wait, by lane; who waits longest comes first.
        self._waiting: dict[LaneName, dict[asyncio.Event, None]] = {}
        self._stopping = False

    async def claim(
        self,
        wanted: Claim,
        *,
        wait_seconds: float = 0.0,
        is_gone: Callable[[], bool] = _never,
    ) -> list[ClaimedWork]:
        """Return jobs that are the worker's now; none when there are none in time.

        *is_gone* says whether whoever asked has left: then nothing is claimed for them,
        and what was is given back.  So it is when the caller is cancelled.  Raises
        `Unavailable` when Postgres is away.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_seconds
        with self._in_line(wanted.lane) as bell:
            while True:
                bell.clear()
                handout = await self._ask(wanted, is_gone)
                left = deadline - loop.time()
                if handout is None or handout.work or left <= 0 or self._stopping:
                    return handout.work if handout else []
                again = handout.again_seconds
                await pause(left if again is None else min(left, again), bell)
                late = loop.time() >= deadline and not bell.is_set()
                if late or self._stopping or is_gone():
                    return []

    async def listen(self, stopping: asyncio.Event) -> None:
        """Wake who waits when there is work for them, until stopped (an actor)."""
        async with asyncio.TaskGroup() as group:
            for hearing in (
                self._bus.hear(WorkReady, self._told, stopping=stopping),
                self._bus.hear(OrganizationChanged, self._changed, stopping=stopping),
                self._look(stopping),
                self._handouts.floors.look(stopping),
            ):
                group.create_task(hearing)

    async def drain(self) -> None:
        """Return when nothing is under way."""
        await self._look_ups.drain()
        await self._handouts.drain()

    # --- asking --------------------------------------------------------------------

    async def _ask(self, wanted: Claim, is_gone: Callable[[], bool]) -> Handout | None:
        """Return what is given; None when whoever asked is gone."""
        lane_id = self._lanes.get(wanted.lane)
        if lane_id is None:
            lane_id = await self._look_ups.put(wanted.lane)
        handout = Handout(
            wanted.organization_id,
            Asked(
                # There was never a job in this queue: no lane has the number 0.
                lane_id=lane_id or 0,
                limit=wanted.limit,
                lease_id=new_id(),
                owner=wanted.worker_id,
                lease=wanted.lease,
            ),
        )
        if lane_id is not None:
            await self._handouts.take(handout)
        if is_gone():
            await self._handouts.give_back(handout)
            return None
        return handout

    async def _find(self, names: Sequence[LaneName]) -> list[int | None]:
        async with borrow(self._pool) as conn:
            found = await lanes.find_lanes(conn, names=sorted(set(names)))
        if len(self._lanes) > _REMEMBERED_MAX:
            self._lanes.clear()
        self._lanes |= found
        return [found.get(name) for name in names]

    # --- waiting -------------------------------------------------------------------

    @contextmanager
    def _in_line(self, lane: LaneName) -> Iterator[asyncio.Event]:
        """Give a bell that rings when there may be work in *lane*.

        It hangs before the first look: what comes during the look must ring it.
        """
        bell = asyncio.Event()
        line = self._waiting.setdefault(lane, {})
        line[bell] = None
        try:
            yield bell
        finally:
            del line[bell]
            if not line and self._waiting.get(lane) is line:
                del self._waiting[lane]

    def _told(self, word: WorkReady) -> None:
        ready = set(word.lanes)
        # A lane that is not known yet may be the one that was told of: but only the
        # first time, because whoever is woken by that looks it up.
        is_news = not ready <= self._told_of
        if len(self._told_of) > _REMEMBERED_MAX:
            self._told_of.clear()
        self._told_of |= ready
        self._wake(
            lambda lane: self._lanes[lane] in ready if lane in self._lanes else is_news
        )

    def _changed(self, word: OrganizationChanged) -> None:
        # A queue may go on, or have a wider limit.
        self._wake(lambda lane: str(lane.organization_id) == word.organization_id)

    def _wake(self, whether: Callable[[LaneName], bool]) -> None:
        for lane, line in self._waiting.items():
            if whether(lane):
                for bell in line:
                    bell.set()

    async def _look(self, stopping: asyncio.Event) -> None:
        """Wake everybody now and then, and for the last time when stopping."""
        loop = asyncio.get_running_loop()
        looked_at, connections = loop.time(), self._bus.connections
        while not stopping.is_set():
            await pause(_LOOK_UNTOLD_SECONDS, stopping)
            untold = not self._bus.connected or self._bus.connections != connections
            if untold or loop.time() - looked_at >= _LOOK_SECONDS:
                self._wake(lambda _: True)
                looked_at, connections = loop.time(), self._bus.connections
        self._stopping = True
        self._wake(lambda _: True)
