"""The WebSocket: ``GET /api/v1/ws`` (contract 3.2).

The frames of the event stream, one a message, with their mark as the member ``id``; and
commands from the client, which widen or narrow what it is told.  One coroutine reads,
another writes what was missed, and signs of life; what happens is written by the feed
(`Watcher.open`).  The socket ends like an event stream does, but not after half an
hour.

Messages are not compressed: a compressor for each of thousands of sockets would take
more memory than all else, for messages of a few hundred bytes.  Any origin may connect:
the credential is never a cookie (`asking.credential_of`), so there is nobody whose
browser could be made to ask on their behalf.
"""

import asyncio
from datetime import datetime
from typing import Final

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web

from libs.common.errors import Fault, Forbidden, Malformed
from services.streamer import frames
from services.streamer.asking import since_of, topic_of, wish_of
from services.streamer.hall import Hall
from services.streamer.marks import Mark
from services.streamer.watcher import Watcher

_FAREWELL_SECONDS: Final = 5.0
#: A command is two names.
_COMMAND_BYTES_MAX: Final = 16 * 1024
_CODES: Final = {
    "revoked": WSCloseCode.POLICY_VIOLATION,
    "stopping": WSCloseCode.GOING_AWAY,
    "slow": WSCloseCode.TRY_AGAIN_LATER,
    "unavailable": WSCloseCode.TRY_AGAIN_LATER,
}


class _Command(msgspec.Struct):
    cmd: str
    queue: str | None = None
    job_id: str | None = None


_COMMANDS: Final = msgspec.json.Decoder(_Command)


class WebSockets:
    """Answers the route; one call is one socket."""

    def __init__(self, hall: Hall) -> None:
        self._hall = hall

    def routes(self) -> list[web.RouteDef]:
        """Return the route."""
        return [web.get("/api/v1/ws", self.socket, allow_head=False)]

    async def socket(self, request: web.Request) -> web.StreamResponse:
        """Tell what the query and the commands ask for, until somebody ends it.

        Raises `Unauthorized`, `Forbidden`, `Malformed`, `Unavailable` and
        `TooManyStreams` instead of becoming a WebSocket.
        """
        wish, since = wish_of(request), since_of(request)
        watcher = await self._hall.admit(request, wish, "websocket")
        socket = web.WebSocketResponse(
            compress=False,
            heartbeat=self._hall.settings.websocket_ping_seconds,
            max_msg_size=_COMMAND_BYTES_MAX,
            timeout=_FAREWELL_SECONDS,
        )
        if not socket.can_prepare(request):
            raise Malformed(Fault("Upgrade", "must be websocket"))
        async with self._hall.place(watcher):
            await socket.prepare(request)
            async with watcher.presence(seconds_max=None):
                await self._serve(request, socket, watcher, since)
        await _take_leave(socket, watcher, request)
        return socket

    async def _serve(
        self,
        request: web.Request,
        socket: web.WebSocketResponse,
        watcher: Watcher,
        since: Mark | datetime | str | None,
    ) -> None:
        writing = asyncio.create_task(self._write(request, socket, watcher, since))
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    self._obey(watcher, message.data)
        finally:
            # Nothing may be written behind the closing message.
            watcher.shut()
            writing.cancel()
            [outcome] = await asyncio.gather(writing, return_exceptions=True)
        if isinstance(outcome, Exception) and not isinstance(outcome, ConnectionError):
            raise outcome

    async def _write(
        self,
        request: web.Request,
        socket: web.WebSocketResponse,
        watcher: Watcher,
        since: Mark | datetime | str | None,
    ) -> None:
        """Write what was missed, and then what comes; a sign of life now and then."""
        if since is None:
            self._hall.feed.join(watcher)
            await socket.send_str(frames.ping(self._hall.mark_of(watcher)).text)
        else:
            await socket.send_str(frames.ping(None).text)
            async for page in self._hall.missed(watcher, since):
                for frame in page:
                    await socket.send_str(frame.text)
        if request.transport is not None:
            watcher.open(request.transport)
        while True:
            await asyncio.sleep(self._hall.settings.websocket_ping_seconds)
            watcher.offer([frames.ping(self._hall.mark_of(watcher))])

    def _obey(self, watcher: Watcher, text: str) -> None:
        """Carry a command out; what is none of ours is passed over."""
        try:
            command = _COMMANDS.decode(text)
        except (msgspec.DecodeError, RecursionError):
            return
        verb = command.cmd.lower()
        try:
            if verb == "ping":
                watcher.offer([frames.ping(self._hall.mark_of(watcher))])
            elif verb == "subscribe":
                with self._hall.feed.changing(watcher):
                    watcher.widen(topic_of(command.queue, command.job_id))
            elif verb == "unsubscribe":
                with self._hall.feed.changing(watcher):
                    watcher.narrow(topic_of(command.queue, command.job_id))
        except (Forbidden, Malformed) as error:
            watcher.offer([frames.error(str(error))])


async def _take_leave(
    socket: web.WebSocketResponse, watcher: Watcher, request: web.Request
) -> None:
    """Say why, and close; a client that does not even take that is cut off."""
    transport = request.transport
    code = _CODES.get(watcher.ended_because or "", WSCloseCode.OK)
    try:
        async with asyncio.timeout(_FAREWELL_SECONDS):
            if not socket.closed and watcher.farewell is not None:
                await socket.send_str(frames.error(watcher.farewell).text)
            await socket.close(code=code)
    except (TimeoutError, ConnectionError):
        if transport is not None:
            transport.abort()
