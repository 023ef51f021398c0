"""The REST application: all routes, in the order in which they are matched."""

from datetime import UTC, datetime
from typing import Final, NamedTuple

import orjson
from aiohttp import web

from libs.common.health import Health
from services.ingest.http import (
    admin,
    admin_statistics,
    asyncapi,
    audit,
    auth,
    billing,
    claims,
    dashboard,
    dead_letters,
    dependencies,
    documentation,
    endpoint_attempts,
    endpoint_secrets,
    endpoint_tests,
    endpoints,
    explanations,
    incoming,
    incoming_deliveries,
    incoming_sources,
    jobs,
    keys,
    listeners,
    listing,
    members,
    messages,
    openapi,
    organizations,
    outgoing_webhooks,
    priorities,
    queues,
    replays,
    resending,
    schedule_runs,
    schedules,
    signing_secrets,
    slugs,
    statistics,
    streams,
    usage,
    webhook_tokens,
    work,
    workers,
    workflow_intake,
    workflows,
)
from services.ingest.http import health as upkeep
from services.ingest.http.bodies import BODIES, Bodies
from services.ingest.http.errors import translated
from services.ingest.http.manners import MANNERS, Manners
from services.ingest.http.reading import SETTINGS
from services.ingest.http.routing import ROUTES, Route, add_routes
from services.ingest.settings import BODY_BYTES_MAX, Settings

#: What there is to ask about, in the order in which it is matched.
_RESOURCES: Final = (
    auth,
    dead_letters,
    statistics,
    listing,
    jobs,
    dependencies,
    explanations,
    priorities,
    resending,
    queues,
    schedule_runs,
    schedules,
    workers,
    workflow_intake,
    workflows,
    keys,
    endpoints,
    endpoint_secrets,
    endpoint_tests,
    endpoint_attempts,
    listeners,
    messages,
    replays,
    slugs,
    webhook_tokens,
    incoming,
    incoming_sources,
    incoming_deliveries,
    signing_secrets,
    usage,
    outgoing_webhooks,
    organizations,
    members,
    admin,
    admin_statistics,
    dashboard,
    billing,
    claims,
    work,
)


def build(settings: Settings, health: Health) -> web.Application:
    """Return the application; its resources are put in by whoever opens them."""
    app = web.Application(middlewares=[translated], client_max_size=BODY_BYTES_MAX)
    app[SETTINGS] = settings
    app[ROUTES] = []
    app[dashboard.STARTED_AT] = datetime.now(UTC)
    app[MANNERS] = Manners(settings)
    app[BODIES] = Bodies()
    listeners.opened(app)
    add_routes(app, upkeep.routes(health, development=settings.development))
    for resource in _RESOURCES:
        add_routes(app, resource.routes())
    if settings.streamer_url:
        app.cleanup_ctx.append(streams.opened)
        add_routes(app, streams.routes())
        app.add_routes(streams.pages())
    else:
        add_routes(app, documentation.door())
    add_routes(app, [*openapi.routes(), *asyncapi.routes(), *documentation.routes()])
    app[audit.AUDITED] = audit.audited(app[ROUTES])
    described = _described(app[ROUTES])
    app[openapi.DOCUMENT] = described.openapi
    app[asyncapi.DOCUMENT] = described.asyncapi
    app[documentation.PAGE] = described.page
    return app


class _Described(NamedTuple):
    """What is told of some routes."""

    openapi: bytes
    asyncapi: bytes
    page: bytes


#: By method and path: the same routes are told of in the same words.
_known: Final[dict[tuple[tuple[str, str], ...], _Described]] = {}


def _described(routes: list[Route]) -> _Described:
    """Describe *routes*; a process that builds them again does it once."""
    names = tuple((route.method, route.template) for route in routes)
    if names not in _known:
        document = openapi.document(routes)
        _known[names] = _Described(
            orjson.dumps(document),
            orjson.dumps(asyncapi.document(document)),
            documentation.page(document),
        )
    return _known[names]
