"""Jobs whose time has come: due ones become ready, expired ones end."""

import asyncio
from typing import Final

from prometheus_client import Counter

from libs.common.bus import Bus
from libs.common.db import Pool, borrow
from libs.common.dependents import tell_released
from libs.common.errors import Transient
from libs.common.loops import every, log, pause
from libs.common.metrics import Distribution
from libs.common.store import timers

PROMOTED: Final = Counter("bellhop_jobs_promoted_total", "Due jobs made ready.")
EXPIRED: Final = Counter("bellhop_jobs_expired_total", "Jobs that expired unrun.")
LATE: Final = Distribution(
    "bellhop_promotion_lag_seconds",
    "From when a job is due to when it is ready: the latest of each lane and turn.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60, 600),
)
_BATCH: Final = 1000
_EXPIRE_POLL_SECONDS: Final = 0.5
_HELD_SECONDS: Final = 0.02
#: How often all that is scheduled is looked through from its beginning, and what part
#: of the time that takes at most, however many who are gone somebody's view keeps.
_WHOLE_SECONDS: Final = 1.0
_WHOLE_SHARE_MAX: Final = 0.05


class Due:
    """Makes due jobs ready; any number of schedulers may.

    A turn begins where the living began at the last one (see `NextDue`), not among
    those that are gone.  Whoever commits so late as to stand before that is found when
    all is looked through: a second later, unless that takes long.
    """

    def __init__(self, pool: Pool, bus: Bus, *, poll_seconds: float) -> None:
        self._pool = pool
        self._bus = bus
        self._poll_seconds: Final = poll_seconds
        self._loop = asyncio.get_running_loop()
        self._front = timers.EVER
        self._whole_at = self._loop.time()

    async def run(self, stopping: asyncio.Event) -> None:
        """Promote until stopped: asleep until the next job is due, but not for long."""
        while not stopping.is_set():
            wait = self._poll_seconds
            try:
                wait = min(wait, await self._turn())
            except Transient as error:
                log.warning("loop.turn_lost", turn="due", cause=str(error))
            if wait > 0:
                await pause(wait, stopping)

    async def _turn(self) -> float:
        """Promote one batch; return the seconds until the next job is due."""
        began_at = self._loop.time()
        is_whole = began_at >= self._whole_at
        since = timers.EVER if is_whole else self._front
        async with borrow(self._pool) as conn:
            promoted = await timers.promote_due(conn, limit=_BATCH, since=since)
            next_ = await timers.next_due(conn, since=since)
        self._front, following = next_.front, next_.seconds
        if is_whole:
            took = self._loop.time() - began_at
            self._whole_at = began_at + max(_WHOLE_SECONDS, took / _WHOLE_SHARE_MAX)
        if promoted:
            PROMOTED.inc(sum(lane.jobs for lane in promoted))
            for lane in promoted:
                LATE.observe(lane.late_seconds)
            await self._bus.ring_lanes((lane.lane_id, lane.push) for lane in promoted)
            await self._bus.ring_journal()
        if following is None:
            return self._poll_seconds
        # Due and not promoted: another scheduler holds it right now.
        return following if promoted else max(following, _HELD_SECONDS)

    async def expire(self, stopping: asyncio.Event) -> None:
        """End expired jobs until stopped."""

        async def turn() -> None:
            moments = _BATCH
            while moments == _BATCH:
                async with borrow(self._pool) as conn:
                    expired = await timers.expire(conn, limit=_BATCH)
                moments = expired.moments
                if expired.job_ids:
                    EXPIRED.inc(len(expired.job_ids))
                    await self._bus.ring_journal()
                    await tell_released(self._pool, self._bus, [expired.released])

        await every(_EXPIRE_POLL_SECONDS, turn, stopping=stopping)
