"""``/organizations/usage``: how much of the plan is used (contract 1.3)."""

from aiohttp import web

from libs.common.db import borrow
from libs.common.store import usage
from services.ingest.answers.usage import UsageInfo, usage_info
from services.ingest.http.errors import answer
from services.ingest.http.reading import POOL, whoever
from services.ingest.http.routing import Route


def routes() -> list[Route]:
    """Return the route; it stands before ``/organizations/{id}``."""
    return [
        Route(
            method="GET",
            path="/api/v1/organizations/usage",
            handler=read,
            answers={200: UsageInfo},
            refusals=(403,),
        )
    ]


async def read(request: web.Request) -> web.Response:
    """Return the organization's plan, and how much of it is used."""
    principal = await whoever(request)
    principal.require_unrestricted()
    async with borrow(request.app[POOL]) as conn:
        used = await usage.read(
            conn,
            organization_id=principal.organization_id,
            counted=not principal.plan.unlimited,
        )
    return answer(usage_info(principal.plan, used))
