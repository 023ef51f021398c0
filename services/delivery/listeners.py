"""Attempts for receivers without an address: passed on to who listens for them.

Everything else of the attempt is as it always is: its headers, its signature, its
deadline, its verdict.
"""

import asyncio
from typing import Final

import msgspec

from libs.common.bus import Bus, NobodyListens, Undecided
from libs.common.errors import Unavailable
from libs.common.listening import Answered, Passed, subject_of
from libs.common.messages import Delivery
from services.delivery.answer import Answer
from services.delivery.failures import NoAnswer, NoRoom
from services.delivery.request import Request

#: What the way of an answer through the house may take of an attempt's time.
_WAY_SECONDS: Final = 0.5


class Listeners:
    """Passes requests on, over the bus."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def make(self, job: Delivery, request: Request, *, deadline: float) -> Answer:
        """Return what was answered; raises `NoAnswer`, `NoRoom`, ``TimeoutError``.

        Without the bus nothing was sent, and the job goes back as it came.
        """
        left = deadline - asyncio.get_running_loop().time()
        passed = Passed(
            method=request.method,
            path=request.destination.path,
            headers=_pairs(request.lines),
            body=request.body,
            seconds=max(0.1, left - _WAY_SECONDS),
        )
        data = msgspec.json.encode(passed)
        if len(data) > self._bus.payload_bytes_max:
            raise NoAnswer("too large for who listens")
        subject = subject_of(job.organization_id, job.endpoint_id or "")
        try:
            told = await self._bus.ask(subject, data, seconds=left)
            answered = msgspec.json.decode(told, type=Answered)
        except NobodyListens:
            raise NoAnswer("nobody listens") from None
        except Undecided:
            raise TimeoutError from None
        except Unavailable:
            raise NoRoom from None
        except msgspec.DecodeError:
            raise NoAnswer("answer is malformed") from None
        if answered.status is None:
            raise NoAnswer(answered.error or "no answer")
        headers = [(n.encode(), value.encode()) for n, value in answered.headers]
        body = answered.body[: Answered.BODY_BYTES_MAX]
        return Answer(status=answered.status, headers=headers, body=body)


def _pairs(lines: str) -> list[tuple[str, str]]:
    """Return headers by name and value, of the lines that `lines_of` has made."""
    split = (line.partition(": ") for line in lines.splitlines())
    return [(name, value) for name, _, value in split]
