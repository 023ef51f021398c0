"""The connections there are; of these the idle ones wait for the next request.

They are kept apart by where they lead and by their TLS context: one that showed a
certificate, or that believed an authority of somebody's own, is never used for
anything else.  The one that was used last is used next, so that those that are too
many grow old; and no receiver has more than half of the places for idle ones.
"""

import asyncio
import ssl
from collections import OrderedDict
from typing import Final

from services.delivery.connection import Connection

#: Where a connection leads: host, port, and the TLS context, if any.
Way = tuple[str, int, ssl.SSLContext | None]

#: How often it is looked whether the oldest idle connections are too old.
_LOOK_SECONDS: Final = 1.0
#: A receiver that says for how long it waits is not asked in its last moments.
_MARGIN_SECONDS: Final = 1.0


class Connections:
    """Keeps *idle_max* idle connections at the most, each for *idle_seconds*."""

    def __init__(self, *, idle_max: int, idle_seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._idle_max = idle_max
        self._idle_of_one_max = (idle_max + 1) // 2
        self._idle_seconds = idle_seconds
        self._open: set[Connection] = set()
        #: The idle ones, and of each where it leads; that for longest stands first.
        self._idle: OrderedDict[Connection, Way] = OrderedDict()
        self._idle_to: dict[Way, dict[Connection, None]] = {}
        self._look: asyncio.TimerHandle | None = None
        self._all_lost = asyncio.Event()

    def made(self) -> Connection:
        """Return one that leads nowhere yet: a factory for the loop."""
        return Connection(self._loop, opened=self._open.add, lost=self._forget)

    def take(self, way: Way) -> Connection | None:
        """Return an idle one that may be used, if there is one."""
        idle = self._idle_to.get(way)
        if idle is None:
            return None
        now = self._loop.time()
        while idle:
            connection, _ = idle.popitem()
            del self._idle[connection]
            if now < connection.idle_until and connection.is_silent():
                break
            connection.close()
        else:
            connection = None
        if not idle:
            del self._idle_to[way]
        return connection

    def put(self, way: Way, connection: Connection) -> None:
        """Let a connection wait for the next request, or close it."""
        if not connection.may_be_used:
            connection.close()
            return
        seconds, said = self._idle_seconds, connection.idle_seconds
        if said is not None:
            seconds = min(seconds, max(said - _MARGIN_SECONDS, said / 2))
        connection.idle_until = self._loop.time() + seconds
        idle = self._idle_to.setdefault(way, {})
        self._idle[connection] = way
        idle[connection] = None
        if len(idle) > self._idle_of_one_max:
            self._drop(next(iter(idle)))
        elif len(self._idle) > self._idle_max:
            self._drop(next(iter(self._idle)))
        if self._look is None:
            self._look = self._loop.call_later(_LOOK_SECONDS, self._drop_old)

    def make_room(self) -> None:
        """Close all idle ones: this machine is out of what they hold."""
        for connection in list(self._idle):
            self._drop(connection)

    async def close(self) -> None:
        """End all of them; return when they have ended."""
        if self._look is not None:
            self._look.cancel()
        for connection in list(self._open):
            connection.abort()
        while self._open:
            self._all_lost.clear()
            await self._all_lost.wait()

    def _drop_old(self) -> None:
        now = self._loop.time()
        while self._idle:
            oldest = next(iter(self._idle))
            if now < oldest.idle_until:
                break
            self._drop(oldest)
        self._look = None
        if self._idle:
            self._look = self._loop.call_later(_LOOK_SECONDS, self._drop_old)

    def _drop(self, connection: Connection) -> None:
        self._forget_idle(connection)
        connection.close()

    def _forget(self, connection: Connection) -> None:
        """Hear that a connection has ended."""
        self._open.discard(connection)
        self._forget_idle(connection)
        if not self._open:
            self._all_lost.set()

    def _forget_idle(self, connection: Connection) -> None:
        way = self._idle.pop(connection, None)
        if way is not None:
            idle = self._idle_to[way]
            del idle[connection]
            if not idle:
                del self._idle_to[way]
