"""The real-time routes, passed on to the streamer: one base URL serves everything.

Used when ``BELLHOP_STREAMER_URL`` is set; behind a proxy that routes by path it is not.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import aiohttp
from aiohttp import web

from services.ingest.http.errors import refusal
from services.ingest.http.manners import MANNERS, give_time
from services.ingest.http.reading import SETTINGS
from services.ingest.http.routing import Route
from services.ingest.requests.events import EventsQuery

SESSION: Final = web.AppKey("streams", aiohttp.ClientSession)
_CONNECT_SECONDS: Final = 5.0
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
    ]
)


def routes() -> list[Route]:
    """Return the route; the streamer says what is behind it."""
    return [
        Route(
            method="GET",
            path="/api/v1/events",
            handler=pass_on,
            query=EventsQuery,
            answers={200: str},
            media_type="text/event-stream",
        )
    ]


async def opened(app: web.Application) -> AsyncIterator[None]:
    """Hold the session to the streamer for as long as the application runs."""
    async with aiohttp.ClientSession(
        auto_decompress=False,
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS),
    ) as session:
        app[SESSION] = session
        yield


async def pass_on(request: web.Request) -> web.StreamResponse:
    """Stream what happens, as it happens (``text/event-stream``).

    The credential may also stand in the query, as ``token`` or ``api_key``: browsers
    cannot give a header here.
    """
    # Streams end by themselves.
    give_time(request, None)
    base = request.app[SETTINGS].streamer_url
    headers = {
        name: value
        for name, value in request.headers.items()
        if name.lower() not in _HOP
    }
    try:
        upstream = await request.app[SESSION].get(
            f"{base}{request.rel_url}", headers=headers, allow_redirects=False
        )
    except (aiohttp.ClientError, TimeoutError):
        return refusal(503, "SERVICE_UNAVAILABLE", "The event streams are away")
    async with upstream:
        response = web.StreamResponse(
            status=upstream.status,
            headers={
                name: value
                for name, value in upstream.headers.items()
                if name.lower() not in _HOP
            },
        )
        request.app[MANNERS].dress(request, response)
        try:
            await response.prepare(request)
            while not upstream.content.at_eof() and _is_there(request):
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


def _is_there(request: web.Request) -> bool:
    """Return whether the client still listens."""
    return request.transport is not None and not request.transport.is_closing()
