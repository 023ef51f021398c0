"""Tells how jobs ended, many at a time: what comes meanwhile goes with the next batch.

A job counts as settled when Bellhop said so.  While nobody answers it is said again,
for as long as the job's lease is ours; a repeat that was carried out before is refused,
and that is no loss.  What fails together is told one by one, so that nothing fails for
another's sake; and a result that is refused fails its job, which else would be worked
on again, for nothing, when its lease has run out.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from libs.common.pb import spooled_pb2 as pb
from libs.worker.connection import Connection, Pause, Refused, Unreachable
from libs.worker.endings import Completion, Ending, refused
from libs.worker.hold import Hold

log = logging.getLogger("bellhop.worker")

_BATCH_MAX: Final = 500
_BATCH_BYTES_MAX: Final = 3 * 1024 * 1024
_ASK_SECONDS: Final = 15.0
#: What is said of one job when it is not ours any more.
_LOST: Final = {"LEASE_EXPIRED", "NOT_FOUND", "CONFLICT"}
#: And what passes by itself.
_PASSING: Final = {"UNAVAILABLE", "INTERNAL"}
#: Said of a whole batch: nobody's result is wrong with it.
_OF_THE_KEY: Final = {"UNAUTHENTICATED", "PERMISSION_DENIED"}


@dataclass(slots=True)
class _Told:
    hold: Hold
    ending: Ending
    settled: asyncio.Future[None]
    #: Whether it goes without others: together they failed.
    alone: bool = False

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

    async def settle(self, hold: Hold, ending: Ending) -> None:
        """Say how a job ended; return when it is known, or the job is not ours."""
        told = _Told(hold, ending, asyncio.get_running_loop().create_future())
        self._waiting.append(told)
        self._bell.set()
        await told.settled

    async def run(self) -> None:
        """Send what waits, batch after batch, until cancelled (an actor)."""
        pause = Pause()
        while True:
            await self._bell.wait()
            self._bell.clear()
            while self._waiting:
                batch = self._next()
                try:
                    told_again = await self._send(batch)
                except Unreachable as error:
                    log.warning("%d jobs are not settled yet: %s", len(batch), error)
                    self._again(batch, alone=error.answered)
                    await pause.wait(error.wait_seconds)
                    continue
                if told_again:
                    await pause.wait()
                else:
                    pause.reset()

    def _next(self) -> list[_Told]:
        """Take a batch of one kind, as large as a message may be."""
        first = self._waiting[0]
        batch = [first]
        size = first.ending.ByteSize()
        for told in self._waiting[1:_BATCH_MAX]:
            size += told.ending.ByteSize()
            together = type(told.ending) is type(first.ending) and not (
                first.alone or told.alone
            )
            if not together or size > _BATCH_BYTES_MAX:
                break
            batch.append(told)
        del self._waiting[: len(batch)]
        return batch

    async def _send(self, batch: Sequence[_Told]) -> bool:
        """Send a batch; return whether some of it goes again, later.

        Raises `Unreachable` when that is so of all of it.
        """
        try:
            places = await self._ask(batch)
        except Refused as error:
            self._refused(batch, error)
            return False
        passing = []
        for told, place in zip(batch, places, strict=True):
            if not place.HasField("error"):
                told.over()
            elif place.error.code in _PASSING:
                log.warning("job %s: %s", told.hold.job.id, place.error.message)
                passing.append(told)
            elif place.error.code in _LOST:
                log.warning("job %s: %s", told.hold.job.id, place.error.message)
                told.over()
            else:
                self._refuse(told, place.error.message)
        self._again(passing)
        return bool(passing)

    async def _ask(self, batch: Sequence[_Told]) -> Sequence[Any]:
        """Send a batch; return what is said of each."""
        queues = self._connection.queues
        method: Any
        request: pb.CompleteBatchRequest | pb.FailBatchRequest
        items: list[Any] = [told.ending for told in batch]
        if isinstance(items[0], Completion):
            method = queues.CompleteBatch
            request = pb.CompleteBatchRequest(worker_id=self._worker_id, items=items)
        else:
            method = queues.FailBatch
            request = pb.FailBatchRequest(worker_id=self._worker_id, items=items)
        answer = await self._connection.ask(method, request, seconds=_ASK_SECONDS)
        places: Sequence[Any] = answer.items
        return places

    def _again(self, batch: Sequence[_Told], *, alone: bool = False) -> None:
        """Tell it later, what is still ours."""
        for told in batch:
            if told.hold.is_ours:
                told.alone = told.alone or alone
                self._waiting.append(told)
            else:
                told.over()

    def _refused(self, batch: Sequence[_Told], error: Refused) -> None:
        """A whole batch was refused: tell it one by one, unless nobody would hear."""
        if error.code in _OF_THE_KEY:
            log.error("%d jobs could not be settled: %s", len(batch), error)
            for told in batch:
                told.over()
        elif len(batch) > 1:
            self._again(batch, alone=True)
        else:
            self._refuse(batch[0], str(error))

    def _refuse(self, told: _Told, why: str) -> None:
        """Fail a job whose result is not taken; a failure is told once."""
        job = told.hold.job
        if isinstance(told.ending, Completion):
            told.ending = refused(job, why)
            self._again([told])
        else:
            log.error("job %s could not be failed: %s", job.id, why)
            told.over()
