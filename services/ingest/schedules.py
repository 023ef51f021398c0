"""Schedules on their way in: what shapes cannot say, and what comes next."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import orjson

from libs.common import quotas
from libs.common.access import Principal
from libs.common.cron import Timetable, read_timetable
from libs.common.cron_fields import InvalidCron
from libs.common.db import Conn, Row
from libs.common.errors import Fault, Malformed
from libs.common.ids import parse_id
from libs.common.store import firings, organizations, schedules
from libs.common.store.lanes import endpoint_destination
from libs.common.store.schedules import Definition
from libs.common.ticks import Rhythm, Tick, rhythm_of
from services.ingest.requests.jobs import CreateJob, EndpointTarget, Target
from services.ingest.requests.schedules import (
    ChangeSchedule,
    CreateSchedule,
)
from services.ingest.wanted import no_such_endpoint, wanted

#: What null takes away; elsewhere it keeps what is there (contract 5.1).
_CLEARED: Final = ("target", "retry", "start_at", "end_at")
#: Fields that are stored as they are asked for.
_PLAIN: Final = (
    "name",
    "description",
    "cron_expression",
    "timezone",
    "start_at",
    "end_at",
    "jitter_seconds",
    "misfire",
    "overlap",
    "max_retries",
    "timeout_seconds",
)
_CATCH_UP_MAX: Final = 100
_CATCH_UP_SECONDS: Final = 86_400


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks, and whether targets on this machine are allowed."""

    principal: Principal
    development: bool


def timetable(expression: str, *, timezone: str, anchor: datetime) -> Timetable:
    """Return what an expression says; raises `Malformed` with the contract's words."""
    try:
        return read_timetable(expression, timezone=timezone, anchor=anchor)
    except InvalidCron as error:
        raise _not_cron(str(error)) from error
    except ValueError as error:
        raise Malformed(Fault("timezone", str(error), "timezone")) from error


def rhythm(id_: UUID, definition: Definition, *, created_at: datetime) -> Rhythm:
    """Return when a schedule fires; raises `Malformed`."""
    start, end = definition.start_at, definition.end_at
    if start is not None and end is not None and start >= end:
        raise Malformed(Fault("end_at", "must be later than start_at", "bounds"))
    anchor = start or created_at
    timetable(definition.cron_expression, timezone=definition.timezone, anchor=anchor)
    return rhythm_of(
        id_,
        expression=definition.cron_expression,
        timezone=definition.timezone,
        created_at=created_at,
        start_at=start,
        end_at=end,
        jitter_seconds=definition.jitter_seconds,
    )


def first_tick(rhythm: Rhythm, *, after: datetime) -> Tick:
    """Return what comes next; raises `Malformed` when nothing ever does."""
    following = rhythm.after(after)
    if following is not None:
        return following
    if rhythm.end_at is not None and rhythm.timetable.after(after) is not None:
        raise Malformed(
            Fault("end_at", "is before the next time that it would fire", "bounds")
        )
    raise _not_cron("Invalid cron expression: it never fires")


def following_of(row: Row) -> Tick | None:
    """Return what a stored schedule does next."""
    if row["next_tick"] is None:
        return None
    return Tick(row["next_tick"], row["next_at"])


def rhythm_of_row(row: Row) -> Rhythm:
    """Return when a stored schedule fires."""
    return rhythm(row["id"], Definition.of(row), created_at=row["created_at"])


def new_definition(
    asker: Asker, asked: CreateSchedule, *, payload: bytes
) -> Definition:
    """Return what a new schedule says.

    Raises `Malformed`, and `PayloadOverPlan`; whether its endpoint is there is for
    `require_endpoint`.
    """
    blank = Definition(name="", cron_expression="", payload="null")
    return _with(asker, blank, asked, asked.queue_name, payload=payload)


def changed_definition(
    asker: Asker, row: Row, asked: ChangeSchedule, *, payload: bytes | None
) -> Definition:
    """Return what a schedule says after a change; raises as `new_definition`."""
    cleared = {
        name
        for name in _CLEARED
        if name in asked.model_fields_set and getattr(asked, name) is None
    }
    before = Definition.of(row)
    if "start_at" in cleared:
        before = replace(before, start_at=None)
    if "end_at" in cleared:
        before = replace(before, end_at=None)
    if "retry" in cleared:
        before = replace(before, retry=None)
    if "target" in cleared:
        before = replace(before, **_target(None, "", None))
    return _with(asker, before, asked, row["queue_name"], payload=payload)


def _with(
    asker: Asker,
    before: Definition,
    asked: CreateSchedule | ChangeSchedule,
    queue_name: str,
    *,
    payload: bytes | None,
) -> Definition:
    """Return *before* with what is *asked* for; null asks for nothing."""
    said: dict[str, Any] = {
        name: value for name in _PLAIN if (value := getattr(asked, name)) is not None
    }
    if asked.priority is not None:
        said["rank"] = 100 - asked.priority
    for name in ("tags", "metadata"):
        value = getattr(asked, name)
        if value is not None:
            said[name] = orjson.dumps(value).decode()
    if asked.retry is not None:
        said["retry"] = asked.retry.model_dump_json()
    said |= _job(asker, asked, queue_name, payload)
    after = replace(before, **said)
    return replace(after, **_catch_up(after, asked))


def _job(
    asker: Asker,
    asked: CreateSchedule | ChangeSchedule,
    queue_name: str,
    payload: bytes | None,
) -> dict[str, Any]:
    """Check the job as one that is created now; return what it says."""
    target = asked.target
    try:
        job = wanted(
            asker.principal,
            CreateJob(
                queue_name=queue_name,
                payload=asked.payload_template,
                target=target if isinstance(target, Target) else None,
            ),
            payload=b"null" if payload is None else payload,
            development=asker.development,
        )
    except Malformed as error:
        raise Malformed(*map(_renamed, error.faults)) from error
    said: dict[str, Any] = {}
    if payload is not None:
        said |= {"payload": job.payload, "job_type": job.job_type}
    if isinstance(target, EndpointTarget):
        id_ = parse_id(target.endpoint_id)
        if id_ is None:
            raise no_such_endpoint()
        said |= _target(None, endpoint_destination(id_), id_)
    elif target is not None:
        said |= _target(job.push, job.lane.destination, None)
    return said


def _target(push: Any, destination: str, endpoint_id: UUID | None) -> dict[str, Any]:
    return {
        "target_url": push and push.url,
        "target_method": push and push.method,
        "target_headers": push and push.headers,
        "target_timeout_seconds": push and push.timeout_seconds,
        "endpoint_id": endpoint_id,
        "destination": destination,
    }


def _catch_up(
    after: Definition, asked: CreateSchedule | ChangeSchedule
) -> dict[str, Any]:
    """Return how far it catches up, if it does; raises `Malformed`."""
    given = asked.catch_up
    if after.misfire != "catch_up":
        if given is not None:
            raise Malformed(
                Fault("catch_up", "is for misfire catch_up only", "catch_up")
            )
        return {"catch_up_max": None, "catch_up_seconds": None}
    if given is not None:
        return {
            "catch_up_max": given.max,
            "catch_up_seconds": given.window_seconds,
        }
    return {
        "catch_up_max": after.catch_up_max or _CATCH_UP_MAX,
        "catch_up_seconds": after.catch_up_seconds or _CATCH_UP_SECONDS,
    }


async def require_endpoint(
    conn: Conn, principal: Principal, definition: Definition
) -> None:
    """Raise `Malformed` unless the endpoint it goes to, if any, is there."""
    if definition.endpoint_id is None:
        return
    asked = [(principal.organization_id, definition.endpoint_id)]
    if not await firings.find_alive(conn, endpoints=asked):
        raise no_such_endpoint()


async def require_room(
    conn: Conn, principal: Principal, *, id_: UUID, queue_name: str
) -> None:
    """Raise `QuotaExceeded` unless the plan allows one more that fires, in its queue.

    Whoever else wants one waits until the transaction ends.
    """
    organization_id, plan = principal.organization_id, principal.plan
    await organizations.lock_organization(conn, id_=organization_id)
    active = await schedules.count_active(
        conn, organization_id=organization_id, beside=id_
    )
    plan.require("schedules", after=active + 1)
    if plan.limits.max_queues is not None:
        rooms = await quotas.hold(conn, {organization_id: plan}, queues=True)
        quotas.room_of(rooms, organization_id).take(0, queue_names=[queue_name])


def backfill_bounds(
    since: datetime, until: datetime | None, *, now: datetime
) -> tuple[datetime, datetime]:
    """Return the time to make up for; raises `Malformed`."""
    end = now if until is None else min(until, now)
    if since >= end:
        raise Malformed(Fault("from", "must be in the past, and before to", "bounds"))
    return since, end


def ticks_between(
    rhythm: Rhythm, since: datetime, until: datetime, *, most: int
) -> int:
    """Return how many ticks there are in a time; raises `Malformed` over *most*."""
    count = 0
    tick = rhythm.after(since - timedelta(microseconds=1))
    while tick is not None and tick.tick < until:
        count += 1
        if count > most:
            raise Malformed(
                Fault("from", f"is more than {most} ticks before to", "bounds")
            )
        tick = rhythm.after(tick.tick)
    return count


def _renamed(fault: Fault) -> Fault:
    """Return what is wrong with a job as what is wrong with its schedule."""
    return (
        replace(fault, field="payload_template") if fault.field == "payload" else fault
    )


def _not_cron(words: str) -> Malformed:
    return Malformed(Fault("cron_expression", words, "BAD_REQUEST"))
