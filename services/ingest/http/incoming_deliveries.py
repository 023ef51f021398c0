"""``/webhooks/deliveries``: what came in (contract 1.11)."""

from typing import Final

from aiohttp import web

from libs.common.db import borrow
from libs.common.store import incoming
from services.ingest.answers import incoming as shapes
from services.ingest.http.errors import answer
from services.ingest.http.reading import POOL, moment, number, plain, whoever
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
    limit = number(request, "limit", default=50, least=1, most=100)
    status = request.query.get("status")
    async with borrow(request.app[POOL]) as conn:
        rows = await incoming.list_deliveries(
            conn,
            organization_id=principal.organization_id,
            # A state there is not is ignored, not refused (contract 1.0, Pagination).
            status=status if status in _STATUSES else None,
            since=moment(request, "since"),
            queue_name=plain(request, "queue_name"),
            limit=limit + 1,
            offset=number(request, "offset", default=0, least=0, most=2**31 - 1),
        )
    more = "true" if len(rows) > limit else "false"
    return answer(
        [shapes.incoming_delivery(row) for row in rows[:limit]],
        headers={"X-Has-More": more},
    )
