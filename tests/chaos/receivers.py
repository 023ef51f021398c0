"""Where the webhooks go: receivers that note what comes, and misbehave by chance.

The path says who is asked: ``/steady`` always takes what comes, ``/flaky`` does not,
``/line/KEY`` takes its time, as an order shows only where two could overlap.  Others
mean harm, each in its own way.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from tests.chaos.history import History
from tests.support.endpoint import DROP, HANG, Endpoint, Fixed, Received, run_endpoint
from tests.support.hostile import run_hostile, url_of

#: How long an attempt may take: much longer than a receiver that means well.
TIMEOUT_SECONDS: Final = 10.0
#: The same for receivers that hang, or never come to an end.
SHORT_SECONDS: Final = 1.5
HOSTILE: Final = (
    "headers without end",
    "bombs without end",
    "resets in its head",
    "breaks off in a chunk",
    "two lengths",
    "hangs up on the request",
    "noise",
)
#: What a flaky receiver does: how likely, and how it answers.
_MISHAPS: Final[tuple[tuple[float, Fixed], ...]] = (
    (0.12, 500),
    (0.04, 503),
    (0.04, DROP),
    (0.02, HANG),
)


@dataclass
class Receivers:
    """All of them; while *upset* the flaky ones take nothing."""

    history: History
    luck: random.Random
    endpoint: Endpoint
    hostile: dict[str, str] = field(default_factory=dict)
    upset: bool = False

    def url(self, path: str) -> str:
        """Return the URL of a receiver that notes what comes."""
        return self.endpoint.url_of(path)

    async def answer(self, received: Received) -> Fixed:
        """Note a request, and how it is answered."""
        job = received.id
        self.endpoint.requests.clear()
        number = self.history.note("arrived", job, path=received.path).at
        # Some attempts are long enough for a fault to find them under way.
        if self.luck.random() < 0.1:
            await asyncio.sleep(self.luck.uniform(0.2, 1.5))
        said = self._said(received)
        self.history.note(
            "answered",
            job,
            path=received.path,
            arrived_at=number,
            status=said if isinstance(said, int) else 0,
        )
        return said

    def _said(self, received: Received) -> Fixed:
        if not received.path.startswith("/flaky"):
            return 200
        if self.upset:
            return 500 if self.luck.random() < 0.5 else DROP
        chance = self.luck.random()
        for share, mishap in _MISHAPS:
            if chance < share:
                return mishap
            chance -= share
        return 200


@asynccontextmanager
async def run_receivers(
    history: History, luck: random.Random
) -> AsyncIterator[Receivers]:
    """Let all of them listen until the block ends."""
    async with AsyncExitStack() as stack:
        endpoint = await stack.enter_async_context(run_endpoint())
        hostile = {}
        for name in HOSTILE:
            one = await stack.enter_async_context(run_hostile(name))
            hostile[name] = url_of(name, one.port)
        receivers = Receivers(history, luck, endpoint, hostile)
        endpoint.otherwise = receivers.answer
        yield receivers
