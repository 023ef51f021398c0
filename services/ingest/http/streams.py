"""What the streamer serves, passed on to it: one base URL serves everything.

The real-time routes of the API, and the dashboard's pages, which are no part of it.

Used when ``BELLHOP_STREAMER_URL`` is set; behind a proxy that routes by path it is not.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Final

import aiohttp
from aiohttp import web

from services.ingest.http.errors import refusal
from services.ingest.http.manners import MANNERS, give_time
from services.ingest.http.reading import SETTINGS, STOPPING
from services.ingest.http.routing import Route
from services.ingest.requests.events import (
    EventsQuery,
    JobEventsQuery,
    QueueEventsQuery,
    SocketQuery,
)

SESSION: Final = web.AppKey("streams", aiohttp.ClientSession)
_CONNECT_SECONDS: Final = 5.0
#: How long the streamer may take to begin an answer: less than this process to stop.
_ANSWER_SECONDS: Final = 10.0
_CLOSE_SECONDS: Final = 5.0
#: How often either end of a WebSocket is asked whether it is there.
_HEARTBEAT_SECONDS: Final = 30.0
#: How soon a client that left gives up its place at the streamer.
_LOOK_SECONDS: Final = 1.0
#: Headers that belong to one connection, not to the message (RFC 9110, section 7.6.1).
_HOP: Final = frozenset(
    [
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "host",
        "content-length",
        # Who may read an answer of this door is up to its own settings.
        "access-control-allow-origin",
    ]
)


_End = web.WebSocketResponse | aiohttp.ClientWebSocketResponse


def routes() -> list[Route]:
    """Return the routes; the streamer says what is behind them."""
    return [
        *(
            Route(
                method="GET",
                path=path,
                handler=handler,
                query=query,
                headers={"Last-Event-ID": "The id of the last event that was seen."},
                answers={200: str},
                media_type="text/event-stream",
            )
            for path, handler, query in (
                ("/api/v1/events", all_events, EventsQuery),
                ("/api/v1/events/queues/{name}", queue_events, QueueEventsQuery),
                ("/api/v1/events/jobs/{id}", job_events, JobEventsQuery),
            )
        ),
        Route(
            method="GET",
            path="/api/v1/ws",
            handler=socket,
            query=SocketQuery,
            answers={101: None},
        ),
    ]


#: Where the dashboard is; it reads the rest of the address itself.
PAGES: Final = ("/", "/dashboard", "/dashboard/{rest:.*}")


def pages() -> list[web.RouteDef]:
    """Return the routes of the dashboard."""
    return [web.get(path, _pass_on) for path in PAGES]


async def opened(app: web.Application) -> AsyncIterator[None]:
    """Hold the session to the streamer for as long as the application runs."""
    async with aiohttp.ClientSession(
        auto_decompress=False,
        # Who does not say what they can unpack gets nothing packed.
        skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent"),
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS),
    ) as session:
        app[SESSION] = session
        yield


async def all_events(request: web.Request) -> web.StreamResponse:
    """Stream what happens, as it happens (``text/event-stream``).

    The credential may also stand in the query, as ``token`` or ``api_key``: browsers
    cannot give a header here.
    """
    return await _pass_on(request)


async def queue_events(request: web.Request) -> web.StreamResponse:
    """Stream what happens in one queue."""
    return await _pass_on(request)


async def job_events(request: web.Request) -> web.StreamResponse:
    """Stream how a job stands, and what happens to it until it ends."""
    return await _pass_on(request)


async def socket(request: web.Request) -> web.StreamResponse:
    """Open a WebSocket that tells what happens, and takes subscriptions."""
    give_time(request, None)
    near = web.WebSocketResponse(
        compress=False, heartbeat=_HEARTBEAT_SECONDS, timeout=_CLOSE_SECONDS
    )
    if not near.can_prepare(request):
        return await _pass_on(request)
    base = request.app[SETTINGS].streamer_url
    try:
        far = await request.app[SESSION].ws_connect(
            f"{base}{request.rel_url}",
            headers={
                name: value
                for name, value in _onward(request.headers).items()
                if not name.lower().startswith("sec-websocket-")
            },
            heartbeat=_HEARTBEAT_SECONDS,
        )
    except aiohttp.WSServerHandshakeError:
        # Asked without the upgrade, it says why.
        return await _pass_on(request)
    except (aiohttp.ClientError, TimeoutError):
        return refusal(503, "SERVICE_UNAVAILABLE", "The event streams are away")
    async with far:
        await near.prepare(request)
        await _join(near, far, request.app[STOPPING])
    return near


async def _join(
    near: web.WebSocketResponse,
    far: aiohttp.ClientWebSocketResponse,
    stopping: asyncio.Event,
) -> None:
    """Carry messages both ways until one end closes; the other is closed alike.

    Both are closed when this door closes.
    """
    carrying = [
        asyncio.create_task(_carry(near, far)),
        asyncio.create_task(_carry(far, near)),
        asyncio.create_task(_until(stopping)),
    ]
    try:
        await asyncio.wait(carrying, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in carrying:
            task.cancel()
        await asyncio.gather(*carrying, return_exceptions=True)
        code = far.close_code or near.close_code or aiohttp.WSCloseCode.OK
        if stopping.is_set():
            code = aiohttp.WSCloseCode.GOING_AWAY
        with suppress(ConnectionError, TimeoutError):
            await far.close()
            await near.close(code=code)


async def _until(stopping: asyncio.Event) -> None:
    await stopping.wait()


async def _carry(source: _End, sink: _End) -> None:
    async for message in source:
        if message.type is aiohttp.WSMsgType.TEXT:
            await sink.send_str(message.data)
        elif message.type is aiohttp.WSMsgType.BINARY:
            await sink.send_bytes(message.data)


async def _pass_on(request: web.Request) -> web.StreamResponse:
    # Streams end by themselves, or with this door: their clients come again.
    give_time(request, None)
    stopping = request.app[STOPPING]
    base = request.app[SETTINGS].streamer_url
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            upstream = await request.app[SESSION].get(
                f"{base}{request.rel_url}",
                headers=_onward(request.headers),
                allow_redirects=False,
            )
    except (aiohttp.ClientError, TimeoutError):
        return refusal(503, "SERVICE_UNAVAILABLE", "The streamer is away")
    async with upstream:
        response = web.StreamResponse(
            status=upstream.status,
            headers=_onward(upstream.headers),
        )
        request.app[MANNERS].dress(request, response)
        try:
            await response.prepare(request)
            while not upstream.content.at_eof() and _is_there(request):
                if stopping.is_set():
                    break
                try:
                    chunk = await asyncio.wait_for(
                        upstream.content.readany(), _LOOK_SECONDS
                    )
                except TimeoutError:
                    continue
                await response.write(chunk)
            await response.write_eof()
        except (aiohttp.ClientError, ConnectionError, asyncio.IncompleteReadError):
            # Either end left; the client connects again.
            return response
        return response


def _onward(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that are the message's, and not the connection's."""
    return {k: v for k, v in headers.items() if k.lower() not in _HOP}


def _is_there(request: web.Request) -> bool:
    """Return whether the client still listens."""
    return request.transport is not None and not request.transport.is_closing()
