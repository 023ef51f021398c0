"""Bodies of requests: small ones are read at once, large ones while there is room.

A large body, and what is read out of it, is kept until its request is answered.  Many
clients at once could fill the memory with them, so those that come when the room is
taken wait in line, unread: their connections stand still meanwhile.  Who waits too long
is told to come again.  One organization has at most half of the room, and so have all
together who have not said who they are: however slowly they send, others get through.
"""

import asyncio
from collections import Counter
from typing import Final
from uuid import UUID

from aiohttp import hdrs, web

from libs.common.errors import Unavailable
from services.ingest.settings import BODIES_BYTES_MAX, BODY_BYTES_MAX

#: What every connection may keep unread anyway.
_SMALL_BYTES: Final = 64 * 1024
_PATIENCE_SECONDS: Final = 5.0

#: Whose body it is, and what room it has.
_HELD: Final = web.RequestKey("held", tuple[UUID | None, int])


class Bodies:
    """The room for large bodies that are being worked on, in bytes."""

    def __init__(
        self,
        *,
        bytes_max: int = BODIES_BYTES_MAX,
        patience_seconds: float = _PATIENCE_SECONDS,
    ) -> None:
        self._left = bytes_max
        self._each_max: Final = bytes_max // 2
        self._patience_seconds: Final = patience_seconds
        self._held: Counter[UUID | None] = Counter()
        #: Who waits, in the order in which they came.
        self._waiting: dict[asyncio.Future[None], tuple[UUID | None, int]] = {}

    async def read(self, request: web.Request, *, owner: UUID | None) -> bytes:
        """Return the whole body; it has its room until `leave`.

        *owner* is the organization, or None when that is not known.  Raises
        `Unavailable` when there was no room for too long, and aiohttp's 413.
        """
        size = _size(request)
        if size > _SMALL_BYTES and _HELD not in request:
            await self._take(owner, size)
            request[_HELD] = owner, size
        return await request.read()

    def leave(self, request: web.Request) -> None:
        """Let others have the room of a request that is answered."""
        held = request.get(_HELD)
        if held is not None:
            self._give_back(*held)

    async def _take(self, owner: UUID | None, size: int) -> None:
        if not self._waiting and self._has_room(owner, size):
            self._hold(owner, size)
            return
        entered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[entered] = owner, size
        # Its own may be all that those before it wait for.
        self._let_in()
        try:
            async with asyncio.timeout(self._patience_seconds):
                await entered
        except (asyncio.CancelledError, TimeoutError) as error:
            if self._waiting.pop(entered, None) is None:
                # Let in at the moment of leaving.
                self._give_back(owner, size)
            if isinstance(error, TimeoutError):
                raise Unavailable("too many large requests at once") from error
            raise

    def _has_room(self, owner: UUID | None, size: int) -> bool:
        return size <= self._left and self._held[owner] + size <= self._each_max

    def _hold(self, owner: UUID | None, size: int) -> None:
        self._left -= size
        self._held[owner] += size

    def _give_back(self, owner: UUID | None, size: int) -> None:
        self._left += size
        self._held[owner] -= size
        if not self._held[owner]:
            del self._held[owner]
        self._let_in()

    def _let_in(self) -> None:
        for entered, (owner, size) in list(self._waiting.items()):
            if size > self._left:
                break
            if not entered.done() and self._has_room(owner, size):
                self._hold(owner, size)
                del self._waiting[entered]
                entered.set_result(None)


def _size(request: web.Request) -> int:
    """Return how many bytes a body may turn out to have."""
    if hdrs.CONTENT_ENCODING in request.headers or request.content_length is None:
        return BODY_BYTES_MAX if request.can_read_body else 0
    return min(request.content_length, BODY_BYTES_MAX)


BODIES: Final = web.AppKey("bodies", Bodies)
