"""``/schedules``: what they do, did, and will do (contract 1.9)."""

from datetime import UTC, datetime
from typing import Final

from aiohttp import web

from libs.common import firing
from libs.common.cron import moments
from libs.common.db import borrow
from libs.common.errors import Conflict, NotFound
from libs.common.firing import Firing
from libs.common.ids import new_id
from libs.common.lines import release_lines
from libs.common.messages import SchedulesChanged
from libs.common.store import backfills, firings, schedules
from libs.common.zones import zone_of
from services.ingest.answers import schedules as shapes
from services.ingest.http.errors import answer
from services.ingest.http.paging import asked_part
from services.ingest.http.reading import (
    BUS,
    HOT,
    POOL,
    id_in_path,
    read_body,
    whoever,
)
from services.ingest.http.routing import Route
from services.ingest.http.schedules import read_visible, visible
from services.ingest.requests.schedules import Backfill, PreviewSchedule, RunsPage
from services.ingest.schedules import (
    backfill_bounds,
    rhythm_of_row,
    ticks_between,
    timetable,
)

_ONE: Final = "/api/v1/schedules/{id}"
#: The most ticks of one backfill, and the most backfills of a schedule at once.
_TICKS_MAX: Final = 10_000
_BACKFILLS_MAX: Final = 10


def routes() -> list[Route]:
    """Return the routes; the fixed path before ``/schedules/{id}``."""
    return [
        Route(
            method="POST",
            path="/api/v1/schedules/preview",
            handler=preview,
            body=PreviewSchedule,
            answers={200: shapes.Fires},
        ),
        Route(
            method="POST",
            path=f"{_ONE}/trigger",
            handler=trigger,
            answers={200: shapes.Triggered},
            refusals=(409, 413),
        ),
        Route(
            method="GET",
            path=f"{_ONE}/history",
            handler=history,
            query=RunsPage,
            answers={200: list[shapes.RunAnswer]},
        ),
        Route(
            method="POST",
            path=f"{_ONE}/backfill",
            handler=backfill,
            body=Backfill,
            answers={202: shapes.BackfillAnswer},
            refusals=(409,),
        ),
        Route(
            method="GET",
            path=f"{_ONE}/backfills/{{backfill_id}}",
            handler=read_backfill,
            answers={200: shapes.BackfillAnswer},
        ),
    ]


async def preview(request: web.Request) -> web.Response:
    """Say when an expression fires, without a schedule: the next times from a moment.

    Where the clocks change: a time of day that a clock leaves out is right afterwards,
    and one that it shows twice is the first. Minutes or hours that begin with a star go
    by what the clock shows.
    """
    await whoever(request)
    asked = await read_body(request, PreviewSchedule)
    since = asked.since or datetime.now(UTC)
    found = moments(
        timetable(asked.cron_expression, timezone=asked.timezone, anchor=since),
        after=since,
        limit=asked.count,
    )
    zone = zone_of(asked.timezone)
    fires: list[shapes.Fire] = [
        {"local": moment.astimezone(zone).isoformat(), "utc": moment}
        for moment in found
    ]
    return answer(shapes.Fires(fires=fires))


async def trigger(request: web.Request) -> web.Response:
    """Create a schedule's job now, whatever its time, also while it is paused."""
    principal = await whoever(request)
    async with borrow(request.app[HOT]) as conn, conn.transaction():
        row = visible(
            await schedules.lock_schedule(
                conn,
                organization_id=principal.organization_id,
                id_=id_in_path(request),
            ),
            principal,
        )
        [fired] = await firing.make_jobs(
            conn,
            asked=[
                Firing(schedule=row, plan=principal.plan, source="schedule_trigger")
            ],
        )
        if fired.error is not None:
            raise fired.error
        await firings.record(conn, runs=[fired.run()])
        await firings.count_on(conn, schedule_id=row["id"], runs=1, latest=fired.job_id)
    bus = request.app[BUS]
    if fired.lane is not None:
        await bus.ring_lanes([fired.lane])
    await bus.ring_journal()
    if fired.in_line:
        await release_lines(request.app[HOT], bus)
    triggered: shapes.Triggered = {
        "job_id": str(fired.job_id),
        "triggered_at": row["asked_at"],
    }
    return answer(triggered)


async def history(request: web.Request) -> web.Response:
    """Return what a schedule did, newest first, and how each job stands."""
    principal = await whoever(request)
    row = await read_visible(request, principal)
    part = asked_part(request, default=50, most=500)
    async with borrow(request.app[POOL]) as conn:
        rows = await schedules.list_runs(
            conn,
            schedule_id=row["id"],
            limit=part.limit,
            offset=part.offset,
        )
    return part.of(rows, shapes.run)


async def backfill(request: web.Request) -> web.Response:
    """Create a job for each tick of the past that has none, whatever kept it from it.

    At most 10 000 ticks, the oldest first, by the expression as it is now. It is done
    bit by bit after the answer, and goes on whoever dies meanwhile. Asked for again it
    creates nothing twice.
    """
    principal = await whoever(request)
    asked = await read_body(request, Backfill)
    async with borrow(request.app[HOT]) as conn, conn.transaction():
        row = visible(
            await schedules.lock_schedule(
                conn,
                organization_id=principal.organization_id,
                id_=id_in_path(request),
            ),
            principal,
        )
        since, until = backfill_bounds(asked.since, asked.until, now=row["asked_at"])
        running = await backfills.count_running(conn, schedule_id=row["id"])
        if running >= _BACKFILLS_MAX:
            raise Conflict(f"{running} backfills of this schedule are under way")
        begun = await backfills.create_backfill(
            conn,
            id_=new_id(),
            schedule_id=row["id"],
            since=since,
            until=until,
            total=ticks_between(rhythm_of_row(row), since, until, most=_TICKS_MAX),
        )
    await request.app[BUS].ring(SchedulesChanged())
    return answer(shapes.backfill(begun), status=202)


async def read_backfill(request: web.Request) -> web.Response:
    """Return how far a backfill came."""
    principal = await whoever(request)
    row = await read_visible(request, principal)
    async with borrow(request.app[POOL]) as conn:
        found = await backfills.read_backfill(
            conn, schedule_id=row["id"], id_=id_in_path(request, "backfill_id")
        )
    if found is None:
        raise NotFound("Resource not found")
    return answer(shapes.backfill(found))
