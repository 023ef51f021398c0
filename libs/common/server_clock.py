"""A clock that all processes can ask: that of the NATS server.

The clocks of two machines may disagree by minutes, and how long a message was on its
way neither can tell alone.  So both ask the server that keeps the stream, now and then,
and reckon on with their own monotonic clock in between, which stands still for nobody.
What it shows lies between two bounds: a question and its answer take time, too.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import Final

from libs.common import streams
from libs.common.bus import Bus
from libs.common.messages import Stream

#: How long one reading is good: clocks drift less than a millisecond meanwhile.
_GOOD_SECONDS: Final = 10.0
#: A reading that took longer is used once.
_QUICK_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class _Reading:
    """What the server's clock showed between two moments of ours (both in seconds)."""

    shown: float
    asked_at: float
    got_at: float
    connections: int


class ServerClock:
    """The clock of whoever keeps *stream*; seconds since 1970."""

    def __init__(self, bus: Bus, stream: Stream) -> None:
        self._bus = bus
        self._stream = stream
        self._asking = asyncio.Lock()
        self._last: _Reading | None = None

    async def earliest(self) -> float:
        """Return what it shows at least; raises `Unavailable`."""
        reading = await self._reading()
        return reading.shown + time.monotonic() - reading.got_at

    async def latest(self) -> float:
        """Return what it shows at most; raises `Unavailable`."""
        reading = await self._reading()
        return reading.shown + time.monotonic() - reading.asked_at

    async def _reading(self) -> _Reading:
        async with self._asking:
            if self._last is None or not self._is_good(self._last):
                connections, asked_at = self._bus.connections, time.monotonic()
                shown = await streams.server_time(self._bus, self._stream)
                got_at = time.monotonic()
                self._last = _Reading(shown, asked_at, got_at, connections)
            return self._last

    def _is_good(self, reading: _Reading) -> bool:
        # Whoever we are connected to now may be another, with a clock of its own.
        return (
            reading.connections == self._bus.connections
            and reading.got_at - reading.asked_at <= _QUICK_SECONDS
            and time.monotonic() - reading.asked_at <= _GOOD_SECONDS
        )
