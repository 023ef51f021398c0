"""``/jobs``: create, read, list, cancel, retry (contract 1.4)."""

from typing import Any, Final, TypeVar
from uuid import UUID

import msgspec
from aiohttp import web

from libs.common.access import Principal
from libs.common.db import Row, borrow
from libs.common.errors import BellhopError, Conflict, Fault, Malformed, NotFound
from libs.common.lifecycle import Place, Status
from libs.common.store import attempts, interventions, jobs, journal
from services.ingest.answers import jobs as shapes
from services.ingest.http.errors import answer, refusal
from services.ingest.http.reading import (
    INTAKE,
    POOL,
    SETTINGS,
    checked,
    id_in_path,
    moment,
    number,
    plain,
    read_json,
    whoever,
)
from services.ingest.http.routing import Route
from services.ingest.http.waking import wake
from services.ingest.intake import Created, Wanted, wanted
from services.ingest.requests.jobs import BulkEnqueue, BulkItem, CreateJob

PAGE_MAX: Final = 100
PAGE: Final = 50
_CANCEL_TRIES: Final = 2
#: States that a job leaves again, and where it stands in them.
_OPEN: Final = {
    Status.PENDING: (Place.READY, Place.SCHEDULED, Place.WAITING, Place.HELD),
    Status.SCHEDULED: (Place.SCHEDULED,),
    Status.PROCESSING: (Place.LEASED,),
    Status.DEADLETTER: (Place.DEAD,),
}


class _Raw(msgspec.Struct):
    """The producer's bytes of a payload, untouched by reading them."""

    payload: msgspec.Raw


class _RawBulk(msgspec.Struct):
    """The bytes of each job of a bulk."""

    jobs: list[msgspec.Raw]


RawShape = TypeVar("RawShape", bound=msgspec.Struct)


def routes() -> list[Route]:
    """Return the routes; fixed paths before ``/jobs/{id}``."""
    return [
        Route(method="POST", path="/api/v1/jobs", handler=create),
        Route(method="GET", path="/api/v1/jobs", handler=list_),
        Route(method="POST", path="/api/v1/jobs/bulk", handler=create_bulk),
        Route(method="GET", path="/api/v1/jobs/{id}", handler=read),
        Route(method="DELETE", path="/api/v1/jobs/{id}", handler=cancel),
        Route(method="POST", path="/api/v1/jobs/{id}/retry", handler=retry),
        Route(method="GET", path="/api/v1/jobs/{id}/history", handler=history),
        Route(method="GET", path="/api/v1/jobs/{id}/attempts", handler=list_attempts),
    ]


async def create(request: web.Request) -> web.Response:
    """Create a job: 201, or 200 when its idempotency key is known."""
    principal = await whoever(request)
    body, data = await read_json(request)
    asked = checked(CreateJob, data)
    key = _key_in_header(request)
    if key is not None:
        if asked.idempotency_key not in (None, key):
            raise Malformed(
                Fault("idempotency_key", "differs from the Idempotency-Key header")
            )
        asked = checked(CreateJob, {**data, "idempotency_key": key})
    principal.require(asked.queue_name)
    job = wanted(
        principal.organization_id,
        asked,
        payload=bytes(_as_sent(body, _Raw).payload),
        development=request.app[SETTINGS].development,
    )
    created = await request.app[INTAKE].create(job)
    if key is not None and created.differs:
        return refusal(
            422,
            "IDEMPOTENCY_KEY_REUSED",
            "Idempotency-Key: was used with another request",
        )
    return answer(
        {"id": str(created.job_id), "created": created.created},
        status=201 if created.created else 200,
    )


async def create_bulk(request: web.Request) -> web.Response:
    """Create up to a hundred jobs; each is told for itself how it went."""
    principal = await whoever(request)
    body, data = await read_json(request)
    bulk = checked(BulkEnqueue, data)
    as_sent = _as_sent(body, _RawBulk).jobs
    development = request.app[SETTINGS].development
    ready: dict[int, Wanted] = {}
    failed: list[dict[str, Any]] = []
    for index, item in enumerate(bulk.jobs):
        try:
            asked = _from_bulk(bulk, item, index)
            principal.require(asked.queue_name)
            ready[index] = wanted(
                principal.organization_id,
                asked,
                payload=bytes(_as_sent(as_sent[index], _Raw).payload),
                development=development,
            )
        except BellhopError as error:
            failed.append({"index": index, "error": str(error)})
    created = await request.app[INTAKE].create_all(list(ready.values()))
    succeeded = [
        _succeeded(index, one) for index, one in zip(ready, created, strict=True)
    ]
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


async def list_(request: web.Request) -> web.Response:
    """Return a page of jobs, newest first."""
    principal = await whoever(request)
    given = plain(request, "status") or ""
    # A state there is not is ignored, not refused (contract 1.0, Pagination).
    statuses = [part for part in given.split(",") if part in list(Status)]
    return await page(request, principal, statuses=statuses or None)


async def page(
    request: web.Request, principal: Principal, *, statuses: list[str] | None
) -> web.Response:
    """Return a page of the jobs in *statuses* that the query asks for."""
    limit = number(request, "limit", default=PAGE, least=1, most=PAGE_MAX)
    queue = plain(request, "queue_name") or plain(request, "queue")
    if (queue is not None and not principal.may(queue)) or statuses == [Status.FAILED]:
        # Nothing is ever left failed: it retries, or is a dead letter (contract 4.1).
        return answer([], headers={"X-Has-More": "false"})
    names = [queue] if queue else None
    if names is None and not principal.unrestricted:
        names = list(principal.queues)
    chosen = jobs.Filter(
        queue_names=names,
        statuses=statuses,
        tag=plain(request, "tag"),
        job_type=plain(request, "job_type"),
        search=plain(request, "q"),
        created_after=moment(request, "created_after"),
        created_before=moment(request, "created_before"),
        limit=limit + 1,
        offset=number(request, "offset", default=0, least=0, most=2**31 - 1),
    )
    open_only = statuses is not None and all(status in _OPEN for status in statuses)
    async with borrow(request.app[POOL]) as conn:
        if open_only:
            rows = await jobs.list_open_jobs(
                conn,
                organization_id=principal.organization_id,
                chosen=chosen,
                places=sorted(
                    {
                        place
                        for status in statuses or ()
                        for place in _OPEN[Status(status)]
                    }
                ),
            )
        else:
            rows = await jobs.list_jobs(
                conn, organization_id=principal.organization_id, chosen=chosen
            )
    more = "true" if len(rows) > limit else "false"
    return answer(
        [shapes.summary(row) for row in rows[:limit]], headers={"X-Has-More": more}
    )


async def cancel(request: web.Request) -> web.Response:
    """Cancel a job nobody works on: 204; 409 when it is past that."""
    principal = await whoever(request)
    job_id = id_in_path(request)
    row = await _row(request, principal, job_id)
    cancelled = False
    for _ in range(_CANCEL_TRIES):
        # A job that became due, or came back, while we looked is met at the next look.
        async with borrow(request.app[POOL]) as conn:
            cancelled = cancelled or await interventions.cancel(
                conn,
                organization_id=principal.organization_id,
                job_id=job_id,
                actor=str(principal.api_key_id),
            )
    if not cancelled:
        row = await _row(request, principal, job_id)
        raise Conflict(f"Job cannot be cancelled: it is {row['status']}")
    await wake(request, [])
    return web.Response(status=204)


async def retry(request: web.Request) -> web.Response:
    """Make a dead letter ready again: the job; 409 when it is none."""
    principal = await whoever(request)
    job_id = id_in_path(request)
    row = await _row(request, principal, job_id)
    async with borrow(request.app[POOL]) as conn:
        requeued = await interventions.requeue(
            conn,
            organization_id=principal.organization_id,
            job_ids=[job_id],
            actor=str(principal.api_key_id),
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
    limit = number(request, "limit", default=100, least=1, most=500)
    async with borrow(request.app[POOL]) as conn:
        rows = await journal.history(
            conn,
            organization_id=principal.organization_id,
            job_id=job_id,
            limit=limit + 1,
            offset=number(request, "offset", default=0, least=0, most=2**31 - 1),
            newest_first=request.query.get("order_dir") == "desc",
        )
    more = "true" if len(rows) > limit else "false"
    return answer(
        [shapes.happening(row) for row in rows[:limit]], headers={"X-Has-More": more}
    )


async def list_attempts(request: web.Request) -> web.Response:
    """Return every attempt of a job: when, how long, which answer."""
    principal = await whoever(request)
    job_id = id_in_path(request)
    await _row(request, principal, job_id)
    limit = number(request, "limit", default=100, least=1, most=500)
    async with borrow(request.app[POOL]) as conn:
        rows = await attempts.list_attempts(
            conn,
            organization_id=principal.organization_id,
            job_id=job_id,
            limit=limit + 1,
            offset=number(request, "offset", default=0, least=0, most=2**31 - 1),
        )
    more = "true" if len(rows) > limit else "false"
    return answer(
        [shapes.attempt(job_id, row) for row in rows[:limit]],
        headers={"X-Has-More": more},
    )


async def _row(request: web.Request, principal: Principal, job_id: UUID) -> Row:
    """Return a job that the principal may see; raises `NotFound`."""
    async with borrow(request.app[POOL]) as conn:
        row = await jobs.read_job(
            conn, organization_id=principal.organization_id, job_id=job_id
        )
    if row is None or not principal.may(row["queue_name"]):
        raise NotFound("Resource not found")
    return row


def _as_sent(body: bytes | msgspec.Raw, shape: type[RawShape]) -> RawShape:
    """Return parts of a body as the bytes they were sent as; raises `Malformed`."""
    try:
        return msgspec.json.decode(body, type=shape)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Malformed(
            Fault("body", f"the body cannot be read: {error}", "INVALID_JSON")
        ) from error


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


def _key_in_header(request: web.Request) -> str | None:
    """Return the ``Idempotency-Key``: a structured-field string, or bare."""
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    quoted = len(key) > 1 and key[0] == key[-1] == '"'
    return key[1:-1].replace('\\"', '"').replace("\\\\", "\\") if quoted else key
