"""Tells how jobs ended, many at a time: what comes meanwhile goes with the next batch.

A job counts as settled when Bellhop said so.  While nobody answers it is said again,
for as long as the job's lease is ours; a repeat that was carried out before is refused,
and that is no loss.
"""

import asyncio
import logging
from dataclasses import dataclass
from typing import Any, Final

from libs.common.pb import spooled_pb2 as pb
from libs.worker.connection import Connection, Refused, Unreachable
from libs.worker.hold import Hold

log = logging.getLogger("bellhop.worker")

_BATCH_MAX: Final = 500
_BATCH_BYTES_MAX: Final = 3 * 1024 * 1024
_ASK_SECONDS: Final = 15.0

Item = pb.CompleteBatchRequest.Item | pb.FailBatchRequest.Item


@dataclass(slots=True)
class _Told:
    hold: Hold
    item: Item
    settled: asyncio.Future[None]

    def over(self) -> None:
        """Let who waits go on; it may have been cancelled meanwhile."""
        if not self.settled.done():
            self.settled.set_result(None)


class Settling:
    """Completes and fails jobs; one a worker, which runs `run`."""

    def __init__(self, connection: Connection, worker_id: str) -> None:
        self._connection: Final = connection
        self._worker_id: Final = worker_id
        self._waiting: list[_Told] = []
        self._bell: Final = asyncio.Event()

    async def settle(self, hold: Hold, item: Item) -> None:
        """Say how a job ended; return when it is known, or the job is not ours."""
        told = _Told(hold, item, asyncio.get_running_loop().create_future())
        self._waiting.append(told)
        self._bell.set()
        await told.settled

    async def run(self) -> None:
        """Send what waits, batch after batch, until cancelled (an actor)."""
        while True:
            await self._bell.wait()
            self._bell.clear()
            while self._waiting:
                await self._send(self._next())

    def _next(self) -> list[_Told]:
        """Take a batch of one kind, as large as a message may be."""
        kind = type(self._waiting[0].item)
        batch: list[_Told] = []
        size = 0
        for told in self._waiting:
            size += told.item.ByteSize()
            full = len(batch) == _BATCH_MAX or (batch and size > _BATCH_BYTES_MAX)
            if full or type(told.item) is not kind:
                break
            batch.append(told)
        del self._waiting[: len(batch)]
        return batch

    async def _send(self, batch: list[_Told]) -> None:
        method: Any
        request: pb.CompleteBatchRequest | pb.FailBatchRequest
        items: list[Any] = [told.item for told in batch]
        if isinstance(batch[0].item, pb.CompleteBatchRequest.Item):
            method = self._connection.queues.CompleteBatch
            request = pb.CompleteBatchRequest(worker_id=self._worker_id, items=items)
        else:
            method = self._connection.queues.FailBatch
            request = pb.FailBatchRequest(worker_id=self._worker_id, items=items)
        try:
            answer = await self._connection.insist(
                method,
                request,
                seconds=_ASK_SECONDS,
                until=lambda: not any(told.hold.is_ours for told in batch),
            )
        except (Refused, Unreachable) as error:
            log.warning("%d jobs could not be settled: %s", len(batch), error)
            for told in batch:
                told.over()
            return
        for told, place in zip(batch, answer.items, strict=True):
            if place.HasField("error"):
                log.warning("job %s: %s", told.hold.job.id, place.error.message)
            told.over()
