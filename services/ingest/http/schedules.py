"""``/schedules``: jobs that come by themselves (contract 1.9)."""

from typing import Final

import msgspec
from aiohttp import web

from libs.common.access import Principal
from libs.common.db import Conn, Row, borrow
from libs.common.errors import Conflict, NotFound
from libs.common.ids import new_id
from libs.common.messages import SchedulesChanged
from libs.common.store import schedules
from libs.common.ticks import Tick
from libs.common.zones import EDITION
from services.ingest.answers import schedules as shapes
from services.ingest.http.errors import answer
from services.ingest.http.paging import asked_part
from services.ingest.http.reading import (
    BUS,
    HOT,
    POOL,
    SETTINGS,
    id_in_path,
    plain,
    read_json,
    understood,
    whoever,
)
from services.ingest.http.routing import Route
from services.ingest.requests.checking import as_sent
from services.ingest.requests.schedules import (
    ChangeSchedule,
    CreateSchedule,
    ListSchedules,
)
from services.ingest.schedules import (
    Asker,
    changed_definition,
    first_tick,
    following_of,
    new_definition,
    require_endpoint,
    require_room,
    rhythm,
    rhythm_of_row,
)

_ONE: Final = "/api/v1/schedules/{id}"
_TRUTHS: Final = {"true": True, "1": True, "false": False, "0": False}


class _Raw(msgspec.Struct):
    """The bytes of a payload as they were sent."""

    payload_template: msgspec.Raw


def routes() -> list[Route]:
    """Return the routes."""
    return [
        Route(
            method="GET",
            path="/api/v1/schedules",
            handler=list_,
            query=ListSchedules,
            answers={200: list[shapes.Schedule]},
        ),
        Route(
            method="POST",
            path="/api/v1/schedules",
            handler=create,
            body=CreateSchedule,
            answers={201: shapes.Schedule},
        ),
        Route(
            method="GET",
            path=_ONE,
            handler=read,
            answers={200: shapes.Schedule},
        ),
        *_changing(),
    ]


def _changing() -> list[Route]:
    """Return the routes that change a schedule."""
    return [
        Route(
            method="PUT",
            path=_ONE,
            handler=change,
            body=ChangeSchedule,
            answers={200: shapes.Schedule},
        ),
        Route(method="DELETE", path=_ONE, handler=delete, answers={204: None}),
        Route(
            method="POST",
            path=f"{_ONE}/pause",
            handler=pause,
            answers={200: shapes.Schedule},
        ),
        Route(
            method="POST",
            path=f"{_ONE}/resume",
            handler=resume,
            answers={200: shapes.Schedule},
            refusals=(409,),
        ),
    ]


async def list_(request: web.Request) -> web.Response:
    """Return schedules, newest first."""
    principal = await whoever(request)
    part = asked_part(request, most=500)
    async with borrow(request.app[POOL]) as conn:
        rows = await schedules.list_schedules(
            conn,
            organization_id=principal.organization_id,
            queue_names=principal.scope,
            queue_name=plain(request, "queue_name"),
            active=_TRUTHS.get(request.query.get("is_active", "").lower()),
            limit=part.limit,
            offset=part.offset,
        )
    return part.of(rows, shapes.schedule)


async def create(request: web.Request) -> web.Response:
    """Create a schedule; it fires at the first tick from now on."""
    principal = await whoever(request)
    body, data = await read_json(request)
    asked = understood(request, CreateSchedule, data)
    principal.require(asked.queue_name)
    definition = new_definition(
        _asker(request, principal),
        asked,
        payload=bytes(as_sent(body, _Raw).payload_template),
    )
    id_, organization_id = new_id(), principal.organization_id
    async with borrow(request.app[HOT]) as conn, conn.transaction():
        now = await schedules.read_clock(conn)
        following = first_tick(rhythm(id_, definition, created_at=now), after=now)
        await require_endpoint(conn, principal, definition)
        await require_room(conn, principal, id_=id_, queue_name=asked.queue_name)
        await schedules.create_schedule(
            conn,
            id_=id_,
            organization_id=organization_id,
            queue_name=asked.queue_name,
            definition=definition,
            following=following,
            edition=EDITION,
            created_at=now,
        )
        row = await schedules.read_schedule(
            conn, organization_id=organization_id, id_=id_
        )
    await _tell(request)
    return answer(shapes.schedule(visible(row, principal)), status=201)


async def read(request: web.Request) -> web.Response:
    """Return a schedule."""
    principal = await whoever(request)
    return answer(shapes.schedule(await read_visible(request, principal)))


async def change(request: web.Request) -> web.Response:
    """Change a schedule, from the next tick on; absent and null keep what is there.

    Null takes away ``target``, ``retry``, ``start_at`` and ``end_at``.
    """
    principal = await whoever(request)
    body, data = await read_json(request)
    asked = understood(request, ChangeSchedule, data)
    payload = None
    if asked.payload_template is not None:
        payload = bytes(as_sent(body, _Raw).payload_template)
    id_, organization_id = id_in_path(request), principal.organization_id
    async with borrow(request.app[HOT]) as conn, conn.transaction():
        row = visible(
            await schedules.lock_schedule(
                conn, organization_id=organization_id, id_=id_
            ),
            principal,
        )
        after = changed_definition(
            _asker(request, principal), row, asked, payload=payload
        )
        await require_endpoint(conn, principal, after)
        await schedules.change_schedule(
            conn,
            id_=id_,
            definition=after,
            following=await _following(conn, principal, row, after),
            edition=EDITION,
        )
        changed = await schedules.read_schedule(
            conn, organization_id=organization_id, id_=id_
        )
    await _tell(request)
    return answer(shapes.schedule(visible(changed, principal)))


async def delete(request: web.Request) -> web.Response:
    """Delete a schedule and its history; the jobs that it created stay."""
    principal = await whoever(request)
    row = await read_visible(request, principal)
    async with borrow(request.app[HOT]) as conn:
        await schedules.delete_schedule(
            conn, organization_id=principal.organization_id, id_=row["id"]
        )
    return web.Response(status=204)


async def pause(request: web.Request) -> web.Response:
    """Let a schedule not fire until it is resumed; ticks meanwhile are not missed."""
    principal = await whoever(request)
    row = await read_visible(request, principal)
    async with borrow(request.app[HOT]) as conn:
        await schedules.pause(
            conn, organization_id=principal.organization_id, id_=row["id"]
        )
    await _tell(request)
    return answer(shapes.schedule(await read_visible(request, principal)))


async def resume(request: web.Request) -> web.Response:
    """Let a schedule fire again, from now on; 409 when nothing comes any more."""
    principal = await whoever(request)
    id_, organization_id = id_in_path(request), principal.organization_id
    async with borrow(request.app[HOT]) as conn, conn.transaction():
        row = visible(
            await schedules.lock_schedule(
                conn, organization_id=organization_id, id_=id_
            ),
            principal,
        )
        if row["paused"]:
            following = rhythm_of_row(row).after(row["asked_at"])
            if following is None:
                raise Conflict("Schedule cannot be resumed: nothing comes any more")
            await require_room(conn, principal, id_=id_, queue_name=row["queue_name"])
            await schedules.resume(conn, id_=id_, following=following, edition=EDITION)
    await _tell(request)
    return answer(shapes.schedule(await read_visible(request, principal)))


def visible(row: Row | None, principal: Principal) -> Row:
    """Return *row* if the principal may see it; raises `NotFound`."""
    if row is None or not principal.may(row["queue_name"]):
        raise NotFound("Resource not found")
    return row


async def read_visible(request: web.Request, principal: Principal) -> Row:
    """Return the schedule in the path; raises `NotFound`."""
    async with borrow(request.app[POOL]) as conn:
        row = await schedules.read_schedule(
            conn,
            organization_id=principal.organization_id,
            id_=id_in_path(request),
        )
    return visible(row, principal)


def _asker(request: web.Request, principal: Principal) -> Asker:
    return Asker(principal, development=request.app[SETTINGS].development)


async def _following(
    conn: Conn, principal: Principal, row: Row, after: schedules.Definition
) -> Tick | None:
    """Return what comes next when a schedule becomes *after*."""
    now_fires = rhythm(row["id"], after, created_at=row["created_at"])
    if not _moves(row, after):
        return following_of(row)
    if row["next_tick"] is None and not row["paused"]:
        # It had ended, and counts again.
        await require_room(conn, principal, id_=row["id"], queue_name=row["queue_name"])
    return first_tick(now_fires, after=row["asked_at"])


def _moves(row: Row, after: schedules.Definition) -> bool:
    """Whether a change moves what comes next."""
    return any(
        row[name] != getattr(after, name)
        for name in (
            "cron_expression",
            "timezone",
            "start_at",
            "end_at",
            "jitter_seconds",
        )
    )


async def _tell(request: web.Request) -> None:
    """Say that something may be due earlier than the schedulers think, or be told."""
    await request.app[BUS].ring(SchedulesChanged())
    await request.app[BUS].ring_journal()
