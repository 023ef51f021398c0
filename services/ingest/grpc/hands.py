"""Jobs in the hands of streams: who streams hears when one has left them.

``StreamJobs`` hands out the next job when the one before is settled, cancelled, given
back or run out of its lease, whoever did it and through whichever replica.  One actor
looks for all streams of this process at once: when the journal grew (at most every
20 ms), and every half a second, because that hint may be lost and a lease that runs
out says nothing.  Without a job in hand nobody looks.  What is settled through this
process is told by `Settlement`, without a look.
"""

import asyncio
from typing import Final
from uuid import UUID

from libs.common.bus import Bus
from libs.common.db import Pool, borrow
from libs.common.loops import Doorbell, on_bell, pause
from libs.common.messages import JournalGrew
from libs.common.store import leases
from services.ingest.grpc.racing import first
from services.ingest.settlement import Settlement

_LOOK_SECONDS: Final = 0.5
_LOOKS_APART_SECONDS: Final = 0.02


class Hands:
    """Knows which jobs the streams of this process have in hand."""

    def __init__(
        self, pool: Pool, bus: Bus, settlement: Settlement, stopping: asyncio.Event
    ) -> None:
        self._pool = pool
        self._bus = bus
        self._settlement = settlement
        self._bell = Doorbell(stopping)
        #: By job and lease: a job may come back while its first stream still waits.
        self._held: dict[UUID, dict[UUID, asyncio.Event]] = {}

    async def until_free(self, job_id: UUID, lease_id: UUID) -> None:
        """Return when the job is no longer leased by *lease_id*."""
        free = asyncio.Event()
        self._held.setdefault(job_id, {})[lease_id] = free
        # It may have been settled before we began to watch.
        self._bell.ring()
        try:
            with self._settlement.watched(job_id) as settled:
                await first(settled.wait(), free.wait())
        finally:
            left = self._held[job_id]
            del left[lease_id]
            if not left:
                del self._held[job_id]

    async def listen(self, stopping: asyncio.Event) -> None:
        """Look when somebody moved a job, until stopped (an actor)."""

        def grew(_: JournalGrew) -> None:
            if self._held:
                self._bell.ring()

        await self._bus.hear(JournalGrew, grew, stopping=stopping)

    async def look(self, stopping: asyncio.Event) -> None:
        """Look which jobs have left the hands, until stopped (an actor)."""

        async def turn() -> bool:
            if self._held:
                await self._look()
                await pause(_LOOKS_APART_SECONDS, stopping)
            return False

        await on_bell(
            turn, bell=self._bell, poll_seconds=_LOOK_SECONDS, stopping=stopping
        )

    async def _look(self) -> None:
        watched = [
            (job_id, lease_id, free)
            for job_id, by_lease in self._held.items()
            for lease_id, free in by_lease.items()
        ]
        async with borrow(self._pool) as conn:
            live = await leases.find_live(
                conn, held=[(job_id, lease_id) for job_id, lease_id, _ in watched]
            )
        for job_id, lease_id, free in watched:
            if (job_id, lease_id) not in live:
                free.set()
