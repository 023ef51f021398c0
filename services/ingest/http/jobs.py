"""``/jobs``: create, read, cancel, retry (contract 1.4); lists are in ``listing``."""

from functools import partial
from typing import Final
from uuid import UUID

import msgspec
from aiohttp import web

from libs.common import quotas
from libs.common.access import Principal
from libs.common.db import Row, borrow
from libs.common.dependents import tell_released
from libs.common.errors import BellhopError, Conflict, Malformed, NotFound
from libs.common.lines import release_lines
from libs.common.store import attempts, interventions, jobs, journal
from services.ingest.answers import jobs as shapes
from services.ingest.http.errors import answer, details_of, words_of
from services.ingest.http.paging import asked_part
from services.ingest.http.reading import (
    BUS,
    HOT,
    INTAKE,
    POOL,
    PRODUCING,
    id_in_path,
    read_json,
    understood,
    whoever,
)
from services.ingest.http.routing import Route
from services.ingest.http.waking import wake
from services.ingest.idempotency import HEADER
from services.ingest.intake import Created
from services.ingest.requests.checking import as_sent, checked
from services.ingest.requests.jobs import (
    BulkEnqueue,
    BulkItem,
    CreateJob,
    HistoryPage,
)
from services.ingest.wanted import Wanted

_CANCEL_TRIES: Final = 2


class _RawBulk(msgspec.Struct):
    """The bytes of each job of a bulk."""

    jobs: list[msgspec.Raw]


def routes() -> list[Route]:
    """Return the routes; fixed paths before ``/jobs/{id}``."""
    return [
        Route(
            method="POST",
            path="/api/v1/jobs",
            handler=create,
            body=CreateJob,
            headers={HEADER: "The job's idempotency key, bare or quoted."},
            answers={201: shapes.Made, 200: shapes.Made},
        ),
        Route(
            method="POST",
            path="/api/v1/jobs/bulk",
            handler=create_bulk,
            body=BulkEnqueue,
            answers={200: shapes.BulkResult},
        ),
        *_about_one(),
    ]


def _about_one() -> list[Route]:
    """Return the routes of one job."""
    return [
        Route(
            method="GET",
            path="/api/v1/jobs/{id}",
            handler=read,
            answers={200: shapes.Job},
        ),
        Route(
            method="DELETE",
            path="/api/v1/jobs/{id}",
            handler=cancel,
            answers={204: None},
            refusals=(409,),
        ),
        Route(
            method="POST",
            path="/api/v1/jobs/{id}/retry",
            handler=retry,
            answers={200: shapes.Job},
            refusals=(409,),
        ),
        Route(
            method="GET",
            path="/api/v1/jobs/{id}/history",
            handler=history,
            query=HistoryPage,
            answers={200: list[shapes.Happening]},
        ),
        Route(
            method="GET",
            path="/api/v1/jobs/{id}/attempts",
            handler=list_attempts,
            query=HistoryPage,
            answers={200: list[shapes.AttemptAnswer]},
        ),
    ]


async def create(request: web.Request) -> web.Response:
    """Create a job: 201, or 200 when its idempotency key is known."""
    principal = await whoever(request)
    body, data = await read_json(request)
    asked = understood(request, CreateJob, data)
    created = await request.app[PRODUCING].create(
        principal,
        asked,
        body=body,
        data=data,
        key=request.headers.get(HEADER),
        source="rest",
    )
    return answer(shapes.made(created), status=201 if created.created else 200)


async def create_bulk(request: web.Request) -> web.Response:
    """Create up to a hundred jobs; each is told for itself how it went."""
    principal = await whoever(request)
    body, data = await read_json(request)
    bulk = understood(request, BulkEnqueue, data)
    spelled = as_sent(body, _RawBulk).jobs
    producing = request.app[PRODUCING]
    ready: dict[int, Wanted] = {}
    failed: list[shapes.BulkFailed] = []
    for index, item in enumerate(bulk.jobs):
        try:
            asked = _from_bulk(bulk, item, index)
            ready[index] = await producing.wanted(principal, asked, spelled[index])
        except BellhopError as error:
            failed.append(_failed(index, error))
    created = await request.app[INTAKE].create_all(list(ready.values()), source="rest")
    succeeded = []
    for index, one in zip(ready, created, strict=True):
        if isinstance(one, Malformed):
            failed.append(_failed(index, one))
        else:
            succeeded.append(_succeeded(index, one))
    return answer(
        {
            "succeeded": succeeded,
            "failed": failed,
            "total": len(bulk.jobs),
            "success_count": len(succeeded),
            "failure_count": len(failed),
        }
    )


async def read(request: web.Request) -> web.Response:
    """Return one job, whole."""
    principal = await whoever(request)
    row = await _row(request, principal, id_in_path(request))
    return answer(shapes.job(row))


async def cancel(request: web.Request) -> web.Response:
    """Cancel a job nobody works on: 204; 409 when it is past that."""
    principal = await whoever(request)
    job_id = id_in_path(request)
    row = await _row(request, principal, job_id)
    for _ in range(_CANCEL_TRIES):
        # A job that became due, or came back, while we looked is met at the next look.
        async with borrow(request.app[HOT]) as conn:
            released = await interventions.cancel(
                conn,
                organization_id=principal.organization_id,
                job_id=job_id,
                actor=str(principal.api_key_id),
            )
        if released is not None:
            break
    else:
        row = await _row(request, principal, job_id)
        raise Conflict(f"Job cannot be cancelled: it is {row['status']}")
    await wake(request, [])
    await tell_released(request.app[HOT], request.app[BUS], [released])
    await release_lines(request.app[HOT], request.app[BUS])
    return web.Response(status=204)


async def retry(request: web.Request) -> web.Response:
    """Make a dead letter ready again: the job; 409 when it is none."""
    principal = await whoever(request)
    job_id = id_in_path(request)
    row = await _row(request, principal, job_id)
    async with borrow(request.app[HOT]) as conn:
        requeued = await quotas.requeue(
            conn,
            organization_id=principal.organization_id,
            plan=principal.plan,
            actor=str(principal.api_key_id),
            job_ids=[job_id],
        )
    if not requeued:
        raise Conflict(f"Job cannot be retried: it is {row['status']}")
    await wake(request, requeued)
    return answer(shapes.job(await _row(request, principal, job_id)))


async def history(request: web.Request) -> web.Response:
    """Return what happened to a job, oldest first unless asked otherwise."""
    principal = await whoever(request)
    job_id = id_in_path(request)
    await _row(request, principal, job_id)
    part = asked_part(request, most=500)
    async with borrow(request.app[POOL]) as conn:
        rows = await journal.history(
            conn,
            organization_id=principal.organization_id,
            job_id=job_id,
            limit=part.limit,
            offset=part.offset,
            newest_first=_newest_first(request),
        )
    return part.of(rows, shapes.happening)


async def list_attempts(request: web.Request) -> web.Response:
    """Return every attempt of a job: when, how long, which answer.

    The first one is first unless asked otherwise.
    """
    principal = await whoever(request)
    job_id = id_in_path(request)
    await _row(request, principal, job_id)
    part = asked_part(request, most=500)
    async with borrow(request.app[POOL]) as conn:
        rows = await attempts.list_attempts(
            conn,
            organization_id=principal.organization_id,
            job_id=job_id,
            limit=part.limit,
            offset=part.offset,
            newest_first=_newest_first(request),
        )
    return part.of(rows, partial(shapes.attempt, job_id))


def _newest_first(request: web.Request) -> bool:
    return request.query.get("order_dir") == "desc"


async def _row(request: web.Request, principal: Principal, job_id: UUID) -> Row:
    """Return a job that the principal may see; raises `NotFound`."""
    async with borrow(request.app[POOL]) as conn:
        row = await jobs.read_job(
            conn, organization_id=principal.organization_id, job_id=job_id
        )
    if row is None or not principal.may(row["queue_name"]):
        raise NotFound("Resource not found")
    return row


def _from_bulk(bulk: BulkEnqueue, item: object, index: int) -> CreateJob:
    """Return one job of a bulk, with the bulk's defaults where it is silent."""
    one = checked(BulkItem, item, within=f"jobs.{index}")
    said = one.model_dump(exclude_unset=True)
    return checked(
        CreateJob,
        {
            "queue_name": bulk.queue_name,
            "priority": bulk.default_priority,
            "max_retries": bulk.default_max_retries,
            "timeout_seconds": bulk.default_timeout_seconds,
            "target": bulk.target and bulk.target.model_dump(),
            "retry": bulk.retry and bulk.retry.model_dump(),
            **{name: value for name, value in said.items() if value is not None},
            "payload": one.payload,
        },
        within=f"jobs.{index}",
    )


def _succeeded(index: int, one: Created) -> dict[str, object]:
    return {"index": index, "job_id": str(one.job_id), "created": one.created}


def _failed(index: int, error: BellhopError) -> shapes.BulkFailed:
    code, _ = words_of(error)
    failed: shapes.BulkFailed = {"index": index, "code": code, "error": str(error)}
    if isinstance(error, Malformed):
        failed["details"] = details_of(error)
    return failed
