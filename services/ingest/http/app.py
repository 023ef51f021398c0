"""The REST application: all routes, in the order in which they are matched."""

from datetime import UTC, datetime
from typing import Final

import orjson
from aiohttp import web

from libs.common.health import Health
from services.ingest.http import (
    admin,
    admin_statistics,
    asyncapi,
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
from services.ingest.http.errors import translated
from services.ingest.http.manners import MANNERS, Manners
from services.ingest.http.reading import SETTINGS
from services.ingest.http.routing import ROUTES, add_routes
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
    add_routes(app, upkeep.routes(health, development=settings.development))
    for resource in _RESOURCES:
        add_routes(app, resource.routes())
    if settings.streamer_url:
        app.cleanup_ctx.append(streams.opened)
        add_routes(app, streams.routes())
    add_routes(app, [*openapi.routes(), *asyncapi.routes(), *documentation.routes()])
    document = openapi.document(app[ROUTES])
    app[openapi.DOCUMENT] = orjson.dumps(document)
    app[asyncapi.DOCUMENT] = orjson.dumps(asyncapi.document(document))
    app[documentation.PAGE] = documentation.page(document)
    return app
