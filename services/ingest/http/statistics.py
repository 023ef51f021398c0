"""``/jobs/stats`` and ``/jobs/status``: many jobs in few words (contract 1.4)."""

from typing import Final

from aiohttp import web

from libs.common.db import borrow
from libs.common.errors import Fault, Malformed
from libs.common.ids import parse_id
from libs.common.store import jobs, tallies
from libs.common.store.tallies import Figures
from services.ingest.answers import statistics as shapes
from services.ingest.http.errors import answer
from services.ingest.http.reading import POOL, plain, whoever
from services.ingest.http.routing import Route
from services.ingest.requests.listing import StatsQuery, StatusQuery

_IDS_MAX: Final = 100


def routes() -> list[Route]:
    """Return the routes; they stand before ``/jobs/{id}``."""
    return [
        Route(
            method="GET",
            path="/api/v1/jobs/stats",
            handler=stats,
            query=StatsQuery,
            answers={200: shapes.JobStats},
            refusals=(400,),
        ),
        Route(
            method="GET",
            path="/api/v1/jobs/status",
            handler=status,
            query=StatusQuery,
            answers={200: list[shapes.JobStatus]},
            refusals=(400,),
        ),
    ]


async def stats(request: web.Request) -> web.Response:
    """Return how many jobs are in which state; zeros for a queue that there is not."""
    principal = await whoever(request)
    queue = plain(request, "queue_name") or plain(request, "queue")
    if queue is not None and not principal.may(queue):
        return answer(shapes.job_stats(Figures()))
    async with borrow(request.app[POOL]) as conn:
        figures = await tallies.of_organization(
            conn,
            organization_id=principal.organization_id,
            queue_names=principal.scope if queue is None else [queue],
        )
    return answer(shapes.job_stats(figures))


async def status(request: web.Request) -> web.Response:
    """Return the state of up to a hundred jobs; ids that are none are left out."""
    principal = await whoever(request)
    given = [part.strip() for part in request.query.get("ids", "").split(",")]
    named = [part for part in given if part]
    if len(named) > _IDS_MAX:
        raise Malformed(
            Fault("ids", f"at most {_IDS_MAX} ids at a time", "BAD_REQUEST")
        )
    ids = dict.fromkeys(found for text in named if (found := parse_id(text)))
    async with borrow(request.app[POOL]) as conn:
        rows = await jobs.read_statuses(
            conn,
            organization_id=principal.organization_id,
            job_ids=list(ids),
            queue_names=principal.scope,
        )
    return answer([shapes.job_status(row) for row in rows])
