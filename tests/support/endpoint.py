"""A customer's server: it records what it gets and answers as the test tells it."""

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ssl import SSLContext

import standardwebhooks
from aiohttp import web
from multidict import CIMultiDictProxy

from libs.cli.embedded.ports import free_port
from tests.support.waiting import until


@dataclass(frozen=True, slots=True)
class Received:
    """A request as it came in."""

    method: str
    path: str
    headers: CIMultiDictProxy[str]
    body: bytes
    #: `time.monotonic` when the body was complete.
    at: float

    @property
    def id(self) -> str:
        """The ``webhook-id``: the same for every attempt of a job."""
        return self.headers["webhook-id"]

    def verify(self, secret: str) -> None:
        """Check the signature as a stranger would; raises if it is not right."""
        standardwebhooks.Webhook(secret).verify(self.body, dict(self.headers))


@dataclass(frozen=True, slots=True)
class Answer:
    """What to say, and how long to think first."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_seconds: float = 0.0


class _Hang:
    """Never answer, and keep the connection open."""

    def __repr__(self):
        return "HANG"


class _Drop:
    """Close the connection without an answer."""

    def __repr__(self):
        return "DROP"


HANG = _Hang()
DROP = _Drop()

#: A status, a whole answer, a way not to answer, or whatever a function says.
Fixed = int | Answer | _Hang | _Drop
Plan = Fixed | Callable[[Received], Fixed | Awaitable[Fixed]]


class Endpoint:
    """Takes any request; ``answers`` are used up in order, then ``otherwise`` holds."""

    def __init__(self, port: int, *, secure: bool = False) -> None:
        self.port = port
        # Certificates are of names.
        self._origin = "https://localhost" if secure else "http://127.0.0.1"
        self.requests: list[Received] = []
        self.answers: list[Plan] = []
        self.otherwise: Plan = 200
        #: How many requests are being answered right now.
        self.under_way = 0
        self._closing = asyncio.Event()

    @property
    def url(self) -> str:
        """A target on this server; others are `url_of` another path."""
        return self.url_of("/webhook")

    def url_of(self, path: str) -> str:
        """Return the URL of *path*; every path is answered."""
        return f"{self._origin}:{self.port}{path}"

    @property
    def ids(self) -> list[str]:
        """The ``webhook-id`` of every request, in order of arrival."""
        return [request.id for request in self.requests]

    async def received(self, count: int, *, at_most: float = 10.0) -> list[Received]:
        """Wait for *count* requests in all, and return them."""

        def enough() -> bool:
            assert len(self.requests) >= count, f"{len(self.requests)} of {count}"
            return True

        await until(enough, at_most=at_most)
        return self.requests

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Record a request and answer it as planned."""
        body = await request.read()
        received = Received(
            method=request.method,
            path=request.path_qs,
            headers=request.headers,
            body=body,
            at=time.monotonic(),
        )
        self.requests.append(received)
        self.under_way += 1
        try:
            return await self._answer(request, received)
        finally:
            self.under_way -= 1

    async def _answer(
        self, request: web.Request, received: Received
    ) -> web.StreamResponse:
        plan = self.answers.pop(0) if self.answers else self.otherwise
        fixed = plan(received) if callable(plan) else plan
        if inspect.isawaitable(fixed):
            fixed = await fixed
        match fixed:
            case _Hang():
                await self._closing.wait()
                return web.Response()
            case _Drop():
                assert request.transport is not None
                request.transport.abort()
                return web.Response()
            case Answer():
                if fixed.delay_seconds:
                    await self._think(fixed.delay_seconds)
                return web.Response(
                    status=fixed.status, body=fixed.body, headers=fixed.headers
                )
            case _:
                return web.Response(status=fixed)

    async def _think(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._closing.wait()
        except TimeoutError:
            pass

    def close(self) -> None:
        """Let go of those that hang."""
        self._closing.set()


@asynccontextmanager
async def run_endpoint(
    *, port: int | None = None, tls: SSLContext | None = None
) -> AsyncIterator[Endpoint]:
    """Run a customer's server on *port*, or on a free one, until the block ends."""
    endpoint = Endpoint(port or free_port(), secure=tls is not None)
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_route("*", "/{path:.*}", endpoint.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(
        runner, "127.0.0.1", endpoint.port, backlog=1024, ssl_context=tls
    )
    await site.start()
    try:
        yield endpoint
    finally:
        endpoint.close()
        await runner.cleanup()
