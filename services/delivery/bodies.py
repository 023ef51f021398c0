"""Bodies that do not travel with their batch: asked for, piece by piece."""

import asyncio
import random
from typing import Final

from libs.common.bus import Bus
from libs.common.errors import Unavailable
from libs.common.messages import NULL, BodyWanted, Delivery

_NULL: Final = bytes(NULL)
_PIECE_BYTES_MAX: Final = 512 * 1024
_ANSWER_SECONDS: Final = 5.0
_AGAIN_SECONDS_MAX: Final = 0.5


async def body_of(
    job: Delivery, bus: Bus, *, lease_id: str, start_by: float
) -> bytes | None:
    """Return the exact bytes to send, or None when the lease is gone.

    Asks again when nobody answers, until *start_by* (on the loop's clock).
    """
    came = bytes(job.body)
    if came != _NULL or not job.body_bytes:
        return came if job.body_bytes else b""
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
        job_id=job.job_id, lease_id=lease_id, offset=offset, length=length
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
