"""Bodies that do not travel with their batch: asked for, piece by piece.

A slot says nothing about how large a body is, so those that are asked for have a budget
besides.  Whoever finds none left waits in line; bodies that came with their batch, the
small ones, pass by.  Few are asked for at once: where all got a piece in turn, all
would be whole at the same time, which may be too late for all.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from libs.common.bus import Bus
from libs.common.errors import Unavailable
from libs.common.messages import NULL, BodyWanted, Delivery

_NULL: Final = bytes(NULL)
#: How many bodies are asked for at once: enough for no dispatcher to be idle.
_FETCHES_MAX: Final = 4
_PIECE_BYTES_MAX: Final = 512 * 1024
_ANSWER_SECONDS: Final = 5.0
_AGAIN_SECONDS_MAX: Final = 0.5


class Bodies:
    """Gets bodies; of those it asks for it holds *bytes_max* at once, and no more."""

    def __init__(self, bus: Bus, *, bytes_max: int) -> None:
        self._bus = bus
        self._bytes_max = bytes_max
        self._free = bytes_max
        self._freed = asyncio.Event()
        #: First come, first served: else a large one would wait while small ones pass.
        self._turn = asyncio.Lock()
        self._fetches = asyncio.Semaphore(_FETCHES_MAX)

    @asynccontextmanager
    async def of(
        self, job: Delivery, *, lease_id: str, start_by: float
    ) -> AsyncIterator[bytes | None]:
        """Hold the exact bytes to send until the block ends; None when it is too late.

        Too late is when the lease is gone, or the body is another one by now, or when
        there was no room, or nobody that answers, until *start_by* (on the loop's
        clock).
        """
        came = bytes(job.body)
        if came != _NULL or not job.body_bytes:
            yield came if job.body_bytes else b""
            return
        # What is larger than the budget gets all of it.
        room = min(job.body_bytes, self._bytes_max)
        if not await self._take(room, start_by):
            yield None
            return
        try:
            yield await self._fetch(job, lease_id, start_by)
        finally:
            self._free += room
            self._freed.set()

    async def _fetch(
        self, job: Delivery, lease_id: str, start_by: float
    ) -> bytes | None:
        """Return the body, when it is our turn to ask for it; None as for `of`."""
        try:
            async with asyncio.timeout_at(start_by), self._fetches:
                return await _whole(job, self._bus, lease_id, start_by)
        except TimeoutError:
            return None

    async def _take(self, room: int, start_by: float) -> bool:
        try:
            async with asyncio.timeout_at(start_by), self._turn:
                while self._free < room:
                    self._freed.clear()
                    await self._freed.wait()
                self._free -= room
        except TimeoutError:
            return False
        return True


async def _whole(
    job: Delivery, bus: Bus, lease_id: str, start_by: float
) -> bytes | None:
    whole = bytearray()
    while len(whole) < job.body_bytes:
        piece = await _ask(job, bus, lease_id, offset=len(whole), start_by=start_by)
        if not piece:
            return None
        whole += piece
    return bytes(whole)


async def _ask(
    job: Delivery, bus: Bus, lease_id: str, *, offset: int, start_by: float
) -> bytes:
    length = min(_PIECE_BYTES_MAX, job.body_bytes - offset)
    wanted = BodyWanted(
        job_id=job.job_id,
        lease_id=lease_id,
        offset=offset,
        length=length,
        digest=job.body_digest,
    )
    loop = asyncio.get_running_loop()
    while loop.time() < start_by:
        try:
            return await bus.ask(
                wanted.subject, wanted.encode(), seconds=_ANSWER_SECONDS
            )
        except Unavailable:
            await asyncio.sleep(_AGAIN_SECONDS_MAX * random.uniform(0.2, 1.0))  # noqa: S311
    return b""
