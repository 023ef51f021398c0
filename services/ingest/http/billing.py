"""``/billing``: the plan; there is no billing provider (contract 1.12)."""

from aiohttp import web

from libs.common.db import borrow
from libs.common.errors import Fault, Malformed, NotFound
from libs.common.store import organizations
from services.ingest.answers import billing as shapes
from services.ingest.http.errors import answer
from services.ingest.http.reading import POOL, read_body, stranger, whoever
from services.ingest.http.routing import Route
from services.ingest.requests.billing import OpenPortal


def routes() -> list[Route]:
    """Return the routes."""
    return [
        Route(
            method="GET",
            path="/api/v1/billing/status",
            handler=read,
            answers={200: shapes.BillingStatus},
        ),
        Route(
            method="POST",
            path="/api/v1/billing/portal",
            handler=open_portal,
            body=OpenPortal,
            answers={},
            refusals=(400, 403, 422),
        ),
        Route(
            method="POST",
            path="/api/v1/billing/webhook",
            handler=hear_provider,
            answers={},
            refusals=(404,),
            access="anybody",
        ),
    ]


async def read(request: web.Request) -> web.Response:
    """Return the organization's plan; what a billing provider would know is null."""
    principal = await whoever(request)
    async with borrow(request.app[POOL]) as conn:
        row = await organizations.read_organization(conn, id_=principal.organization_id)
    if row is None:
        raise NotFound("Resource not found")
    return answer(shapes.status(row))


async def open_portal(request: web.Request) -> web.Response:
    """Refuse: without a billing provider there is no portal to open."""
    principal = await whoever(request)
    principal.require_unrestricted()
    await read_body(request, OpenPortal)
    raise Malformed(Fault("billing", "billing is not configured", "BAD_REQUEST"))


async def hear_provider(request: web.Request) -> web.Response:
    """Refuse: without a billing provider nobody has anything to say here."""
    stranger(request)
    raise NotFound("Resource not found")
