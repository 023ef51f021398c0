"""``/organizations``: create one, look at it, and its signing secret."""

import hmac
from datetime import timedelta
from typing import Final

from aiohttp import web

from libs.common import founding
from libs.common.access import Principal, new_key
from libs.common.db import borrow
from libs.common.errors import Forbidden, NotFound
from libs.common.messages import OrganizationChanged
from libs.common.store import organizations, signing_secrets
from services.ingest.answers import organizations as shapes
from services.ingest.http.errors import answer
from services.ingest.http.reading import (
    BUS,
    POOL,
    SEALER,
    SETTINGS,
    id_in_path,
    read_body,
    read_optional,
    whoever,
)
from services.ingest.http.routing import Route
from services.ingest.requests.organizations import CreateOrganization, RotateSecret

_SECRET_BYTES: Final = 32


def routes() -> list[Route]:
    """Return the routes; fixed paths before ``/organizations/{id}``."""
    return [
        Route(method="POST", path="/api/v1/organizations", handler=create),
        Route(method="GET", path="/api/v1/organizations", handler=list_),
        Route(
            method="GET",
            path="/api/v1/organizations/signing-secret",
            handler=read_secret,
        ),
        Route(
            method="POST",
            path="/api/v1/organizations/signing-secret/rotate",
            handler=rotate_secret,
        ),
        Route(method="GET", path="/api/v1/organizations/{id}", handler=read),
    ]


async def create(request: web.Request) -> web.Response:
    """Create an organization with its first key and signing secret: 201."""
    _require_registration(request)
    asked = await read_body(request, CreateOrganization)
    key, digest = new_key()
    async with borrow(request.app[POOL]) as conn:
        founded = await founding.found(
            conn,
            sealer=request.app[SEALER],
            name=asked.name,
            slug=asked.slug,
            billing_email=asked.billing_email,
            plan_tier="free",
            key_sha256=digest,
            key_name="Initial Admin Key",
        )
    return answer(
        {
            "organization": shapes.organization(founded.organization),
            "api_key": {
                "id": str(founded.key["id"]),
                "key": key,
                "name": founded.key["name"],
                "created_at": founded.key["created_at"],
            },
        },
        status=201,
    )


async def list_(request: web.Request) -> web.Response:
    """Return the organizations of the key: its own."""
    principal = await whoever(request)
    async with borrow(request.app[POOL]) as conn:
        row = await organizations.read_organization(conn, id_=principal.organization_id)
    names = ("id", "name", "slug", "plan_tier", "created_at")
    shown = [shapes.organization(row)] if row else []
    return answer([{name: one[name] for name in names} for one in shown])


async def read(request: web.Request) -> web.Response:
    """Return the key's own organization; another's is not found."""
    principal = await whoever(request)
    if id_in_path(request) != principal.organization_id:
        raise NotFound("Resource not found")
    async with borrow(request.app[POOL]) as conn:
        row = await organizations.read_organization(conn, id_=principal.organization_id)
    if row is None:
        raise NotFound("Resource not found")
    return answer(shapes.organization(row))


async def read_secret(request: web.Request) -> web.Response:
    """Return the secrets that sign the organization's webhooks, newest first."""
    principal = await whoever(request)
    principal.require_unrestricted()
    return answer(await _secrets(request, principal))


async def rotate_secret(request: web.Request) -> web.Response:
    """Make a new signing secret; the old one signs on for the overlap."""
    principal = await whoever(request)
    principal.require_unrestricted()
    asked = await read_optional(request, RotateSecret)
    organization_id = principal.organization_id
    async with borrow(request.app[POOL]) as conn:
        await founding.new_secret(
            conn,
            sealer=request.app[SEALER],
            organization_id=organization_id,
            overlap=timedelta(seconds=asked.overlap_seconds),
        )
    await request.app[BUS].ring(
        OrganizationChanged(organization_id=str(organization_id))
    )
    return answer(await _secrets(request, principal))


async def _secrets(request: web.Request, principal: Principal) -> dict[str, object]:
    organization_id = principal.organization_id
    async with borrow(request.app[POOL]) as conn:
        found = await signing_secrets.current_secrets(
            conn, organization_ids=[organization_id]
        )
    shown = [
        {
            "signing_secret": founding.spelled(
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


def _require_registration(request: web.Request) -> None:
    """Raise `Forbidden` unless anybody may register or the admin key is given."""
    settings = request.app[SETTINGS]
    if settings.registration_mode == "open":
        return
    if settings.admin_key is None:
        raise Forbidden("Registration is closed, and no admin key is configured")
    given = request.headers.get("X-Admin-Key", "")
    wanted = settings.admin_key.get_secret_value()
    if not hmac.compare_digest(
        given.encode("utf-8", "surrogateescape"), wanted.encode()
    ):
        raise Forbidden("Registration is closed: X-Admin-Key is missing or wrong")
