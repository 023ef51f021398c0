"""Jobs of endpoints that are disabled, enabled again, or deleted.

Who claims gives nothing to such endpoints by itself: this is the tidying up.  What is
ready is held, so that it is seen why, and goes on when the endpoint is enabled; of one
that was deleted everything open is cancelled, and then the endpoint is no more.
"""

import asyncio
from collections.abc import Collection
from typing import Final

import structlog
from prometheus_client import Counter

from libs.common.aftermath import follow_up
from libs.common.bus import Bus
from libs.common.db import Pool, borrow
from libs.common.loops import Doorbell, on_bell
from libs.common.messages import LanesReady, OrganizationChanged
from libs.common.store import closures, resting

log = structlog.get_logger()

HELD: Final = Counter(
    "bellhop_jobs_held_total", "Jobs held because their endpoint is disabled."
)
WOKEN: Final = Counter(
    "bellhop_jobs_woken_total", "Held jobs that go on: their endpoint is enabled."
)
_POLL_SECONDS: Final = 1.0
#: How many lanes one look walks over, and how many of those found one statement takes.
_LANES_MAX: Final = 2000
_LANES: Final = 20
#: How many jobs of each lane one statement moves.
_JOBS: Final = 500
_ENDPOINTS: Final = 50
_REASON: Final = "endpoint_deleted"


class Resting:
    """One actor: looks when somebody changed something, and every second."""

    def __init__(self, pool: Pool, bus: Bus, bell: Doorbell) -> None:
        self._pool = pool
        self._bus = bus
        self._bell = bell
        #: Where to look on: what one look does not reach, the next begins with.
        self._ready_after = 0
        self._held_after = 0

    async def run(self, stopping: asyncio.Event) -> None:
        """Tidy up until stopped."""
        await on_bell(
            self._turn, bell=self._bell, poll_seconds=_POLL_SECONDS, stopping=stopping
        )

    async def listen(self, stopping: asyncio.Event) -> None:
        """Hear that something was changed, until stopped."""

        def changed(_: OrganizationChanged) -> None:
            self._bell.ring()

        await self._bus.hear(OrganizationChanged, changed, stopping=stopping)

    async def _turn(self) -> bool:
        """Move some of what stands wrong; return whether there may be more."""
        async with borrow(self._pool) as conn:
            sleepers = await resting.lanes_at_rest(
                conn, after=self._ready_after, limit=_LANES_MAX
            )
            risers = await resting.lanes_to_wake(
                conn, after=self._held_after, limit=_LANES_MAX
            )
            deleted = await resting.deleted_endpoints(conn, limit=_ENDPOINTS)
        self._ready_after, self._held_after = sleepers.after, risers.after
        moved = 0
        for lanes in _pieces(sleepers.lanes):
            moved += await self._hold(lanes)
        for lanes in _pieces(risers.lanes):
            moved += await self._wake(lanes)
        for lanes in _pieces({*sleepers.gone, *risers.gone}):
            moved += await self._cancel(lanes)
        for endpoint in deleted:
            moved += await self._cancel(endpoint.lanes)
            async with borrow(self._pool) as conn:
                removed = await resting.remove_endpoint(
                    conn, endpoint_id=endpoint.endpoint_id
                )
            if removed:
                log.info("endpoint.removed", endpoint_id=str(endpoint.endpoint_id))
        if moved:
            await self._bus.ring_journal()
        return moved > 0

    async def _hold(self, lanes: Collection[int]) -> int:
        async with borrow(self._pool) as conn:
            jobs = await resting.hold(conn, lanes=lanes, limit=_JOBS)
        HELD.inc(jobs)
        return jobs

    async def _wake(self, lanes: Collection[int]) -> int:
        async with borrow(self._pool) as conn:
            woken = await resting.wake(conn, lanes=lanes, limit=_JOBS)
        if woken:
            await self._bus.ring(LanesReady(lanes=sorted(woken)))
        WOKEN.inc(sum(woken.values()))
        return sum(woken.values())

    async def _cancel(self, lanes: Collection[int]) -> int:
        if not lanes:
            return 0
        async with borrow(self._pool) as conn:
            gone = await closures.cancel_lanes(
                conn, lanes=lanes, limit=_JOBS, actor=None, reason=_REASON
            )
        if gone.jobs:
            await follow_up(
                self._pool,
                self._bus,
                lanes=(),
                left_line=True,
                released=[gone.released],
            )
        return gone.jobs


def _pieces(lanes: Collection[int]) -> list[list[int]]:
    every = sorted(lanes)
    return [every[start : start + _LANES] for start in range(0, len(every), _LANES)]
