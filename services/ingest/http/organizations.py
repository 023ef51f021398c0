"""``/organizations``: create one, look at it, change it, close it (contract 1.3)."""

import orjson
from aiohttp import web

from libs.common import founding
from libs.common.access import Principal, new_key
from libs.common.db import borrow
from libs.common.errors import Conflict, NotFound
from libs.common.store import organizations
from services.ingest.answers import keys as key_shapes
from services.ingest.answers import organizations as shapes
from services.ingest.http.changes import tell_changed
from services.ingest.http.errors import answer
from services.ingest.http.reading import (
    POOL,
    SEALER,
    SETTINGS,
    id_in_path,
    read_body,
    whoever,
)
from services.ingest.http.registration import require_registration
from services.ingest.http.routing import Route
from services.ingest.requests.organizations import (
    ChangeOrganization,
    CreateOrganization,
)


def routes() -> list[Route]:
    """Return the routes; fixed paths stand before ``/organizations/{id}``."""
    return [
        Route(
            method="POST",
            path="/api/v1/organizations",
            handler=create,
            body=CreateOrganization,
            headers={"X-Admin-Key": "the admin key, while registration is closed"},
            answers={201: shapes.NewOrganization},
            refusals=(400, 403, 409, 422),
            access="anybody",
        ),
        Route(
            method="GET",
            path="/api/v1/organizations",
            handler=list_,
            answers={200: list[shapes.OrganizationSummary]},
        ),
        Route(
            method="GET",
            path="/api/v1/organizations/{id}",
            handler=read,
            answers={200: shapes.Organization},
            refusals=(404,),
        ),
        Route(
            method="PUT",
            path="/api/v1/organizations/{id}",
            handler=change,
            body=ChangeOrganization,
            answers={200: shapes.Organization},
            refusals=(400, 403, 404, 409, 422),
        ),
        Route(
            method="DELETE",
            path="/api/v1/organizations/{id}",
            handler=close,
            answers={204: None},
            refusals=(403, 404, 409),
        ),
    ]


async def create(request: web.Request) -> web.Response:
    """Create an organization on the free plan, with its first key and signing secret.

    The key is shown this once.  Whether anybody may do so is up to the operator.
    """
    require_registration(request)
    asked = await read_body(request, CreateOrganization)
    key, digest = new_key(request.app[SETTINGS].api_key_prefix)
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
    shown: shapes.NewOrganization = {
        "organization": shapes.organization(founded.organization),
        "api_key": key_shapes.new_key(founded.key, secret=key),
    }
    return answer(shown, status=201)


async def list_(request: web.Request) -> web.Response:
    """Return the organizations of the key: its own."""
    principal = await whoever(request)
    async with borrow(request.app[POOL]) as conn:
        row = await organizations.read_organization(conn, id_=principal.organization_id)
    return answer([shapes.summary(row)] if row else [])


async def read(request: web.Request) -> web.Response:
    """Return the key's own organization; another's is not found."""
    principal = await whoever(request)
    require_own(request, principal)
    async with borrow(request.app[POOL]) as conn:
        row = await organizations.read_organization(conn, id_=principal.organization_id)
    if row is None:
        raise NotFound("Resource not found")
    return answer(shapes.organization(row))


async def change(request: web.Request) -> web.Response:
    """Change the organization; null or absent keeps what is there.

    Settings replace what is there, except the webhook token.
    """
    principal = await whoever(request)
    require_own(request, principal)
    principal.require_unrestricted()
    asked = await read_body(request, ChangeOrganization)
    settings = asked.settings
    async with borrow(request.app[POOL]) as conn:
        row = await organizations.change_organization(
            conn,
            id_=principal.organization_id,
            name=asked.name,
            billing_email=asked.billing_email,
            settings=None if settings is None else orjson.dumps(settings).decode(),
        )
    if row is None:
        raise NotFound("Resource not found")
    await tell_changed(request, principal.organization_id)
    return answer(shapes.organization(row))


async def close(request: web.Request) -> web.Response:
    """Close the organization: its keys are revoked, and nobody acts for it any more.

    Refused while it has jobs that are not over or workers that live.
    """
    principal = await whoever(request)
    require_own(request, principal)
    principal.require_unrestricted()
    async with borrow(request.app[POOL]) as conn:
        by_jobs, by_workers = await organizations.is_in_use(
            conn, id_=principal.organization_id
        )
        if by_jobs or by_workers:
            busy = "jobs" if by_jobs else "workers"
            raise Conflict(f"Organization has active {busy}")
        await organizations.close_organization(conn, id_=principal.organization_id)
    await tell_changed(request, principal.organization_id)
    return web.Response(status=204)


def require_own(request: web.Request, principal: Principal) -> None:
    """Raise `NotFound` when the path names somebody else's organization."""
    if id_in_path(request) != principal.organization_id:
        raise NotFound("Resource not found")
