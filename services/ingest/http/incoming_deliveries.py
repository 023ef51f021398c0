"""``/webhooks/deliveries``: what came in (contract 1.11)."""

from typing import Final

from aiohttp import web

from libs.common.db import borrow
from libs.common.store import incoming
from services.ingest.answers import incoming as shapes
from services.ingest.http.paging import asked_part
from services.ingest.http.reading import POOL, moment, plain, whoever
from services.ingest.http.routing import Route
from services.ingest.requests.incoming import DeliveriesPage

_STATUSES: Final = ("created", "duplicate")


def routes() -> list[Route]:
    """Return the route."""
    return [
        Route(
            method="GET",
            path="/api/v1/webhooks/deliveries",
            handler=list_,
            query=DeliveriesPage,
            answers={200: list[shapes.IncomingDelivery]},
        )
    ]


async def list_(request: web.Request) -> web.Response:
    """Return the webhooks that came in and were believed, the latest first.

    They are kept for 30 days, without what was in them.
    """
    principal = await whoever(request)
    principal.require_unrestricted()
    part = asked_part(request, default=50)
    status = request.query.get("status")
    async with borrow(request.app[POOL]) as conn:
        rows = await incoming.list_deliveries(
            conn,
            organization_id=principal.organization_id,
            # A state there is not is ignored, not refused (contract 1.0, Pagination).
            status=status if status in _STATUSES else None,
            since=moment(request, "since"),
            queue_name=plain(request, "queue_name"),
            limit=part.limit,
            offset=part.offset,
        )
    return part.of(rows, shapes.incoming_delivery)
