"""``/organizations/webhook-token``: what incoming webhooks must show (contract 1.3)."""

import secrets
from typing import Final
from uuid import UUID

import orjson
from aiohttp import web

from libs.common.access import Principal
from libs.common.db import borrow
from libs.common.errors import Fault, Malformed, NotFound
from libs.common.store import organizations
from services.ingest.answers import organizations as shapes
from services.ingest.http.changes import tell_changed
from services.ingest.http.errors import answer
from services.ingest.http.reading import POOL, SETTINGS, read_optional, whoever
from services.ingest.http.routing import Route
from services.ingest.requests.organizations import ClearWebhookToken

#: 24 random bytes are 32 characters of base64url.
_TOKEN_BYTES: Final = 24


def routes() -> list[Route]:
    """Return the routes; they stand before ``/organizations/{id}``."""
    return [
        Route(
            method="GET",
            path="/api/v1/organizations/webhook-token",
            handler=read,
            answers={200: shapes.WebhookToken},
            refusals=(403,),
        ),
        Route(
            method="POST",
            path="/api/v1/organizations/webhook-token/regenerate",
            handler=regenerate,
            answers={200: shapes.WebhookToken},
            refusals=(403,),
        ),
        Route(
            method="POST",
            path="/api/v1/organizations/webhook-token/clear",
            handler=clear,
            body=ClearWebhookToken,
            body_optional=True,
            answers={200: shapes.WebhookToken},
            refusals=(400, 403, 422),
        ),
    ]


async def read(request: web.Request) -> web.Response:
    """Return the token, null when there is none, and where webhooks go."""
    principal = await _keeper(request)
    async with borrow(request.app[POOL]) as conn:
        row = await organizations.read_organization(conn, id_=principal.organization_id)
    if row is None:
        raise NotFound("Resource not found")
    token = orjson.loads(row["settings"]).get("webhook_token")
    return answer(_shown(request, principal.organization_id, token))


async def regenerate(request: web.Request) -> web.Response:
    """Make a new token; the old one is refused from now on."""
    principal = await _keeper(request)
    token = f"whk_{secrets.token_urlsafe(_TOKEN_BYTES)}"
    return answer(await _put(request, principal, token))


async def clear(request: web.Request) -> web.Response:
    """Take the token away: until there is a new one nobody gets in by it.

    Not in production (D6), where nobody should be without one by mistake.
    """
    principal = await _keeper(request)
    asked = await read_optional(request, ClearWebhookToken)
    if not asked.confirm:
        raise Malformed(Fault("confirm", "must be true to clear it", "BAD_REQUEST"))
    if not request.app[SETTINGS].development:
        words = "cannot be cleared in production: regenerate it instead"
        raise Malformed(Fault("webhook_token", words, "BAD_REQUEST"))
    return answer(await _put(request, principal, None))


async def _put(
    request: web.Request, principal: Principal, token: str | None
) -> shapes.WebhookToken:
    async with borrow(request.app[POOL]) as conn:
        known = await organizations.put_webhook_token(
            conn, id_=principal.organization_id, token=token
        )
    if not known:
        raise NotFound("Resource not found")
    await tell_changed(request, principal.organization_id)
    return _shown(request, principal.organization_id, token)


def _shown(
    request: web.Request, organization_id: UUID, token: str | None
) -> shapes.WebhookToken:
    base = request.app[SETTINGS].external_url.rstrip("/")
    return {
        "webhook_token": token,
        "token": token,
        "webhook_url": f"{base}/api/v1/webhooks/{organization_id}/custom",
    }


async def _keeper(request: web.Request) -> Principal:
    """Return who asks, if they may look after the token."""
    principal = await whoever(request)
    principal.require_unrestricted()
    return principal
