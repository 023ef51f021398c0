"""Keeps the leases of what handlers work on: renewed at a third of their time.

A lease that Bellhop says is gone, or that ran out while nobody answered, is lost: its
handler is cancelled.
"""

import asyncio
import logging
import time
from typing import Final

from libs.common.pb import spooled_pb2 as pb
from libs.worker.connection import Connection, Pause, Refused, Unreachable
from libs.worker.hold import Hold

log = logging.getLogger("bellhop.worker")

_BATCH_MAX: Final = 1000
_LOOK_SECONDS: Final = 1.0
#: Errors of a renewal that end the lease; others pass.
_LOST: Final = {"LEASE_EXPIRED", "NOT_FOUND", "CONFLICT", "REJECTED"}


class Leases:
    """The leases of one handler's jobs; who runs it runs `keep`."""

    def __init__(
        self, connection: Connection, worker_id: str, *, lease_seconds: int
    ) -> None:
        self._connection: Final = connection
        self._worker_id: Final = worker_id
        self.seconds: Final = lease_seconds
        self.holds: Final[set[Hold]] = set()

    async def keep(self) -> None:
        """Renew everything again and again, until cancelled (an actor)."""
        pause = Pause()
        while True:
            await asyncio.sleep(self.seconds / 3)
            while self.holds and (wait_seconds := await self._renew()) is not None:
                await self._drop_ended_for(wait_seconds)
                await pause.wait()
            pause.reset()

    async def _renew(self) -> float | None:
        """Renew once.

        Returns None when all is said, else how many seconds to wait at least before it
        is said again.
        """
        self._drop_ended()
        holds = [*self.holds]
        waits = [
            await self._renew_batch(holds[begin : begin + _BATCH_MAX])
            for begin in range(0, len(holds), _BATCH_MAX)
        ]
        return max((wait for wait in waits if wait is not None), default=None)

    async def _renew_batch(self, holds: list[Hold]) -> float | None:
        asked_at = time.monotonic()
        request = pb.RenewLeasesRequest(
            worker_id=self._worker_id,
            extension_secs=self.seconds,
            items=[
                pb.RenewLeasesRequest.Item(job_id=h.job.id, lease_id=h.job.lease_id)
                for h in holds
            ],
        )
        try:
            answer = await self._connection.ask(
                self._connection.queues.RenewLeases, request, seconds=self.seconds / 3
            )
        except Unreachable as error:
            log.warning("%d leases could not be renewed: %s", len(holds), error)
            return error.wait_seconds
        except Refused as error:
            log.error("%d leases are not renewed: %s", len(holds), error)  # noqa: TRY400 - its words are enough
            return None
        for hold, place in zip(holds, answer.items, strict=True):
            if place.success:
                hold.ends_at = asked_at + self.seconds
            elif place.error.code in _LOST and hold in self.holds:
                log.warning("job %s is lost: %s", hold.job.id, place.error.message)
                hold.lose()
        return None

    async def _drop_ended_for(self, seconds: float) -> None:
        """Let go what ends while we may not ask."""
        ends_at = time.monotonic() + seconds
        while (left := ends_at - time.monotonic()) > 0:
            self._drop_ended()
            await asyncio.sleep(min(left, _LOOK_SECONDS))

    def _drop_ended(self) -> None:
        for hold in [*self.holds]:
            if not hold.is_ours and not hold.job.lost.is_set():
                log.warning("job %s is lost: its lease ran out", hold.job.id)
                hold.lose()
