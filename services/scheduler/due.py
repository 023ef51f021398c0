"""Jobs whose time has come: due ones become ready, expired ones end."""

import asyncio
from typing import Final

from prometheus_client import Counter

from libs.common.bus import Bus
from libs.common.db import Pool, borrow
from libs.common.errors import Transient
from libs.common.loops import every, log, pause
from libs.common.messages import JournalGrew
from libs.common.store import timers

PROMOTED: Final = Counter("bellhop_jobs_promoted_total", "Due jobs made ready.")
EXPIRED: Final = Counter("bellhop_jobs_expired_total", "Jobs that expired unrun.")
_BATCH: Final = 1000
_EXPIRE_POLL_SECONDS: Final = 0.5
_HELD_SECONDS: Final = 0.02


class Due:
    """Makes due jobs ready; any number of schedulers may."""

    def __init__(self, pool: Pool, bus: Bus, *, poll_seconds: float) -> None:
        self._pool = pool
        self._bus = bus
        self._poll_seconds: Final = poll_seconds

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
        async with borrow(self._pool) as conn:
            promoted = await timers.promote_due(conn, limit=_BATCH)
            following = await timers.next_due(conn)
        if promoted:
            PROMOTED.inc(sum(lane.jobs for lane in promoted))
            await self._bus.ring_lanes((lane.lane_id, lane.push) for lane in promoted)
            await self._bus.ring(JournalGrew())
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
                    await self._bus.ring(JournalGrew())

        await every(_EXPIRE_POLL_SECONDS, turn, stopping=stopping)
