"""Health, readiness and metrics of a process, on a port of their own."""

import asyncio
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from libs.common.settings import ServiceSettings

Check = Callable[[], Awaitable[bool]]


class Health:
    """What a process says when it is asked how it is.

    ``/health/live``   200 as long as the event loop turns
    ``/health/ready``  200 once the doors are open, until the process is asked to
                       stop, while every check holds; else 503
    ``/metrics``       Prometheus text; 401 without the token, when one is set
    """

    def __init__(
        self, stopping: asyncio.Event, *, metrics_token: str | None = None
    ) -> None:
        self._stopping = stopping
        self._metrics_token = metrics_token
        self._open = False
        self._checks: dict[str, Check] = {}
        self.port = 0

    def check(self, name: str, check: Check) -> None:
        """Be ready only while *check* says true."""
        self._checks[name] = check

    def open_doors(self) -> None:
        """Say from now on that the service takes work."""
        self._open = True

    async def failing(self) -> list[str]:
        """Return what keeps the service from being ready."""
        if self._stopping.is_set():
            return ["stopping"]
        if not self._open:
            return ["starting"]
        return [name for name, check in self._checks.items() if not await check()]

    def routes(self) -> list[web.RouteDef]:
        """Return the three routes, for whichever server is to answer them."""
        return [
            web.get("/health/live", self.live),
            web.get("/health/ready", self.ready),
            web.get("/metrics", self.metrics),
        ]

    async def live(self, _: web.Request) -> web.Response:
        """Say that the process runs: nothing, with 200."""
        return web.Response()

    async def ready(self, _: web.Request) -> web.Response:
        """Say whether the service takes work: nothing, or 503 and what is missing."""
        failing = await self.failing()
        return web.Response(
            status=503 if failing else 200, text="\n".join(failing) or None
        )

    async def metrics(self, request: web.Request) -> web.Response:
        """Return the figures of this process as Prometheus text.

        401 without the bearer token, when one is set.
        """
        if self._metrics_token is not None:
            given = request.headers.get("Authorization", "")
            wanted = f"Bearer {self._metrics_token}"
            if not hmac.compare_digest(
                given.encode("utf-8", "surrogateescape"), wanted.encode()
            ):
                return web.Response(status=401)
        return web.Response(
            body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )


@asynccontextmanager
async def open_health(
    settings: ServiceSettings, *, stopping: asyncio.Event
) -> AsyncIterator[Health]:
    """Answer on ``health_port`` until the block ends."""
    token = settings.metrics_token
    health = Health(stopping, metrics_token=token.get_secret_value() if token else None)
    app = web.Application()
    app.add_routes(health.routes())
    async with serve_http(
        app, host=settings.health_host, port=settings.health_port
    ) as port:
        health.port = port
        yield health


#: How long a connection may be without a whole request: between two of them, and from
#: its beginning.  Longer than the minute after which load balancers close their end.
_IDLE_SECONDS: Final = 75.0
#: How long open requests may take once a server is asked to stop.
_CLOSE_SECONDS: Final = 10.0


@asynccontextmanager
async def serve_http(
    app: web.Application,
    *,
    host: str,
    port: int,
    shared: bool = False,
    runs_in: type[web.AppRunner] = web.AppRunner,
) -> AsyncIterator[int]:
    """Serve *app* until the block ends; give the port it listens on.

    A *shared* port may have other processes listening, who share it as well: the kernel
    gives each connection to one of them.
    """
    runner = runs_in(
        app,
        access_log=None,
        handle_signals=False,
        keepalive_timeout=_IDLE_SECONDS,
        shutdown_timeout=_CLOSE_SECONDS,
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, backlog=1024, reuse_port=shared or None)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
