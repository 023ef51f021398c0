"""``/organizations/signing-secret``: what signs the webhooks we send."""

from datetime import timedelta

from aiohttp import web

from libs.common import founding, keys
from libs.common.access import Principal
from libs.common.db import borrow
from libs.common.errors import NotFound
from libs.common.store import signing_secrets
from services.ingest.answers import organizations as shapes
from services.ingest.http.changes import tell_changed
from services.ingest.http.errors import answer
from services.ingest.http.reading import POOL, SEALER, read_optional, whoever
from services.ingest.http.routing import Route
from services.ingest.requests.organizations import RotateSecret


def routes() -> list[Route]:
    """Return the routes; they stand before ``/organizations/{id}``."""
    return [
        Route(
            method="GET",
            path="/api/v1/organizations/signing-secret",
            handler=read,
            answers={200: shapes.SigningSecrets},
            refusals=(403, 404),
        ),
        Route(
            method="POST",
            path="/api/v1/organizations/signing-secret/rotate",
            handler=rotate,
            body=RotateSecret,
            body_optional=True,
            answers={200: shapes.SigningSecrets},
            refusals=(400, 403, 404, 422),
        ),
    ]


async def read(request: web.Request) -> web.Response:
    """Return the secrets that sign the organization's webhooks, newest first."""
    principal = await whoever(request)
    principal.require_unrestricted()
    return answer(await _secrets(request, principal))


async def rotate(request: web.Request) -> web.Response:
    """Make a new signing secret; the old one signs on for the overlap."""
    principal = await whoever(request)
    principal.require_unrestricted()
    asked = await read_optional(request, RotateSecret)
    async with borrow(request.app[POOL]) as conn:
        await founding.new_secret(
            conn,
            sealer=request.app[SEALER],
            organization_id=principal.organization_id,
            overlap=timedelta(seconds=asked.overlap_seconds),
        )
    await tell_changed(request, principal.organization_id)
    return answer(await _secrets(request, principal))


async def _secrets(request: web.Request, principal: Principal) -> shapes.SigningSecrets:
    organization_id = principal.organization_id
    async with borrow(request.app[POOL]) as conn:
        found = await signing_secrets.current_secrets(
            conn, organization_ids=[organization_id]
        )
    shown: list[shapes.SigningSecret] = [
        {
            "signing_secret": keys.spelled_secret(
                request.app[SEALER].unseal(one.sealed, owner=str(organization_id))
            ),
            "created_at": one.created_at,
            "expires_at": one.expires_at,
        }
        for one in found[organization_id]
    ]
    if not shown:
        raise NotFound("Resource not found")
    newest, *previous = shown
    return {**newest, "previous": previous}
