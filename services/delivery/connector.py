"""Connections: guarded, counted, used again, and cut when too much comes of them.

The library bounds the lines of an answer's head, and how much of its body is read
ahead.  What it does not bound is what comes besides: interim answers (1xx) without
end, extensions of chunks, trailers, or a second answer that nobody asked for, which
would be taken for that to the next request.  A `Line` does.
"""

import asyncio
import select
import time
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import HttpProcessingError

from services.delivery.metrics import CONNECTIONS

if TYPE_CHECKING:
    from aiohttp.client import ClientTimeout
    from aiohttp.client_reqrep import ClientRequest
    from aiohttp.tracing import Trace

#: How much an answer may take on the wire besides its body.  What costs us most, by the
#: byte, is all in there.
AROUND_BYTES_MAX: Final = 64 * 1024
#: How much is heard before somebody looks whether it is too much.
_SLICE_BYTES: Final = 32 * 1024
#: How many interim answers may come before the answer.
INTERIM_MAX: Final = 16

#: How often idle connections are counted, when there may be too many.
_COUNT_SECONDS: Final = 1.0

_INTERIM: Final = range(100, 200)
_SWITCHING: Final = 101

#: What a socket has to tell when it is not silent; errors are always told.
_NEWS: Final = select.POLLIN | select.POLLHUP | select.POLLERR


class Line(ResponseHandler):
    """One connection: it hears one answer to each request, and not without end."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._requests = 0
        self._is_cut = False
        self._heard = 0
        self._interim = 0
        self._answered = False

    def set_response_params(self, **params: Any) -> None:
        """Begin to hear an answer."""
        self._requests += 1
        if self._requests == 1:
            CONNECTIONS.new += 1
        else:
            CONNECTIONS.reused += 1
        self._heard = 0
        self._interim = 0
        self._answered = False
        super().set_response_params(**params)

    def is_connected(self) -> bool:
        """Tell whether something may be asked here; the connector asks before use.

        Where nothing was asked there is nothing to be heard, but that the other end
        has gone.  The loop may not have come to hear it yet.
        """
        if self.transport is None or self.transport.is_closing():
            return False
        poll = select.poll()
        poll.register(self.transport.get_extra_info("socket"), _NEWS)
        return not poll.poll(0)

    def data_received(self, data: bytes) -> None:
        """Hear more, unless it is too much, or nothing was asked."""
        if len(data) > _SLICE_BYTES:
            for start in range(0, len(data), _SLICE_BYTES):
                self.data_received(data[start : start + _SLICE_BYTES])
            return
        if self._is_cut:
            return
        if self._answered and data and self._is_idle():
            self._cut()
            return
        super().data_received(data)
        self._heard += len(data)
        if self._heard > AROUND_BYTES_MAX:
            payload = self._payload
            body_bytes = 0 if payload is None else payload.total_bytes
            if self._heard - body_bytes > AROUND_BYTES_MAX:
                self._cut()

    def feed_data(self, data: Any, size: int = 0) -> None:
        """Take a head, unless it is one too many."""
        if self._is_cut:
            return
        if self._answered:
            self._cut()
            return
        code = data[0].code
        if code in _INTERIM and code != _SWITCHING:
            self._interim += 1
            if self._interim > INTERIM_MAX:
                self._cut()
                return
        else:
            self._answered = True
        super().feed_data(data, size)

    def _is_idle(self) -> bool:
        return self._payload is None or self._payload.is_eof()

    def _cut(self) -> None:
        self._is_cut = True
        error = HttpProcessingError(message="more than an answer")
        if self._payload is not None and not self._payload.is_eof():
            self._payload.set_exception(aiohttp.ClientPayloadError(), error)
        if self._exception is None:
            self.set_exception(error)
        if self.transport is not None:
            self.transport.abort()


class Connector(aiohttp.TCPConnector):
    """Keeps connections for the next request to the same receiver.

    At most *idle_max*, give or take a second: then those are closed that have been
    idle for longest.
    """

    def __init__(self, *, idle_max: int, **knobs: Any) -> None:
        super().__init__(limit=0, **knobs)  # the slots are the limit
        self._factory = partial(  # type: ignore[assignment]
            Line, loop=asyncio.get_running_loop()
        )
        self._idle_max = idle_max
        self._idle = 0
        self._counted_at = 0.0

    async def _create_connection(
        self,
        req: "ClientRequest",
        traces: "list[Trace]",
        timeout: "ClientTimeout",  # noqa: ASYNC109 - the library's
    ) -> ResponseHandler:
        # Only now there is one more.  How many of them are idle, or gone, is counted
        # when it matters.
        self._idle += 1
        if self._idle > self._idle_max:
            now = time.monotonic()
            if now - self._counted_at > _COUNT_SECONDS:
                self._counted_at = now
                self._close_idle()
        return await super()._create_connection(req, traces, timeout)

    def _close_idle(self) -> None:
        """Count what is idle, and close a quarter of it if it is too much."""
        self._idle = sum(map(len, self._conns.values()))
        if self._idle <= self._idle_max:
            return
        idle = sorted(
            ((since, key) for key, kept in self._conns.items() for _, since in kept),
            key=itemgetter(0),
        )
        for _, key in idle[: self._idle - self._idle_max * 3 // 4]:
            # The one that has been there for longest stands first.
            protocol, _ = self._conns[key].popleft()
            protocol.close()
            self._idle -= 1
            if not self._conns[key]:
                del self._conns[key]
