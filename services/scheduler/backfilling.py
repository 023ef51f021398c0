"""Ticks of the past that somebody wants to have fired: bit by bit, and none twice.

Each bit is one transaction, which notes how far it came; whoever dies leaves the rest
to the next one.
"""

import asyncio
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import structlog

from libs.common.bus import Bus
from libs.common.db import Conn, Pool, Row, borrow
from libs.common.firing import Fired, Firing, is_gone, make_jobs
from libs.common.lines import release_lines
from libs.common.loops import Doorbell, on_bell
from libs.common.messages import SchedulesChanged
from libs.common.plans import PlanLimits
from libs.common.quotas import stored_plan
from libs.common.store import backfills, firings
from services.scheduler.decisions import rhythm_of_row
from services.scheduler.recurring import FIRED

log = structlog.get_logger()

_POLL_SECONDS: Final = 2.0
_BATCH: Final = 200
_MOMENT: Final = timedelta(microseconds=1)


async def fill_in(
    stopping: asyncio.Event,
    *,
    pool: Pool,
    bus: Bus,
    plan_limits: PlanLimits | None,
) -> None:
    """Go on with backfills, until stopped (an actor)."""
    bell = Doorbell(stopping)
    async with asyncio.TaskGroup() as both:
        both.create_task(
            bus.hear(SchedulesChanged, lambda _: bell.ring(), stopping=stopping)
        )
        both.create_task(
            on_bell(
                partial(_turn, pool, bus, plan_limits),
                bell=bell,
                poll_seconds=_POLL_SECONDS,
                stopping=stopping,
            )
        )


async def _turn(pool: Pool, bus: Bus, plan_limits: PlanLimits | None) -> bool:
    """Do one bit of one backfill; return whether there was one."""
    async with borrow(pool) as conn, conn.transaction():
        row = await backfills.claim_running(conn)
        if row is None:
            return False
        if is_gone(row):
            await _advance(conn, row, None, [], skipped=0, error="it is no more")
            return True
        ticks, whole = _ticks(row)
        before = await backfills.find_fired(conn, schedule_id=row["id"], ticks=ticks)
        plan = stored_plan(row, plan_limits)
        asked = [
            Firing(schedule=row, plan=plan, source="backfill", tick=tick)
            for tick in ticks
            if tick not in before
        ]
        fired = await make_jobs(conn, asked=asked) if asked else []
        made = [one for one in fired if one.error is None]
        if made:
            jobs = await firings.record(conn, runs=[one.run() for one in made])
            # What is made up for holds up nobody.
            await firings.count_on(
                conn,
                schedule_id=row["id"],
                runs=len(jobs.get(row["id"], ())),
                latest=None,
            )
        error = next((str(one.error) for one in fired if one.error is not None), None)
        if error is not None:
            await _advance(conn, row, None, made, skipped=len(before), error=error)
        else:
            reached = ticks[-1] if ticks else None
            await _advance(
                conn, row, reached, made, skipped=len(before), over=not whole
            )
    FIRED.inc(len(made))
    if made:
        await bus.ring_lanes({one.lane for one in made if one.lane is not None})
        await bus.ring_journal()
    if any(one.in_line for one in made):
        await release_lines(pool, bus)
    return True


def _ticks(row: Row) -> tuple[list[datetime], bool]:
    """Return the next ticks to look at, and whether there may be more."""
    rhythm = rhythm_of_row(row)
    found: list[datetime] = []
    tick = rhythm.after(row["reached"] or row["since"] - _MOMENT)
    while tick is not None and tick.tick < row["until"] and len(found) < _BATCH:
        found.append(tick.tick)
        tick = rhythm.after(tick.tick)
    return found, len(found) == _BATCH


async def _advance(
    conn: Conn,
    row: Row,
    reached: datetime | None,
    made: list[Fired],
    *,
    skipped: int,
    error: str | None = None,
    over: bool = False,
) -> None:
    state: backfills.State = "completed" if over else "running"
    if error is not None:
        state = "failed"
        log.info("backfill.stopped", backfill_id=str(row["backfill_id"]), cause=error)
    await backfills.advance(
        conn,
        id_=row["backfill_id"],
        reached=reached,
        created=len(made),
        skipped=skipped,
        state=state,
        error_message=error,
    )
