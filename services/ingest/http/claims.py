"""``/jobs/claim``: workers ask for jobs, and may wait for them (contract 1.4)."""

from datetime import timedelta
from functools import partial
from typing import Final

from aiohttp import web

from services.ingest.answers import work as shapes
from services.ingest.claims import Claim
from services.ingest.http.errors import answer
from services.ingest.http.manners import give_time
from services.ingest.http.reading import CLAIMS, SETTINGS, read_body, whoever
from services.ingest.http.routing import Route
from services.ingest.requests.work import ClaimJobs

#: How long a job is the worker's when it does not say (contract, Limits).
_LEASE_SECONDS: Final = 30


def routes() -> list[Route]:
    """Return the route."""
    return [
        Route(
            method="POST",
            path="/api/v1/jobs/claim",
            handler=claim,
            body=ClaimJobs,
            answers={200: shapes.ClaimedJobs},
            refusals=(400, 403, 422),
        )
    ]


async def claim(request: web.Request) -> web.Response:
    """Hand out jobs of a queue, the most urgent and longest ready first.

    With ``wait_seconds`` the answer waits until there is one, but no longer than that.
    A queue that is paused or disabled gives nothing.
    """
    principal = await whoever(request)
    asked = await read_body(request, ClaimJobs)
    principal.require(asked.queue_name)
    wait_seconds = asked.wait_seconds or 0.0
    if wait_seconds:
        timeout = request.app[SETTINGS].request_timeout_seconds
        give_time(request, wait_seconds + timeout)
    work = await request.app[CLAIMS].claim(
        Claim(
            organization_id=principal.organization_id,
            queue_name=asked.queue_name,
            worker_id=asked.worker_id,
            limit=asked.limit or 1,
            lease=timedelta(seconds=asked.lease_duration_secs or _LEASE_SECONDS),
        ),
        wait_seconds=wait_seconds,
        is_gone=partial(_is_gone, request),
    )
    claimed: shapes.ClaimedJobs = {"jobs": [shapes.claimed(job) for job in work]}
    return answer(claimed)


def _is_gone(request: web.Request) -> bool:
    """Whether nobody waits for the answer any more."""
    return request.transport is None or request.transport.is_closing()
