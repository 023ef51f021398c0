"""``/endpoints/{id}/listen``: somebody receives an endpoint's webhooks on a WebSocket.

Whoever has no address connects to us instead.  A request for the endpoint comes over
the bus (`libs.common.listening`), goes down the socket, and what is answered there goes
back to the delivery pod that waits for it: so it is an attempt like any other.  Nothing
is kept here; who leaves, or is slow, was a receiver that did not answer.
"""

import asyncio
from base64 import b64encode
from collections import Counter
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

import aiohttp
import msgspec
from aiohttp import web

from libs.common.bus import Question
from libs.common.errors import BellhopError, Conflict, Fault, Malformed, Transient
from libs.common.ids import new_id
from libs.common.listening import HOST, URL, Answered, Passed, subject_of
from services.ingest.http.endpoints import ONE, endpoint_in_path
from services.ingest.http.manners import give_time
from services.ingest.http.reading import (
    BUS,
    KEYS,
    STOPPING,
    credential_of,
    id_in_path,
    whoever,
)
from services.ingest.http.routing import Route

#: How many listeners an organization may have at this process.
LISTENERS_MAX: Final = 20
#: How many requests may wait for one listener.
_WAITING_MAX: Final = 100
_HEARTBEAT_SECONDS: Final = 15.0
_RECHECK_SECONDS: Final = 2.0
#: Of a frame that a listener sends: an answer's beginning, in base64, with its headers.
_FRAME_BYTES_MAX: Final = 256 * 1024
_GROUP: Final = "listeners"

_OPEN: Final = web.AppKey("listeners", Counter[str])


class Told(msgspec.Struct, kw_only=True):
    """What a listener says: how its receiver answered a request, or why it did not."""

    id: str
    status: int | None = None
    headers: list[tuple[str, str]] = []
    body: bytes = b""
    error: str | None = None


def routes() -> list[Route]:
    """Return the route."""
    return [
        Route(
            method="GET",
            path=f"{ONE}/listen",
            handler=listen,
            answers={101: None},
            refusals=(400, 404, 409),
        )
    ]


async def listen(request: web.Request) -> web.StreamResponse:
    """Receive an endpoint's webhooks on a WebSocket, and answer them there.

    The endpoint's `url` must be `https://listen.bellhop.invalid/`, with any path. Each
    request is a message `{"id", "method", "path", "headers", "body", "seconds"}`, to be
    answered with `{"id", "status", "headers", "body"}` or `{"id", "error"}`; bodies are
    base64. Of several listeners each request goes to one.
    """
    principal = await whoever(request)
    row = await endpoint_in_path(request, principal)
    if urlsplit(row["url"]).hostname != HOST:
        raise Conflict(f"the endpoint's url must be {URL} for somebody to listen")
    socket = web.WebSocketResponse(
        compress=False, heartbeat=_HEARTBEAT_SECONDS, max_msg_size=_FRAME_BYTES_MAX
    )
    if not socket.can_prepare(request):
        raise Malformed(Fault("Upgrade", "must ask for a WebSocket", "BAD_REQUEST"))
    organization_id = str(principal.organization_id)
    open_ = request.app[_OPEN]
    if open_[organization_id] >= LISTENERS_MAX:
        raise Conflict(f"{LISTENERS_MAX} listen here already")
    give_time(request, None)
    open_[organization_id] += 1
    try:
        await socket.prepare(request)
        listener = Listener(request, socket)
        await listener.run(subject_of(organization_id, str(id_in_path(request))))
    finally:
        open_[organization_id] -= 1
        if not open_[organization_id]:
            del open_[organization_id]
    return socket


class Listener:
    """One connection of somebody who listens."""

    def __init__(self, request: web.Request, socket: web.WebSocketResponse) -> None:
        self._request = request
        self._socket = socket
        self._over = asyncio.Event()
        self._mailbox: asyncio.Queue[Question] = asyncio.Queue()
        self._waiting: dict[str, Question] = {}

    async def run(self, subject: str) -> None:
        """Pass requests and answers on until either end leaves."""
        async with asyncio.TaskGroup() as actors:
            bus = self._request.app[BUS]
            actors.create_task(
                bus.answer(
                    subject, self._mailbox.put_nowait, stopping=self._over, group=_GROUP
                )
            )
            others = [
                actors.create_task(self._ask()),
                actors.create_task(self._recheck()),
                actors.create_task(self._stop()),
            ]
            await self._hear()
            self._over.set()
            for task in others:
                task.cancel()
        while not self._mailbox.empty():
            await _fail(self._mailbox.get_nowait(), "who listened has left")
        for question in self._waiting.values():
            await _fail(question, "who listened has left")

    async def _ask(self) -> None:
        """Send each request down, until cancelled."""
        while True:
            question = await self._mailbox.get()
            if len(self._waiting) >= _WAITING_MAX:
                await _fail(question, "who listens has too much to answer")
                continue
            passed = msgspec.json.decode(question.data, type=Passed)
            id_ = str(new_id())
            self._waiting[id_] = question
            frame = {
                "id": id_,
                "method": passed.method,
                "path": passed.path,
                "headers": passed.headers,
                "body": b64encode(passed.body).decode(),
                "seconds": passed.seconds,
            }
            # Whoever leaves meanwhile is noticed by who hears.
            with suppress(ConnectionError):
                await self._socket.send_str(msgspec.json.encode(frame).decode())
            asyncio.get_running_loop().call_later(
                passed.seconds, self._waiting.pop, id_, None
            )

    async def _hear(self) -> None:
        """Hand answers on until the socket is closed."""
        async for message in self._socket:
            if message.type not in {aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY}:
                continue
            try:
                told = msgspec.json.decode(message.data, type=Told)
            except msgspec.DecodeError:
                await self._close(aiohttp.WSCloseCode.UNSUPPORTED_DATA)
                return
            question = self._waiting.pop(told.id, None)
            if question is None:
                continue
            answered = Answered(
                status=told.status,
                headers=told.headers,
                body=told.body[: Answered.BODY_BYTES_MAX],
                error=told.error and told.error[:500],
            )
            await question.answer(msgspec.json.encode(answered))

    async def _recheck(self) -> None:
        """End it when the credential opens this no more, until cancelled."""
        keys = self._request.app[KEYS]
        while True:
            await asyncio.sleep(_RECHECK_SECONDS)
            try:
                principal = await keys.principal(credential_of(self._request))
                principal.require_unrestricted()
            except Transient:
                continue
            except BellhopError:
                await self._close(aiohttp.WSCloseCode.POLICY_VIOLATION)
                return

    async def _stop(self) -> None:
        await self._request.app[STOPPING].wait()
        await self._close(aiohttp.WSCloseCode.GOING_AWAY)

    async def _close(self, code: int) -> None:
        await self._socket.close(code=code)


async def _fail(question: Question, error: str) -> None:
    await question.answer(msgspec.json.encode(Answered(error=error)))


def opened(app: web.Application) -> None:
    """Let *app* know who listens."""
    app[_OPEN] = Counter()
