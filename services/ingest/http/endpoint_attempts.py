"""``/endpoints/{id}/attempts``: what an endpoint was sent, and what it answered."""

from aiohttp import web

from libs.common.db import borrow
from libs.common.store import attempts
from services.ingest.answers import endpoints as shapes
from services.ingest.http.endpoints import ONE, endpoint_in_path
from services.ingest.http.errors import answer
from services.ingest.http.reading import POOL, number, whoever
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
    limit = number(request, "limit", default=100, least=1, most=100)
    offset = number(request, "offset", default=0, least=0, most=2**31 - 1)
    status = request.query.get("status")
    async with borrow(request.app[POOL]) as conn:
        if status == "failed":
            rows = await attempts.list_failed_at_endpoint(
                conn, endpoint_id=row["id"], limit=limit + 1, offset=offset
            )
        else:
            rows = await attempts.list_of_endpoint(
                conn,
                endpoint_id=row["id"],
                delivered=status == "delivered",
                limit=limit + 1,
                offset=offset,
            )
    more = "true" if len(rows) > limit else "false"
    return answer(
        [shapes.attempt(row) for row in rows[:limit]], headers={"X-Has-More": more}
    )
