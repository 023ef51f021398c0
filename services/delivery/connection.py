"""One connection to a receiver: a request is written once, and one answer is heard.

Nothing is written ahead of a receiver that does not read: a large body goes out in
pieces, each when the last one has almost left.  What comes when nothing was asked is
no answer to the next request: the connection ends.
"""

import asyncio
import select
import ssl
from collections.abc import Callable
from typing import Final, cast

from services.delivery.answer import Answer, Reader
from services.delivery.failures import (
    CLOSED,
    MALFORMED,
    NoAnswer,
    NoRoom,
    not_secured,
)

#: How much of a body is written at once, and how much waits for the system to take it.
_PIECE_BYTES: Final = 64 * 1024

#: What a socket has to tell when it is not silent; errors are always told.
_NEWS: Final = select.POLLIN | select.POLLHUP | select.POLLERR


class Connection(asyncio.Protocol):
    """Makes requests, one after the other; tells *opened* and *lost* of itself."""

    __slots__ = (
        "_loop",
        "_lost",
        "_opened",
        "_paused",
        "_poll",
        "_reader",
        "_rest",
        "_transport",
        "_waiter",
        "_why",
        "idle_until",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        opened: Callable[["Connection"], None],
        lost: Callable[["Connection"], None],
    ) -> None:
        self._loop = loop
        self._opened = opened
        self._lost = lost
        self._reader = Reader()
        self._transport: asyncio.Transport | None = None
        self._poll = select.poll()
        self._waiter: asyncio.Future[Answer] | None = None
        #: What remains to be written of a body, and whether that has to wait.
        self._rest: memoryview | None = None
        self._paused = False
        #: Why there will be no answer any more.
        self._why: NoAnswer | NoRoom | TimeoutError = NoAnswer(CLOSED)
        #: Until when another request may be made here, while it is idle.
        self.idle_until = 0.0

    def ask(self, head: bytes, body: bytes) -> asyncio.Future[Answer]:
        """Write a request; the answer is in what is returned, or why there is none."""
        waiter = self._waiter = self._loop.create_future()
        transport = self._transport
        if transport is None or transport.is_closing():
            self._fail(self._why)
            return waiter
        self._reader.expect()
        if len(body) <= _PIECE_BYTES:
            transport.write(head + body)
        else:
            transport.write(head)
            self._rest = memoryview(body)
            self._write_on()
        return waiter

    @property
    def may_be_used(self) -> bool:
        """Whether another request may be made here, after an answer."""
        transport = self._transport
        return (
            self._reader.keeps
            and self._reader.whole
            and transport is not None
            and not transport.is_closing()
        )

    @property
    def idle_seconds(self) -> float | None:
        """For how long the receiver says that it waits for another request."""
        return self._reader.idle_seconds

    def is_silent(self) -> bool:
        """Tell whether nothing was heard since the last answer, the end included.

        The loop may not have come to hear it yet.
        """
        transport = self._transport
        return (
            transport is not None
            and not transport.is_closing()
            and not self._poll.poll(0)
        )

    def time_out(self) -> None:
        """Give up on the answer: its time is over."""
        self._fail(TimeoutError())
        self.abort()

    def close(self) -> None:
        """End the connection; politely, when nothing is under way."""
        if self._transport is None:
            return
        if self._reader.keeps and self._reader.whole:
            self._transport.close()
        else:
            self._transport.abort()

    def abort(self) -> None:
        """End the connection now."""
        if self._transport is not None:
            self._transport.abort()

    def give_up(self) -> None:
        """End one that nobody waits for any more.

        When that is decided in the moment in which it was made, uvloop closes it and
        never tells that it was lost.
        """
        self.abort()
        self._lost(self)

    # --- what the loop tells -------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=_PIECE_BYTES)
        self._poll.register(transport.get_extra_info("socket"), _NEWS)
        self._opened(self)

    def data_received(self, data: bytes) -> None:
        """Hear a part of the answer, or what nobody has asked for."""
        if self._waiter is None:
            self._fail(NoAnswer(MALFORMED))
            self.abort()
            return
        try:
            if self._reader.feed(data):
                self._answer()
        except NoAnswer as why:
            self._fail(why)
            self.abort()

    def eof_received(self) -> None:
        """Hear that no more will come: some answers end like that."""
        self._end(cleanly=True)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        if isinstance(exc, ssl.SSLError):
            # Who wants a certificate of ours says so after the handshake.
            self._fail(not_secured(exc))
        else:
            self._end(cleanly=exc is None)
        self._transport = None
        self._rest = None
        self._reader.close()
        self._lost(self)

    def pause_writing(self) -> None:
        """Write no more for now."""
        self._paused = True

    def resume_writing(self) -> None:
        """Write on."""
        self._paused = False
        self._write_on()

    # -------------------------------------------------------------------------------

    def _write_on(self) -> None:
        transport = self._transport
        while self._rest is not None and not self._paused and transport is not None:
            piece, rest = self._rest[:_PIECE_BYTES], self._rest[_PIECE_BYTES:]
            self._rest = rest or None
            transport.write(piece)

    def _answer(self) -> None:
        waiter, self._waiter = self._waiter, None
        if self._rest is not None or self._written_is_waiting():
            # Answered before it was all said: what is left would be no request.
            self._reader.keeps = False
        if waiter is not None and not waiter.done():
            waiter.set_result(self._reader.answer())

    def _written_is_waiting(self) -> bool:
        transport = self._transport
        return transport is not None and transport.get_write_buffer_size() > 0

    def _end(self, *, cleanly: bool) -> None:
        if self._waiter is None:
            return
        try:
            self._reader.end(cleanly=cleanly)
            self._answer()
        except NoAnswer as why:
            self._fail(why)

    def _fail(self, why: NoAnswer | NoRoom | TimeoutError) -> None:
        self._why = why
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_exception(why)
