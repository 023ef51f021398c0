"""``/queues``: what a queue gives to its jobs, and whether they run (contract 1.5)."""

from datetime import UTC, datetime
from typing import Final

import orjson
import structlog
from aiohttp import web

from libs.common import quotas
from libs.common.access import Principal
from libs.common.db import borrow
from libs.common.errors import Fault, Malformed, NotFound, Unavailable
from libs.common.ids import new_id
from libs.common.lines import release_lines
from libs.common.store import lanes, lines, queues, tallies, workers
from services.ingest.answers import queues as shapes
from services.ingest.closures import delete_queue
from services.ingest.http.changes import tell_changed
from services.ingest.http.errors import answer
from services.ingest.http.paging import asked_part
from services.ingest.http.reading import (
    BUS,
    HOT,
    POOL,
    queue_in_path,
    read_json,
    read_optional,
    understood,
    whoever,
)
from services.ingest.http.routing import Route
from services.ingest.requests.fields import JSON_BYTES_MAX, Page
from services.ingest.requests.queues import ConfigureQueue, DeleteQueue, PauseQueue

log = structlog.get_logger()


_ONE: Final = "/api/v1/queues/{name}"


def routes() -> list[Route]:
    """Return the routes."""
    return [
        Route(
            method="GET",
            path="/api/v1/queues",
            handler=list_,
            query=Page,
            answers={200: list[shapes.QueueSummary]},
        ),
        Route(
            method="GET",
            path=_ONE,
            handler=read,
            answers={200: shapes.QueueAnswer},
            refusals=(404,),
        ),
        Route(
            method="GET",
            path=f"{_ONE}/stats",
            handler=stats,
            answers={200: shapes.QueueStats},
            refusals=(404,),
        ),
        *_changing(),
    ]


def _changing() -> list[Route]:
    """Return the routes that change something."""
    return [
        Route(
            method="PUT",
            path=f"{_ONE}/config",
            handler=configure,
            body=ConfigureQueue,
            answers={200: shapes.QueueAnswer},
            refusals=(400, 403, 422, 429),
        ),
        Route(
            method="POST",
            path=f"{_ONE}/pause",
            handler=pause,
            body=PauseQueue,
            body_optional=True,
            answers={200: shapes.PausedAnswer},
            refusals=(400, 403, 404, 422),
        ),
        Route(
            method="POST",
            path=f"{_ONE}/resume",
            handler=resume,
            answers={200: shapes.ResumedAnswer},
            refusals=(400, 403, 404),
        ),
        Route(
            method="DELETE",
            path=_ONE,
            handler=delete,
            query=DeleteQueue,
            answers={204: None},
            refusals=(400, 403, 404, 409),
        ),
    ]


async def list_(request: web.Request) -> web.Response:
    """Return queues by name: those that were configured, and those that have jobs."""
    principal = await whoever(request)
    part = asked_part(request)
    async with borrow(request.app[POOL]) as conn:
        rows = await queues.list_queues(
            conn,
            organization_id=principal.organization_id,
            names=principal.scope,
            limit=part.limit,
            offset=part.offset,
        )
    return part.of(rows, shapes.summary)


async def read(request: web.Request) -> web.Response:
    """Return a queue's configuration; of an unconfigured one, what it would be."""
    principal = await whoever(request)
    name = _visible(request, principal)
    async with borrow(request.app[POOL]) as conn:
        row = await queues.find_queue(
            conn, organization_id=principal.organization_id, name=name
        )
    if row is None:
        raise NotFound("Resource not found")
    return answer(shapes.queue(row, principal.organization_id))


async def configure(request: web.Request) -> web.Response:
    """Create or change a queue's configuration; what is absent stays as it is."""
    principal = await whoever(request)
    name = queue_in_path(request)
    principal.require(name)
    _, data = await read_json(request)
    asked = understood(request, ConfigureQueue, data)
    organization_id = principal.organization_id
    settings = {} if asked.settings is None else data["settings"]
    kept = {key: value for key, value in settings.items() if value is not None}
    async with borrow(request.app[HOT]) as conn, conn.transaction():
        if principal.plan.limits.max_queues is not None:
            rooms = await quotas.hold(
                conn, {organization_id: principal.plan}, queues=True
            )
            quotas.room_of(rooms, organization_id).take(0, queue_names=[name])
        row = await queues.configure_queue(
            conn,
            id_=new_id(),
            organization_id=organization_id,
            name=name,
            max_retries=asked.max_retries,
            default_timeout=asked.default_timeout or asked.timeout_seconds,
            rate_limit=asked.rate_limit,
            enabled=asked.enabled,
            settings=orjson.dumps(kept).decode() if kept else None,
            cleared=sorted(settings.keys() - kept.keys()),
            unlimited=data.get("rate_limit", 0) is None,
        )
        if len(row["settings"].encode()) > 2 * JSON_BYTES_MAX:
            # What is merged in bit by bit has an end as well.
            raise Malformed(Fault("settings", "exceed 128 KiB in all", "size"))
    await _tell(request, principal, name)
    if "concurrency_per_key" in settings:
        await _look_at_lines(request, principal, name)
    return answer(shapes.queue(row, organization_id))


async def stats(request: web.Request) -> web.Response:
    """Return how a queue stands; zeros for one that there is not."""
    principal = await whoever(request)
    name = _visible(request, principal)
    async with borrow(request.app[POOL]) as conn:
        figures = await tallies.of_organization(
            conn, organization_id=principal.organization_id, queue_names=[name]
        )
        up = await workers.count_up_in_queue(
            conn, organization_id=principal.organization_id, queue_name=name
        )
    return answer(shapes.stats(name, figures, workers=up, now=datetime.now(UTC)))


async def pause(request: web.Request) -> web.Response:
    """Let nothing be claimed from a queue; creating jobs goes on."""
    principal = await whoever(request)
    name = queue_in_path(request)
    principal.require(name)
    asked = await read_optional(request, PauseQueue)
    async with borrow(request.app[POOL]) as conn:
        row = await queues.pause_queue(
            conn,
            id_=new_id(),
            organization_id=principal.organization_id,
            name=name,
            reason=asked.reason,
        )
    if row is None:
        raise NotFound("Resource not found")
    await _tell(request, principal, name)
    return answer(shapes.paused(name, row))


async def resume(request: web.Request) -> web.Response:
    """Let a queue's jobs be claimed again, whether it was paused or not enabled."""
    principal = await whoever(request)
    name = queue_in_path(request)
    principal.require(name)
    async with borrow(request.app[POOL]) as conn:
        row = await queues.resume_queue(
            conn, organization_id=principal.organization_id, name=name
        )
        found = row is not None or await queues.find_queue(
            conn, organization_id=principal.organization_id, name=name
        )
    if not found:
        raise NotFound("Resource not found")
    await _tell(request, principal, name)
    return answer(shapes.resumed(name, row))


async def delete(request: web.Request) -> web.Response:
    """Delete a queue; 409 while jobs stand in it, unless they are to be deleted too."""
    principal = await whoever(request)
    name = queue_in_path(request)
    principal.require(name)
    await delete_queue(
        request.app[HOT],
        request.app[BUS],
        principal=principal,
        name=name,
        delete_jobs=request.query.get("delete_jobs", "").lower() in ("true", "1"),
    )
    await _tell(request, principal, name)
    return web.Response(status=204)


async def _tell(request: web.Request, principal: Principal, name: str) -> None:
    """Say that a queue changed, and that its jobs may be looked at anew.

    The change is committed: who is not told looks again by itself.
    """
    await tell_changed(request, principal.organization_id)
    try:
        async with borrow(request.app[POOL]) as conn:
            ready = await lanes.ready_of_queue(
                conn, organization_id=principal.organization_id, queue_name=name
            )
    except Unavailable as error:
        log.warning("queue.lanes_unknown", cause=str(error))
        return
    await request.app[BUS].ring_lanes((lane.id, lane.push) for lane in ready)


async def _look_at_lines(request: web.Request, principal: Principal, name: str) -> None:
    """Call who may run now that more of a key may; whoever ends next would, too."""
    try:
        async with borrow(request.app[HOT]) as conn:
            await lines.recheck(
                conn, organization_id=principal.organization_id, queue_name=name
            )
    except Unavailable as error:
        log.warning("queue.lines_unknown", cause=str(error))
        return
    await release_lines(request.app[HOT], request.app[BUS])


def _visible(request: web.Request, principal: Principal) -> str:
    """Return the queue in the path; raises `NotFound` for one that is not theirs."""
    name = request.match_info["name"]
    if not principal.may(name) or "\x00" in name:
        raise NotFound("Resource not found")
    return name
