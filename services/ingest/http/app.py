"""The REST application: all routes, in the order in which they are matched."""

from aiohttp import web

from libs.common.health import Health
from services.ingest.http import (
    dead_letters,
    jobs,
    keys,
    organizations,
    queues,
    streams,
)
from services.ingest.http.errors import answer, translated
from services.ingest.http.reading import SETTINGS
from services.ingest.http.routing import ROUTES, add_routes
from services.ingest.settings import BODY_BYTES_MAX, Settings


def build(settings: Settings, health: Health) -> web.Application:
    """Return the application; its resources are put in by whoever opens them."""
    app = web.Application(middlewares=[translated], client_max_size=BODY_BYTES_MAX)
    app[SETTINGS] = settings
    app[ROUTES] = []

    async def say_health(_: web.Request) -> web.Response:
        failing = await health.failing()
        return answer(
            {
                "status": "degraded" if failing else "healthy",
                "database": "postgres" not in failing,
                # There is no cache that could be away (contract D26).
                "cache": True,
                "bus": "nats" not in failing,
            }
        )

    app.add_routes([web.get("/health", say_health), *health.routes()])
    for resource in (dead_letters, jobs, queues, keys, organizations):
        add_routes(app, resource.routes())
    if settings.streamer_url:
        app.cleanup_ctx.append(streams.opened)
        app.router.add_get("/api/v1/events", streams.pass_on)
        app.router.add_get("/api/v1/events/{rest:.+}", streams.pass_on)
    return app
