"""Replays: what an endpoint is sent again, bit by bit and no faster than asked.

A step is one transaction: it locks the replay, looks at what comes next, makes dead
letters ready again or creates deliveries, and remembers how far it came.  Whoever dies
in one has done nothing, and any number of schedulers take turns.

A replay keeps to the plan of its organization: what is sent again is counted as what is
resent by hand, and where there is no room it waits until there is.
"""

import asyncio
import math
from collections import Counter as Counts
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

import orjson
import structlog
from prometheus_client import Counter

from libs.common import quotas
from libs.common.bus import Bus
from libs.common.db import Conn, Pool, Row, borrow
from libs.common.deliveries import Addressee, Message, delivery
from libs.common.event_types import Wish
from libs.common.filters import Test, compile_filter
from libs.common.lines import release_lines
from libs.common.loops import every
from libs.common.plans import PlanLimits
from libs.common.quotas import Room
from libs.common.store import interventions, jobs, lanes, replays, usage
from libs.common.store.lanes import LaneName, endpoint_destination
from libs.common.store.messages import QUEUE

log = structlog.get_logger()

REPLAYED: Final = Counter("bellhop_replayed_total", "Deliveries that were repeated.")

_POLL_SECONDS: Final = 0.25
#: A step sends again what the rate allows in this time, and looks at no more than so
#: much; payloads are large, so fewer are looked into.
_STEP_SECONDS: Final = 0.5
_LOOK_MAX: Final = 500
_LOOK_INSIDE_MAX: Final = 32
#: How soon one looks again whether a plan has room.
_NO_ROOM_SECONDS: Final = 2.0


@dataclass(slots=True)
class Step:
    """What a step did."""

    reached: UUID | None = None
    examined: int = 0
    replayed: int = 0
    over: bool = False
    #: Until the next one, because the plan has no room.
    pause_seconds: float = 0.0
    lane_ids: set[int] = field(default_factory=set)


async def replay(
    stopping: asyncio.Event, *, pool: Pool, bus: Bus, plan_limits: PlanLimits | None
) -> None:
    """Go on with replays until stopped (an actor)."""

    async def turn() -> None:
        while not stopping.is_set():
            async with borrow(pool) as conn:
                step = await _step(conn, plan_limits)
            if step is None:
                return
            if step.replayed:
                REPLAYED.inc(step.replayed)
                await bus.ring_lanes((lane_id, True) for lane_id in step.lane_ids)
                await bus.ring_journal()
                await release_lines(pool, bus)

    await every(_POLL_SECONDS, turn, stopping=stopping)


async def _step(conn: Conn, plan_limits: PlanLimits | None) -> Step | None:
    """Go on with one replay; return None when there is none to go on with."""
    async with conn.transaction():
        row = await replays.take_replay(conn)
        if row is None:
            return None
        room = await _room(conn, row, plan_limits)
        allowed = _allowed(row, room)
        if row["deleted"]:
            step = Step(over=True)
        elif not allowed:
            step = Step(pause_seconds=_NO_ROOM_SECONDS)
        elif row["status"] == "failed":
            step = await _raise_dead(conn, row, allowed)
        else:
            step = await _send_again(conn, row, allowed, counted=room is not None)
        await replays.advance(
            conn,
            id_=row["id"],
            reached=step.reached,
            examined=step.examined,
            replayed=step.replayed,
            pause_seconds=step.pause_seconds or step.replayed / row["rate_per_second"],
            state=_state(row, step),
        )
    if step.over:
        log.info("replay.finished", replay_id=str(row["id"]), state=_state(row, step))
    return step


def _state(row: Row, step: Step) -> replays.State:
    if row["deleted"]:
        return "cancelled"
    return "completed" if step.over else "running"


async def _room(conn: Conn, row: Row, plan_limits: PlanLimits | None) -> Room | None:
    """Return what is left of the plan, held until the commit; None when all is."""
    plan, organization_id = quotas.stored_plan(row, plan_limits), row["organization_id"]
    if plan.unlimited or row["deleted"]:
        return None
    rooms = await quotas.hold(conn, {organization_id: plan}, queues=True)
    # Of one that is no more the endpoint is about to be deleted, too.
    return rooms.get(organization_id, Room(plan, jobs_today=0, active=2**31))


async def _raise_dead(conn: Conn, row: Row, allowed: int) -> Step:
    """Make the next dead letters ready again."""
    test = _test(row["filter"])
    limit = min(allowed, _LOOK_INSIDE_MAX if test else _LOOK_MAX)
    letters = await replays.next_failed(
        conn, replay=row, limit=limit, with_payload=test is not None
    )
    chosen = [one["id"] for one in letters if _passes(test, one["payload"])]
    step = _looked(letters, limit)
    await _requeue(conn, row, chosen, step)
    return step


async def _send_again(conn: Conn, row: Row, allowed: int, *, counted: bool) -> Step:
    """Create the next deliveries of messages that the endpoint asks for."""
    wish, own, test = (
        Wish(row["event_types"]),
        _test(row["endpoint_filter"]),
        _test(row["filter"]),
    )
    inside = own is not None or test is not None
    limit = _LOOK_INSIDE_MAX if inside else _LOOK_MAX
    found = await replays.next_messages(
        conn, replay=row, limit=limit, with_payload=inside
    )
    looked_at: list[Row] = []
    fresh: list[Row] = []
    dead: list[UUID] = []
    for one in found:
        if len(fresh) + len(dead) == allowed:
            break
        looked_at.append(one)
        if not (
            wish.matches(one["event_type"])
            and _passes(own, one["payload"])
            and _passes(test, one["payload"])
        ):
            continue
        if one["place"] is None or (
            row["status"] == "all" and one["place"] == "finished"
        ):
            fresh.append(one)
        elif row["status"] == "all" and one["place"] == "dead":
            dead.append(one["job_id"])
    step = _looked(looked_at, limit)
    step.over = len(found) < limit and len(looked_at) == len(found)
    await _requeue(conn, row, dead, step)
    await _create(conn, row, fresh, step)
    if counted and fresh:
        await usage.charge(conn, created=Counts({row["organization_id"]: len(fresh)}))
    return step


async def _requeue(conn: Conn, row: Row, job_ids: Sequence[UUID], step: Step) -> None:
    if not job_ids:
        return
    requeued = await interventions.requeue(
        conn,
        organization_id=row["organization_id"],
        job_ids=job_ids,
        actor=row["actor"],
    )
    step.replayed += len(requeued)
    step.lane_ids |= {one.lane_id for one in requeued}


async def _create(conn: Conn, row: Row, found: Sequence[Row], step: Step) -> None:
    if not found:
        return
    name = LaneName(
        row["organization_id"], QUEUE, endpoint_destination(row["endpoint_id"])
    )
    opened = await lanes.open_lanes(conn, names=[name])
    lane_id = await replays.find_lane(conn, lane_id=opened[name])
    addressee = Addressee(
        endpoint_id=row["endpoint_id"],
        format=row["format"],
        ordered=row["ordered"],
        max_retries=row["max_retries"],
    )
    created = await jobs.create(
        conn,
        jobs=[
            delivery(
                Message(
                    id=one["id"],
                    organization_id=row["organization_id"],
                    event_type=one["event_type"],
                    ordering_key=one["ordering_key"],
                    hops=one["hops"],
                ),
                addressee,
                lane_id=lane_id,
            )
            for one in found
        ],
    )
    step.replayed += len(created)
    step.lane_ids.add(lane_id)


def _looked(rows: Sequence[Row], limit: int) -> Step:
    return Step(
        reached=rows[-1]["id"] if rows else None,
        examined=len(rows),
        over=len(rows) < limit,
    )


def _allowed(row: Row, room: Room | None) -> int:
    """Return how many may be sent again in one step."""
    rate: float = row["rate_per_second"]
    allowed = max(1, math.floor(rate * _STEP_SECONDS))
    if room is None:
        return allowed
    return room.fits(allowed, queue_name=None if row["status"] == "failed" else QUEUE)


def _test(text: str | None) -> Test | None:
    return None if text is None else compile_filter(orjson.loads(text))


def _passes(test: Test | None, payload: str | None) -> bool:
    if test is None:
        return True
    value: Any = None if payload is None else orjson.loads(payload)
    return test(value)
