"""``/workers``: who says to be at work (contract 1.6)."""

from aiohttp import web

from libs.common.db import borrow
from libs.common.errors import NotFound
from libs.common.store import workers as store
from services.ingest import workers
from services.ingest.answers import workers as shapes
from services.ingest.http.errors import answer
from services.ingest.http.paging import asked_part
from services.ingest.http.reading import BUS, HOT, POOL, read_body, whoever
from services.ingest.http.routing import Route
from services.ingest.requests.fields import Page
from services.ingest.requests.workers import BeatHeart, RegisterWorker


def routes() -> list[Route]:
    """Return the routes; the fixed path before ``/workers/{id}``."""
    one = "/api/v1/workers/{id}"
    return [
        Route(
            method="GET",
            path="/api/v1/workers",
            handler=list_,
            query=Page,
            answers={200: list[shapes.WorkerAnswer]},
        ),
        Route(
            method="POST",
            path="/api/v1/workers/register",
            handler=register,
            body=RegisterWorker,
            answers={201: shapes.RegisteredAnswer},
            refusals=(400, 403, 409, 422, 429),
        ),
        Route(
            method="GET",
            path=one,
            handler=read,
            answers={200: shapes.WorkerAnswer},
            refusals=(404,),
        ),
        Route(
            method="POST",
            path=f"{one}/heartbeat",
            handler=heartbeat,
            body=BeatHeart,
            answers={200: None},
            refusals=(400, 404, 422, 429),
        ),
        Route(
            method="POST",
            path=f"{one}/deregister",
            handler=deregister,
            answers={204: None},
            refusals=(404,),
        ),
    ]


async def list_(request: web.Request) -> web.Response:
    """Return workers: those that are up first, then the latest come."""
    principal = await whoever(request)
    part = asked_part(request)
    async with borrow(request.app[POOL]) as conn:
        rows = await store.list_workers(
            conn,
            organization_id=principal.organization_id,
            scope=principal.scope,
            limit=part.limit,
            offset=part.offset,
        )
    return part.of(rows, shapes.worker)


async def register(request: web.Request) -> web.Response:
    """Enter a worker; an id that is entered already is entered anew."""
    principal = await whoever(request)
    registered = await workers.register(
        request.app[POOL],
        request.app[BUS],
        principal=principal,
        wanted=await read_body(request, RegisterWorker),
    )
    return answer(
        shapes.registered(registered.worker_id, registered.queue_name), status=201
    )


async def read(request: web.Request) -> web.Response:
    """Return one worker."""
    principal = await whoever(request)
    async with borrow(request.app[POOL]) as conn:
        row = await store.read_worker(
            conn,
            organization_id=principal.organization_id,
            scope=principal.scope,
            worker_id=_worker_in_path(request),
        )
    if row is None:
        raise NotFound("Resource not found")
    return answer(shapes.worker(row))


async def heartbeat(request: web.Request) -> web.Response:
    """Note that a worker lives; a worker that says nothing for two minutes is gone."""
    principal = await whoever(request)
    worker_id = _worker_in_path(request)
    asked = await read_body(request, BeatHeart)
    beat = await workers.heartbeat(
        request.app[POOL],
        request.app[BUS],
        principal=principal,
        worker_id=worker_id,
        current_jobs=asked.current_jobs,
        status=asked.status,
        metadata=asked.metadata,
        sticky=False,
    )
    if not beat.acknowledged:
        raise NotFound("Resource not found")
    return web.Response(status=200)


async def deregister(request: web.Request) -> web.Response:
    """Let a worker go: others get its jobs at once, without a retry being charged."""
    principal = await whoever(request)
    gone = await workers.deregister(
        request.app[HOT],
        request.app[BUS],
        principal=principal,
        worker_id=_worker_in_path(request),
    )
    if not gone:
        raise NotFound("Resource not found")
    return web.Response(status=204)


def _worker_in_path(request: web.Request) -> str:
    """Return the worker named in the path; what can be no id names nothing."""
    worker_id = request.match_info["id"]
    if "\x00" in worker_id:
        raise NotFound("Resource not found")
    return worker_id
