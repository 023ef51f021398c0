"""``/jobs``, as workers see them: complete, fail, heartbeat (contract 1.4)."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Final

import msgspec
from aiohttp import web

from libs.common.access import Principal
from libs.common.errors import BellhopError, NotFound
from libs.common.ids import parse_id
from libs.common.messages import NULL
from services.ingest.answers import work as shapes
from services.ingest.heartbeats import Renewal
from services.ingest.http.errors import answer, words_of
from services.ingest.http.reading import (
    HEARTBEATS,
    SETTLEMENT,
    id_in_path,
    read_body,
    read_json,
    understood,
    whoever,
)
from services.ingest.http.routing import Route
from services.ingest.requests.checking import as_sent, checked
from services.ingest.requests.work import (
    CompleteItem,
    CompleteJob,
    CompleteMany,
    FailItem,
    FailJob,
    FailMany,
    KeepJob,
)
from services.ingest.settlement import Ended

_REFUSALS: Final = (400, 404, 409, 422)


class _Raw(msgspec.Struct):
    """The worker's bytes of a result, untouched by reading them."""

    result: msgspec.Raw = NULL


class _RawMany(msgspec.Struct):
    """The bytes of each job of a bulk."""

    jobs: list[msgspec.Raw]


def routes() -> list[Route]:
    """Return the routes; fixed paths before ``/jobs/{id}/…``."""
    return [
        Route(
            method="POST",
            path="/api/v1/jobs/complete/bulk",
            handler=complete_bulk,
            body=CompleteMany,
            answers={200: shapes.BulkSettled},
            refusals=(400, 422),
        ),
        Route(
            method="POST",
            path="/api/v1/jobs/fail/bulk",
            handler=fail_bulk,
            body=FailMany,
            answers={200: shapes.BulkSettled},
            refusals=(400, 422),
        ),
        Route(
            method="POST",
            path="/api/v1/jobs/{id}/complete",
            handler=complete,
            body=CompleteJob,
            answers={200: shapes.Done},
            refusals=_REFUSALS,
        ),
        Route(
            method="POST",
            path="/api/v1/jobs/{id}/fail",
            handler=fail,
            body=FailJob,
            answers={200: shapes.Done},
            refusals=_REFUSALS,
        ),
        Route(
            method="POST",
            path="/api/v1/jobs/{id}/heartbeat",
            handler=heartbeat,
            body=KeepJob,
            answers={200: shapes.Done},
            refusals=_REFUSALS,
        ),
    ]


async def complete(request: web.Request) -> web.Response:
    """Say that a job is done; refused to who does not hold it (any more)."""
    principal = await whoever(request)
    job_id = id_in_path(request)
    body, data = await read_json(request)
    said = understood(request, CompleteJob, data)
    await request.app[SETTLEMENT].settle(
        Ended(
            organization_id=principal.organization_id,
            queues=principal.scope,
            job_id=job_id,
            worker_id=said.worker_id,
            lease_id=said.lease_id,
            result=_result(body),
        )
    )
    return answer(shapes.DONE)


async def fail(request: web.Request) -> web.Response:
    """Say that an attempt failed: tried again while there are retries left."""
    principal = await whoever(request)
    job_id = id_in_path(request)
    said = await read_body(request, FailJob)
    await request.app[SETTLEMENT].settle(
        Ended(
            organization_id=principal.organization_id,
            queues=principal.scope,
            job_id=job_id,
            worker_id=said.worker_id,
            lease_id=said.lease_id,
            error=said.error,
            retry=said.again,
            retry_after_seconds=said.retry_after_seconds,
        )
    )
    return answer(shapes.DONE)


async def heartbeat(request: web.Request) -> web.Response:
    """Keep a job for a while longer; an expired lease is never extended."""
    principal = await whoever(request)
    job_id = id_in_path(request)
    said = await read_body(request, KeepJob)
    await request.app[HEARTBEATS].renew(
        Renewal(
            organization_id=principal.organization_id,
            queues=principal.scope,
            job_id=job_id,
            worker_id=said.worker_id,
            lease_id=said.lease_id,
            lease=timedelta(seconds=said.lease_duration_secs),
        )
    )
    return answer(shapes.DONE)


async def complete_bulk(request: web.Request) -> web.Response:
    """Say that up to a hundred jobs are done; each is answered for itself."""
    principal = await whoever(request)
    body, data = await read_json(request)
    bulk = understood(request, CompleteMany, data)
    raw = as_sent(body, _RawMany).jobs

    def read(index: int, item: object) -> Ended:
        said = checked(CompleteItem, item, within=f"jobs.{index}")
        return _ended(principal, bulk, said, result=_result(raw[index]))

    return await _settle_each(request, bulk.jobs, read)


async def fail_bulk(request: web.Request) -> web.Response:
    """Say that up to a hundred attempts failed; each is answered for itself."""
    principal = await whoever(request)
    bulk = await read_body(request, FailMany)

    def read(index: int, item: object) -> Ended:
        said = checked(FailItem, item, within=f"jobs.{index}")
        return _ended(
            principal,
            bulk,
            said,
            error=said.error,
            retry=said.again,
            retry_after_seconds=said.retry_after_seconds,
        )

    return await _settle_each(request, bulk.jobs, read)


async def _settle_each(
    request: web.Request, items: Sequence[Any], read: Callable[[int, object], Ended]
) -> web.Response:
    """Settle what can be read; answer for each item by itself."""
    ended: dict[int, Ended] = {}
    failed: list[shapes.ItemRefused] = []
    succeeded: list[shapes.ItemSettled] = []
    for index, item in enumerate(items):
        try:
            ended[index] = read(index, item)
        except BellhopError as error:
            failed.append(_refused(index, item, error))
    outcomes = await request.app[SETTLEMENT].settle_all(list(ended.values()))
    for index, outcome in zip(ended, outcomes, strict=True):
        if isinstance(outcome, BellhopError):
            failed.append(_refused(index, items[index], outcome))
        else:
            job_id = str(ended[index].job_id)
            succeeded.append({"index": index, "job_id": job_id})
    settled: shapes.BulkSettled = {
        "succeeded": succeeded,
        "failed": sorted(failed, key=lambda one: one["index"]),
        "total": len(items),
        "success_count": len(succeeded),
        "failure_count": len(failed),
    }
    return answer(settled)


def _ended(
    principal: Principal,
    bulk: CompleteMany | FailMany,
    said: CompleteItem | FailItem,
    *,
    result: str | None = None,
    error: str | None = None,
    retry: bool = True,
    retry_after_seconds: float = 0.0,
) -> Ended:
    job_id = parse_id(said.job_id)
    if job_id is None:
        raise NotFound("Resource not found")
    return Ended(
        organization_id=principal.organization_id,
        queues=principal.scope,
        job_id=job_id,
        worker_id=bulk.worker_id,
        lease_id=said.lease_id,
        result=result,
        error=error,
        retry=retry,
        retry_after_seconds=retry_after_seconds,
    )


def _result(body: bytes | msgspec.Raw) -> str | None:
    """Return the result in a body as it was sent; null is none."""
    result = bytes(as_sent(body, _Raw).result)
    return None if result == NULL else result.decode()


def _refused(index: int, item: Any, error: BellhopError) -> shapes.ItemRefused:
    code, words = words_of(error)
    named = item.get("job_id") if isinstance(item, dict) else None
    return {
        "index": index,
        "job_id": named if isinstance(named, str) else None,
        "code": code,
        "error": words,
    }
