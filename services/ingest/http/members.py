"""``/organizations/{id}/members``: whose keys open the organization (contract 1.3)."""

from functools import partial

from aiohttp import web

from libs.common.db import borrow
from libs.common.errors import NotFound
from libs.common.store import api_keys, organizations
from services.ingest.answers import organizations as shapes
from services.ingest.http.organizations import require_own
from services.ingest.http.paging import asked_part
from services.ingest.http.reading import POOL, whoever
from services.ingest.http.routing import Route
from services.ingest.requests.fields import Page


def routes() -> list[Route]:
    """Return the route."""
    return [
        Route(
            method="GET",
            path="/api/v1/organizations/{id}/members",
            handler=list_,
            query=Page,
            answers={200: list[shapes.Member]},
            refusals=(403, 404),
        )
    ]


async def list_(request: web.Request) -> web.Response:
    """Return the organization's active API keys, oldest first, as its members."""
    principal = await whoever(request)
    require_own(request, principal)
    principal.require_unrestricted()
    part = asked_part(request)
    async with borrow(request.app[POOL]) as conn:
        row = await organizations.read_organization(conn, id_=principal.organization_id)
        keys = await api_keys.list_active(
            conn,
            organization_id=principal.organization_id,
            limit=part.limit,
            offset=part.offset,
        )
    if row is None:
        raise NotFound("Resource not found")
    return part.of(keys, partial(shapes.member, email=row["billing_email"]))
