"""``/jobs/dlq``: what failed for good, to be looked at, tried again or deleted."""

from uuid import UUID

from aiohttp import web

from libs.common import quotas
from libs.common.access import Principal
from libs.common.db import Row, borrow
from libs.common.dependents import tell_released
from libs.common.errors import Fault, Forbidden, Malformed
from libs.common.ids import parse_id
from libs.common.lifecycle import Status
from libs.common.store import interventions, jobs
from services.ingest.answers import dead_letters as shapes
from services.ingest.answers.jobs import JobSummary
from services.ingest.http.errors import answer
from services.ingest.http.listing import page
from services.ingest.http.reading import (
    BUS,
    HOT,
    POOL,
    plain,
    read_body,
    read_optional,
    whoever,
)
from services.ingest.http.routing import Route
from services.ingest.http.waking import wake
from services.ingest.requests.jobs import PurgeDead, RetryDead
from services.ingest.requests.listing import DeadGroups, DeadPage

_IDS_MAX = 100
_LETTERS_MAX = 10_000
_GROUPS_MAX = 100


def routes() -> list[Route]:
    """Return the routes; they stand before ``/jobs/{id}``."""
    return [
        Route(
            method="GET",
            path="/api/v1/jobs/dlq",
            handler=list_,
            query=DeadPage,
            answers={200: list[JobSummary]},
            refusals=(400,),
        ),
        Route(
            method="GET",
            path="/api/v1/jobs/dlq/groups",
            handler=groups,
            query=DeadGroups,
            answers={200: shapes.Groups},
            refusals=(400,),
        ),
        Route(
            method="POST",
            path="/api/v1/jobs/dlq/retry",
            handler=retry,
            body=RetryDead,
            body_optional=True,
            answers={200: shapes.Retried},
        ),
        Route(
            method="POST",
            path="/api/v1/jobs/dlq/purge",
            handler=purge,
            body=PurgeDead,
            answers={200: shapes.Purged},
        ),
    ]


async def list_(request: web.Request) -> web.Response:
    """Return a page of dead letters."""
    principal = await whoever(request)
    return await page(request, principal, statuses=[Status.DEADLETTER])


async def groups(request: web.Request) -> web.Response:
    """Return what the newest dead letters died of, the most first.

    ``error`` of a group, given to the list of dead letters, finds its letters.
    """
    principal = await whoever(request)
    queue = plain(request, "queue_name") or plain(request, "queue")
    rows: list[Row] = []
    if queue is None or principal.may(queue):
        async with borrow(request.app[POOL]) as conn:
            rows = await interventions.group_dead(
                conn,
                organization_id=principal.organization_id,
                queue_names=[queue] if queue else principal.scope,
                letters=_LETTERS_MAX,
                groups=_GROUPS_MAX,
            )
    return answer(shapes.groups(rows, letters_max=_LETTERS_MAX))


async def retry(request: web.Request) -> web.Response:
    """Try dead letters again: those named, or the oldest of a queue."""
    principal = await whoever(request)
    asked = await read_optional(request, RetryDead)
    named = _few(asked.job_ids)
    names = _queues(principal, asked.queue_name)
    async with borrow(request.app[HOT]) as conn:
        if named is None:
            ids = await interventions.choose_dead(
                conn,
                organization_id=principal.organization_id,
                queue_names=names,
                died_before=None,
                limit=asked.limit,
            )
        else:
            ids = [found for text in named if (found := parse_id(text))]
        requeued = await quotas.requeue(
            conn,
            organization_id=principal.organization_id,
            plan=principal.plan,
            actor=str(principal.api_key_id),
            job_ids=ids,
            queue_names=names,
        )
    await wake(request, requeued)
    wanted = len(ids) if named is None else len(named)
    retried: shapes.Retried = {
        "retried_count": len(requeued),
        "retried_jobs": [str(job.job_id) for job in requeued],
        "skipped_jobs": _skipped(named, {job.job_id for job in requeued}),
        "requested_count": wanted,
    }
    return answer(retried)


async def purge(request: web.Request) -> web.Response:
    """Delete dead letters for good, with body and attempts; needs ``confirm``."""
    principal = await whoever(request)
    asked = await read_body(request, PurgeDead)
    if not asked.confirm:
        raise Malformed(Fault("confirm", "must be true to purge", "BAD_REQUEST"))
    named = _few(asked.job_ids)
    names = _queues(principal, asked.queue_name)
    async with borrow(request.app[HOT]) as conn:
        if named is None:
            ids = await interventions.choose_dead(
                conn,
                organization_id=principal.organization_id,
                queue_names=names,
                died_before=asked.older_than,
                limit=asked.limit,
            )
        else:
            rows = await jobs.read_statuses(
                conn,
                organization_id=principal.organization_id,
                job_ids=[found for text in named if (found := parse_id(text))],
                queue_names=names,
            )
            ids = [row["id"] for row in rows]
        purged = await interventions.purge(
            conn,
            organization_id=principal.organization_id,
            job_ids=ids,
            actor=str(principal.api_key_id),
        )
    await wake(request, [])
    await tell_released(request.app[HOT], request.app[BUS], [purged.released])
    return answer(shapes.Purged(purged_count=purged.jobs))


def _queues(principal: Principal, queue_name: str | None) -> list[str] | None:
    """Return the queues to look in, None for all; a scoped key must name one (4.5)."""
    if queue_name is not None:
        principal.require(queue_name)
        return [queue_name]
    if not principal.unrestricted:
        raise Forbidden("an API key limited to queues must name a queue_name")
    return None


def _few(named: list[str] | None) -> list[str] | None:
    """Return the ids that are named; raises `Malformed` when they are too many."""
    if named is not None and len(named) > _IDS_MAX:
        raise Malformed(
            Fault("job_ids", f"at most {_IDS_MAX} ids at a time", "BAD_REQUEST")
        )
    return named


def _skipped(named: list[str] | None, done: set[UUID]) -> list[str]:
    return [text for text in named or [] if parse_id(text) not in done]
