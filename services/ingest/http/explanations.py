"""``/jobs/{id}/explain``: why a job is not running."""

from typing import Final

from aiohttp import web

from libs.common.db import borrow
from libs.common.errors import NotFound
from libs.common.store import explanations, limits, lines
from services.ingest.answers import explanations as shapes
from services.ingest.answers.keeping_back import Known
from services.ingest.http.dependencies import require_job
from services.ingest.http.errors import answer
from services.ingest.http.reading import BUS, POOL, id_in_path, whoever
from services.ingest.http.routing import Route

_PARENTS_MAX: Final = 100


def routes() -> list[Route]:
    """Return the route."""
    return [
        Route(
            method="GET",
            path="/api/v1/jobs/{id}/explain",
            handler=explain,
            answers={200: shapes.Explanation},
        )
    ]


async def explain(request: web.Request) -> web.Response:
    """Say why a job is not running: where it stands, and what it waits for."""
    principal = await whoever(request)
    async with (
        borrow(request.app[POOL]) as conn,
        conn.transaction(isolation="repeatable_read", readonly=True),
    ):
        job_id = await require_job(conn, principal, id_in_path(request))
        row = await explanations.read_circumstances(conn, job_id=job_id)
        if row is None:
            raise NotFound("Resource not found")
        parents = (
            await explanations.open_parents(
                conn,
                job_id=job_id,
                queue_names=principal.scope,
                limit=_PARENTS_MAX,
            )
            if row["place"] == "waiting"
            else []
        )
        turn = await lines.read_turn(conn, job_id=job_id)
        gates = [row[name] for name in ("queue_id", "endpoint_id") if row[name]]
        rooms = await limits.read_rooms(conn, lanes=[row["lane_id"]], locked=gates)
    known = Known(row, parents, turn, rooms, nats_is_up=request.app[BUS].connected)
    return answer(shapes.explanation(job_id, known))
