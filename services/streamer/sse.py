"""Event streams over HTTP (Server-Sent Events): ``GET /api/v1/events…``.

WHATWG HTML, section 9.2; what clients expect of us is contract 3.3.  A stream is one
coroutine that writes what the client missed to its connection; what comes then the
feed writes there itself (`Watcher.open`), and the coroutine waits.  It ends when the
client leaves, when the credential does, when the client reads too slowly, after half
an hour, or when the process stops; whoever ends it interrupts whatever it waits for.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from aiohttp import HttpVersion11, web

from services.streamer import frames
from services.streamer.asking import since_of, topic_of, wish_of
from services.streamer.frames import Frame
from services.streamer.hall import Hall
from services.streamer.marks import Mark
from services.streamer.watcher import Watcher
from services.streamer.wishes import Topic, Wish

#: How long a client that we send away has to take our last word.
_FAREWELL_SECONDS: Final = 5.0
_HEADERS: Final = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-cache",
    # Proxies that buffer would turn "as it happens" into "later, all at once".
    "X-Accel-Buffering": "no",
}


class EventStreams:
    """Answers the routes; one call is one stream."""

    def __init__(self, hall: Hall) -> None:
        self._hall = hall

    def routes(self) -> list[web.RouteDef]:
        """Return the routes; a stream has no HEAD."""
        return [
            web.get("/api/v1/events", self.events, allow_head=False),
            web.get("/api/v1/events/queues/{name}", self.queue, allow_head=False),
            web.get("/api/v1/events/jobs/{id}", self.job, allow_head=False),
        ]

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Stream the events that the credential may see and the query asks for.

        Raises `Unauthorized`, `Forbidden`, `Malformed`, `Unavailable` and
        `TooManyStreams` before the first byte; nothing after it.
        """
        return await self._stream(request, wish_of(request))

    async def queue(self, request: web.Request) -> web.StreamResponse:
        """Stream what happens in one queue, and how it stands; raises like `events`."""
        topic = topic_of(request.match_info["name"], request.query.get("job_id"))
        wish = replace(_only(wish_of(request), topic), of_queue=True)
        return await self._stream(request, wish)

    async def job(self, request: web.Request) -> web.StreamResponse:
        """Stream how a job stands, and what happens to it until it ends.

        Raises like `events`.  Who comes back for more of a job that has ended, and has
        seen it all, gets 204: a browser stops asking then.
        """
        topic = topic_of(None, request.match_info["id"])
        wish = replace(_only(wish_of(request), topic), until_end=True)
        since = since_of(request)
        hall = self._hall
        watcher = await hall.admit(request, wish, "sse")
        async with hall.place(watcher):
            mark = since if isinstance(since, Mark) else None
            view = await hall.replay.view_job(watcher, topic.job_id or "", mark)
            if view is not None and view.has_ended and not view.told:
                return web.Response(status=204)
            stream = _Stream(hall, request, watcher)
            async with watcher.presence(seconds_max=hall.settings.stream_seconds_max):
                await stream.open(None)
                if view is None:
                    watcher.end("unknown", "Job not found")
                else:
                    await stream.write(view.told)
                    if not view.has_ended:
                        await stream.catch_up(Mark(view.position))
                        await stream.go_on()
        return await stream.take_leave()

    async def _stream(self, request: web.Request, wish: Wish) -> web.StreamResponse:
        since = since_of(request)
        hall = self._hall
        watcher = await hall.admit(request, wish, "sse")
        stream = _Stream(hall, request, watcher)
        async with (
            hall.place(watcher),
            watcher.presence(seconds_max=hall.settings.stream_seconds_max),
        ):
            if since is None:
                hall.feed.join(watcher)
                await stream.open(hall.mark_of(watcher))
            else:
                await stream.open(None)
                await stream.catch_up(since)
            await stream.go_on()
        return await stream.take_leave()


@dataclass(slots=True)
class _Stream:
    """One response, and whose it is."""

    hall: Hall
    request: web.Request
    watcher: Watcher
    response: web.StreamResponse | None = None
    has_ended: bool = False

    async def open(self, mark: str | None) -> None:
        """Begin; who has seen nothing yet can go on from *mark*."""
        self.response = web.StreamResponse(headers=_HEADERS)
        # Who was sent away is gone: the connection ends with the stream.
        self.response.force_close()
        await self.response.prepare(self.request)
        await self.response.write(frames.comment("connected", mark))

    async def write(self, told: Sequence[Frame]) -> None:
        """Write frames as the client wants them, up to the last of a job."""
        if self.response is None or not told:
            return
        named = self.watcher.wish.named
        data = b"".join([frame.named if named else frame.unnamed for frame in told])
        self.has_ended = told[-1].is_last
        if data:
            await self.response.write(data)

    async def catch_up(self, since: Mark | datetime | str) -> None:
        """Write what was missed; the watcher has joined then."""
        async for page in self.hall.missed(self.watcher, since):
            await self.write(page)

    async def go_on(self) -> None:
        """Let what comes be written until interrupted, or until the client is gone."""
        seconds = self.hall.settings.ping_seconds
        transport = self.request.transport
        if transport is None or self.has_ended:
            return
        self.watcher.open(transport)
        while self.request.transport is not None:
            quiet = time.monotonic() - self.watcher.told_at
            if quiet >= seconds:
                data = frames.comment("ping", self.hall.mark_of(self.watcher))
                self.watcher.write(self.spelled(data))
                quiet = 0.0
            await asyncio.sleep(seconds - quiet)

    def spelled(self, data: bytes) -> bytes:
        """Return *data* as the connection carries it."""
        return frames.chunk(data) if self.request.version >= HttpVersion11 else data

    async def take_leave(self) -> web.StreamResponse:
        """Say why, and close; a client that does not even take that is cut off."""
        transport, response = self.request.transport, self.response
        if response is None:
            return web.Response(status=503)
        if transport is None:
            return response
        try:
            async with asyncio.timeout(_FAREWELL_SECONDS):
                if self.watcher.farewell is not None:
                    await self.write([frames.error(self.watcher.farewell)])
                await response.write_eof()
        except (TimeoutError, ConnectionError):
            transport.abort()
        return response


def _only(wish: Wish, topic: Topic) -> Wish:
    return replace(wish, topics=frozenset({topic}))
