"""``GET /api/v1/events``: the event stream over HTTP (Server-Sent Events).

WHATWG HTML, section 9.2; what clients expect of us is contract 3.3.  A stream is one
coroutine that takes from its `Watcher` and writes to its connection.  It ends when the
client leaves, when the credential does, when the client reads too slowly, after half an
hour, or when the process stops; whoever ends it interrupts whatever it waits for.
"""

import asyncio
import re
from typing import Final

import structlog
from aiohttp import web

from libs.common.access import KeyRing
from libs.common.errors import (
    Fault,
    Malformed,
    Transient,
    Unauthorized,
    Unavailable,
)
from libs.common.ids import parse_id
from services.streamer import frames
from services.streamer.feed import Feed, Watcher, Wish
from services.streamer.following import Following
from services.streamer.frames import NAMES
from services.streamer.settings import Settings

log = structlog.get_logger()

#: How long a client that we send away has to take our last word.
_FAREWELL_SECONDS: Final = 5.0
_FILTER: Final = re.compile(r"[A-Za-z0-9._-]{1,100}")
_HEADERS: Final = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-cache",
    # Proxies that buffer would turn "as it happens" into "later, all at once".
    "X-Accel-Buffering": "no",
}
_BY_TYPE: Final = {kind.value: name for kind, name in NAMES.items()}


class Streams:
    """Answers the route; one call of `events` is one stream."""

    def __init__(
        self,
        settings: Settings,
        *,
        feed: Feed,
        following: Following,
        keys: KeyRing,
        stopping: asyncio.Event,
    ) -> None:
        self._settings = settings
        self._feed = feed
        self._following = following
        self._keys = keys
        self._stopping = stopping

    def routes(self) -> list[web.RouteDef]:
        """Return the routes; a stream has no HEAD."""
        return [web.get("/api/v1/events", self.events, allow_head=False)]

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Stream the events that the credential may see and the query asks for.

        Raises `Unauthorized`, `Forbidden`, `Malformed`, `Unavailable` and
        `TooManyStreams` before the first byte; nothing after it.
        """
        credential = credential_of(request)
        principal = await self._keys.principal(credential)
        wish = wish_of(request)
        if wish.queue_name is not None:
            principal.require(wish.queue_name)
        watcher = Watcher(
            principal, wish, bytes_max=self._settings.stream_buffer_bytes_max
        )
        response = web.StreamResponse(headers=_HEADERS)
        if self._stopping.is_set():
            raise Unavailable("stopping")
        with self._feed.watching(watcher):
            await self._following.begin()
            await self._until_ended(watcher, credential, request, response)
        await self._take_leave(watcher, request, response)
        return response

    async def _until_ended(
        self,
        watcher: Watcher,
        credential: str,
        request: web.Request,
        response: web.StreamResponse,
    ) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._settings.stream_seconds_max) as patience:
                watcher.interrupt = lambda: (
                    None if patience.expired() else patience.reschedule(loop.time())
                )
                try:
                    await response.prepare(request)
                    await response.write(frames.CONNECTED)
                    await self._pour(watcher, credential, request, response)
                finally:
                    # A timeout that is over cannot be moved any more.
                    watcher.interrupt = _nothing
        except TimeoutError:
            watcher.end("lifetime")
        except ConnectionError:
            watcher.end("left")

    async def _pour(
        self,
        watcher: Watcher,
        credential: str,
        request: web.Request,
        response: web.StreamResponse,
    ) -> None:
        """Write what comes until interrupted or until the client is gone."""
        loop = asyncio.get_running_loop()
        settings = self._settings
        quiet_since = checked_at = loop.time()
        while request.transport is not None:
            chunk = await watcher.take(at_most_seconds=settings.recheck_seconds)
            now = loop.time()
            if not chunk and now - quiet_since >= settings.ping_seconds:
                chunk = frames.PING
            if now - checked_at >= settings.recheck_seconds:
                checked_at = now
                if not await self._still_may(watcher, credential):
                    return
            if chunk:
                quiet_since = now
                await response.write(chunk)

    async def _still_may(self, watcher: Watcher, credential: str) -> bool:
        """Check the credential again, and what it may see now.

        While Postgres is away the last answer stands.
        """
        try:
            principal = await self._keys.principal(credential)
        except Unauthorized as error:
            watcher.end("revoked", str(error))
            return False
        except Transient as error:
            log.debug("stream.recheck_postponed", cause=str(error))
            return True
        watcher.principal = principal
        queue = watcher.wish.queue_name
        if queue is not None and not principal.may(queue):
            watcher.end("revoked", f"No permission for queue '{queue}' any more")
            return False
        return True

    async def _take_leave(
        self, watcher: Watcher, request: web.Request, response: web.StreamResponse
    ) -> None:
        """Say why, and close; a client that does not even take that is cut off."""
        transport = request.transport
        if transport is None or not response.prepared:
            return
        try:
            async with asyncio.timeout(_FAREWELL_SECONDS):
                if watcher.farewell is not None:
                    last = frames.error(watcher.farewell)
                    named = watcher.wish.named
                    await response.write(last.named if named else last.unnamed)
                await response.write_eof()
        except (TimeoutError, ConnectionError):
            transport.abort()


def _nothing() -> None:
    """Interrupt nobody: the stream waits for nothing any more."""


def credential_of(request: web.Request) -> str:
    """Return the credential; raises `Unauthorized`.

    Browsers cannot set headers on a stream, so that here, and only here, it may also
    stand in the query (decision D13).
    """
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    for given in (
        request.headers.get("X-API-Key"),
        request.query.get("token"),
        request.query.get("api_key"),
    ):
        if given:
            return given
    raise Unauthorized("Missing or invalid Authorization header")


def wish_of(request: web.Request) -> Wish:
    """Return what the query asks for; raises `Malformed`.

    A name of an event that we do not know matches nothing: it may be tomorrow's.
    """
    query = request.query
    queue_name = _filter_of(query.get("queue"), "queue")
    job_id = _filter_of(query.get("job_id"), "job_id")
    parsed = parse_id(job_id) if job_id else None
    names: frozenset[str] | None = None
    if asked := query.get("events"):
        parts = [part.strip() for part in asked.split(",") if part.strip()]
        if "*" not in parts:
            for part in parts:
                _filter_of(part, "events")
            names = frozenset(_BY_TYPE.get(part, part) for part in parts)
    return Wish(
        queue_name=queue_name,
        job_id=str(parsed) if parsed else job_id,
        names=names,
        named=query.get("named", "").lower() in {"1", "true", "yes"},
    )


def _filter_of(text: str | None, field: str) -> str | None:
    if not text:
        return None
    if not _FILTER.fullmatch(text):
        raise Malformed(
            Fault(field, "must be 1-100 letters, digits, dashes, underscores or dots")
        )
    return text
