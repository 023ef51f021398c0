"""``/endpoints/{id}/attempts``: what an endpoint was sent, and what it answered."""

from aiohttp import web

from libs.common.db import borrow
from libs.common.store import attempts
from services.ingest.answers import endpoints as shapes
from services.ingest.http.endpoints import ONE, endpoint_in_path
from services.ingest.http.paging import asked_part
from services.ingest.http.reading import POOL, whoever
from services.ingest.http.routing import Route
from services.ingest.requests.endpoints import EndpointAttemptsPage


def routes() -> list[Route]:
    """Return the route."""
    return [
        Route(
            method="GET",
            path=f"{ONE}/attempts",
            handler=list_attempts,
            query=EndpointAttemptsPage,
            answers={200: list[shapes.EndpointAttempt]},
        )
    ]


async def list_attempts(request: web.Request) -> web.Response:
    """Return what an endpoint was sent, the latest attempt first."""
    principal = await whoever(request)
    row = await endpoint_in_path(request, principal)
    part = asked_part(request)
    status = request.query.get("status")
    async with borrow(request.app[POOL]) as conn:
        if status == "failed":
            rows = await attempts.list_failed_at_endpoint(
                conn, endpoint_id=row["id"], limit=part.limit, offset=part.offset
            )
        else:
            rows = await attempts.list_of_endpoint(
                conn,
                endpoint_id=row["id"],
                delivered=status == "delivered",
                limit=part.limit,
                offset=part.offset,
            )
    return part.of(rows, shapes.attempt)
