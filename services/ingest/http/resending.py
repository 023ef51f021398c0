"""``/jobs/{id}/resend``: a webhook that is over, sent once more."""

from collections import Counter
from uuid import UUID

from aiohttp import web

from libs.common import quotas
from libs.common.access import Principal
from libs.common.db import Row, borrow
from libs.common.errors import Conflict, NotFound
from libs.common.lines import release_lines
from libs.common.store import jobs, resends, usage
from libs.common.store.jobs import NewJob
from services.ingest.answers import jobs as shapes
from services.ingest.http.errors import answer
from services.ingest.http.reading import BUS, HOT, POOL, id_in_path, whoever
from services.ingest.http.routing import Route


def routes() -> list[Route]:
    """Return the route."""
    return [
        Route(
            method="POST",
            path="/api/v1/jobs/{id}/resend",
            handler=resend,
            answers={201: shapes.Resent},
            refusals=(409,),
        )
    ]


async def resend(request: web.Request) -> web.Response:
    """Send a webhook that is over once more: 201, with the new job.

    It is another job with the same body and the same ``webhook-id``, and goes where its
    endpoint is now.  409 while the first is not over, and for what goes to workers.
    """
    principal = await whoever(request)
    row = await _row(request, principal, id_in_path(request))
    new = resends.again(row)
    async with borrow(request.app[HOT]) as conn, conn.transaction():
        if not principal.plan.unlimited:
            organization_id = principal.organization_id
            rooms = await quotas.hold(
                conn, {organization_id: principal.plan}, queues=True
            )
            quotas.room_of(rooms, organization_id).take(1, queue_names={new.queue_name})
            await usage.charge(conn, created=Counter([organization_id]))
        await jobs.create(conn, jobs=[new])
    await _tell(request, new)
    shown: shapes.Resent = {
        "id": str(new.id),
        "created": True,
        "webhook_id": new.webhook_id or str(new.id),
    }
    return answer(shown, status=201)


async def _row(request: web.Request, principal: Principal, job_id: UUID) -> Row:
    """Return a job that can be sent again; raises `NotFound`, `Conflict`."""
    async with borrow(request.app[POOL]) as conn:
        found = await resends.read_again(
            conn, organization_id=principal.organization_id, job_ids=[job_id]
        )
        job = await jobs.read_job(
            conn, organization_id=principal.organization_id, job_id=job_id
        )
    if job is None or not principal.may(job["queue_name"]):
        raise NotFound("Resource not found")
    if not found:
        raise Conflict("Job cannot be sent again: it goes to workers")
    [row] = found
    if row["place"] not in resends.OVER:
        raise Conflict(f"Job cannot be sent again: it is {row['status']}")
    if not row["is_reachable"]:
        raise Conflict("Job cannot be sent again: its endpoint is no more")
    return row


async def _tell(request: web.Request, new: NewJob) -> None:
    bus = request.app[BUS]
    if new.line is None:
        await bus.ring_lanes([(new.lane_id, True)])
    else:
        await release_lines(request.app[HOT], bus)
    await bus.ring_journal()
