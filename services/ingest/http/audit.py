"""Who did what to what guards something: a line in the log for each, done or refused.

That is what makes keys, shows or changes secrets, says where webhooks go, sends again
what was sent, or changes an organization.  A line names the route, who asked, from
where, and what became of it; nothing of what was sent or answered stands in it.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import structlog
from aiohttp import web

from services.ingest.http.rates import client_address
from services.ingest.http.reading import SETTINGS, known_principal
from services.ingest.http.routing import Handler, Route

log: structlog.stdlib.BoundLogger = structlog.get_logger()

#: The routes that are told of, by their handlers.
AUDITED: Final = web.AppKey("audited", Mapping[Handler, Route])

#: What the routes are about of which every change is told.
_GUARDED: Final = frozenset(
    {
        "admin",
        "dead_letters",
        "endpoint_secrets",
        "endpoints",
        "incoming_sources",
        "keys",
        "organizations",
        "outgoing_webhooks",
        "queues",
        "replays",
        "resending",
        "signing_secrets",
        "webhook_tokens",
    }
)
#: What shows a secret that is in use.
_REVEALING: Final = frozenset({"signing_secrets_read", "webhook_tokens_read"})


def audited(routes: list[Route]) -> Mapping[Handler, Route]:
    """Return which of *routes* are told of, by their handlers."""
    return {
        route.handler: route
        for route in routes
        if (route.module in _GUARDED and route.method != "GET")
        or route.name in _REVEALING
    }


def tell(request: web.Request, status: int, request_id: str) -> None:
    """Tell of a request that was answered, if its route is one of those.

    Not of who is nobody we know: there is no end to those, and nothing came of it.
    """
    route = request.app[AUDITED].get(request.match_info.handler)
    if route is None:
        return
    principal = known_principal(request)
    if principal is None and status >= HTTPStatus.BAD_REQUEST:
        return
    log.info(
        "request.audited",
        route=route.name,
        of=dict(request.match_info),
        status=status,
        organization_id=principal and str(principal.organization_id),
        api_key_id=principal and str(principal.api_key_id),
        by="key" if principal is not None else route.access,
        client=client_address(request, request.app[SETTINGS]),
        request_id=request_id,
    )
