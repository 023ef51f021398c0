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
            while self.holds and not await self._renew():
                await pause.wait()
            pause.reset()

    async def _renew(self) -> bool:
        """Renew once; return whether all is said, or whether to try again soon."""
        self._drop_ended()
        said = True
        holds = [*self.holds]
        for begin in range(0, len(holds), _BATCH_MAX):
            said = await self._renew_batch(holds[begin : begin + _BATCH_MAX]) and said
        return said

    async def _renew_batch(self, holds: list[Hold]) -> bool:
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
            return False
        except Refused as error:
            log.error("%d leases are not renewed: %s", len(holds), error)  # noqa: TRY400 - its words are enough
            return True
        for hold, place in zip(holds, answer.items, strict=True):
            if place.success:
                hold.ends_at = asked_at + self.seconds
            elif place.error.code in _LOST and hold in self.holds:
                log.warning("job %s is lost: %s", hold.job.id, place.error.message)
                hold.lose()
        return True

    def _drop_ended(self) -> None:
        for hold in [*self.holds]:
            if not hold.is_ours and not hold.job.lost.is_set():
                log.warning("job %s is lost: its lease ran out", hold.job.id)
                hold.lose()
