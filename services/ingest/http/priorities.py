"""``/jobs/{id}/priority``: who is first (contract 1.4, 4.2)."""

from typing import Final

from aiohttp import web

from libs.common.db import borrow
from libs.common.errors import NotFound
from libs.common.store import interventions
from services.ingest.answers.dependencies import PriorityChanged
from services.ingest.http.dependencies import require_job
from services.ingest.http.errors import answer
from services.ingest.http.reading import HOT, id_in_path, read_body, whoever
from services.ingest.http.routing import Route
from services.ingest.http.waking import wake
from services.ingest.requests.dependencies import ChangePriority

_TRIES: Final = 2


def routes() -> list[Route]:
    """Return the routes."""
    return [
        Route(
            method="PUT",
            path="/api/v1/jobs/{id}/priority",
            handler=change,
            body=ChangePriority,
            answers={200: PriorityChanged},
        )
    ]


async def change(request: web.Request) -> web.Response:
    """Change the priority of a job that nobody works on; 404 when it is no such job."""
    principal = await whoever(request)
    asked = await read_body(request, ChangePriority)
    async with borrow(request.app[HOT]) as conn:
        job_id = await require_job(conn, principal, id_in_path(request))
        old, tries = None, _TRIES
        while old is None and tries:
            # A job that became due while we looked is met at the next look.
            tries -= 1
            old = await interventions.reprioritize(
                conn,
                organization_id=principal.organization_id,
                job_id=job_id,
                priority=asked.priority,
                actor=str(principal.api_key_id),
            )
    if old is None:
        raise NotFound("Resource not found")
    await wake(request, [])
    changed: PriorityChanged = {
        "job_id": str(job_id),
        "old_priority": old,
        "new_priority": asked.priority,
    }
    return answer(changed)
