"""Firing a schedule: its tick, or a hand that triggers it, becomes a job.

The scheduler does it for ticks, ingest for hands, both in a transaction in which they
hold the schedule's row.  That a tick becomes one job and no second is held three times:
the schedule moves on from where it stood, a tick has one row in ``schedule_runs``, and
the job's idempotency key is made of both.
"""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import orjson

from libs.common import quotas
from libs.common.db import Conn, Row
from libs.common.errors import (
    Conflict,
    PayloadOverPlan,
    QuotaExceeded,
    Rejected,
    Unauthorized,
)
from libs.common.ids import new_id
from libs.common.plans import Plan
from libs.common.quotas import DELETED
from libs.common.store import firings, jobs, usage
from libs.common.store.firings import Run, Source
from libs.common.store.jobs import NewJob, Push
from libs.common.store.lanes import LaneName, open_lanes
from libs.common.store.lines import Line

#: What a queue gives where it says nothing (contract, Limits).
MAX_RETRIES: Final = 3
TIMEOUT_SECONDS: Final = 300

_PLACEHOLDER: Final = re.compile(r"\{\{\s*schedule\.(\w+)\s*\}\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Firing:
    """A schedule that is to become a job: at a tick, or by hand (no tick)."""

    schedule: Row
    plan: Plan
    source: Source
    tick: datetime | None = None
    #: Ticks before this one that become none.
    missed: int = 0

    @property
    def key(self) -> str | None:
        """The idempotency key of its job."""
        if self.tick is None:
            return None
        return f"schedule:{self.schedule['id']}:{_spelled(self.tick)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fired:
    """What became of a firing: the job that stands for it, or why there is none."""

    firing: Firing
    job_id: UUID | None = None
    error: Rejected | None = None
    #: The lane of a job that is new, and whether it is pushed.
    lane: tuple[int, bool] | None = None
    #: Whether that job is held until its turn comes (`release_lines`).
    in_line: bool = False

    def run(self) -> Run:
        """Return it as it is recorded."""
        return Run(
            id=new_id(),
            schedule_id=self.firing.schedule["id"],
            source=self.firing.source,
            tick=self.firing.tick,
            job_id=self.job_id,
            missed=self.firing.missed,
            error_message=None if self.error is None else str(self.error),
        )


def is_gone(schedule: Row) -> bool:
    """Whether the organization of a schedule is no more."""
    return bool(schedule["erased"]) or schedule["plan_tier"] == DELETED


async def make_jobs(conn: Conn, *, asked: Sequence[Firing]) -> list[Fired]:
    """Create the jobs of *asked*, within what the plans allow; in the same order.

    The caller has locked the schedules, and records what became of them in the same
    transaction.
    """
    alive = await _find_alive(conn, asked)
    refused = await _refused(conn, asked, alive)
    going = [firing for firing, error in zip(asked, refused, strict=True) if not error]
    lanes = await open_lanes(conn, names=sorted({_lane(firing) for firing in going}))
    rows = [_job(firing, lanes[_lane(firing)], alive) for firing in going]
    created = await jobs.create(conn, jobs=rows) if rows else set()
    await _charge(conn, going, rows, created)
    holders = await _holders(conn, rows, created)
    made = iter(rows)
    found: list[Fired] = []
    for firing, error in zip(asked, refused, strict=True):
        if error is not None:
            found.append(Fired(firing=firing, error=error))
            continue
        row = next(made)
        found.append(
            Fired(
                firing=firing,
                job_id=row.id if row.id in created else holders[row.idempotency_key],
                lane=(row.lane_id, _lane(firing).destination != "")
                if row.id in created
                else None,
                in_line=row.line is not None and row.id in created,
            )
        )
    return found


async def _find_alive(conn: Conn, asked: Sequence[Firing]) -> dict[UUID, bool]:
    """Return the endpoints that there are still, and whether they are ordered."""
    endpoints = {
        (firing.schedule["organization_id"], firing.schedule["endpoint_id"])
        for firing in asked
        if firing.schedule["endpoint_id"] is not None
    }
    if not endpoints:
        return {}
    return await firings.find_alive(conn, endpoints=sorted(endpoints))


async def _refused(
    conn: Conn, asked: Sequence[Firing], alive: Collection[UUID]
) -> list[Rejected | None]:
    """Return why there can be no job, for each; take room for the others."""
    limited = {
        firing.schedule["organization_id"]: firing.plan
        for firing in asked
        if not firing.plan.unlimited
    }
    rooms = await quotas.hold(conn, limited, queues=True) if limited else {}
    found: list[Rejected | None] = []
    for firing in asked:
        try:
            _check(firing, alive)
            organization_id = firing.schedule["organization_id"]
            if organization_id in limited:
                room = quotas.room_of(rooms, organization_id)
                room.take(1, queue_names=[firing.schedule["queue_name"]])
        except (QuotaExceeded, PayloadOverPlan, Conflict, Unauthorized) as error:
            found.append(error)
        else:
            found.append(None)
    return found


def _check(firing: Firing, alive: Collection[UUID]) -> None:
    schedule, limit = firing.schedule, firing.plan.limits.max_payload_size_bytes
    size = len(schedule["payload"].encode())
    if size > limit:
        raise PayloadOverPlan(current=size, limit=limit, plan=firing.plan.tier)
    if schedule["endpoint_id"] is not None and schedule["endpoint_id"] not in alive:
        raise Conflict("the endpoint it goes to is no more")


async def _charge(
    conn: Conn, going: Sequence[Firing], rows: Sequence[NewJob], created: set[UUID]
) -> None:
    counted = Counter(
        row.organization_id
        for firing, row in zip(going, rows, strict=True)
        if row.id in created and not firing.plan.unlimited
    )
    if counted:
        await usage.charge(conn, created=counted)


async def _holders(
    conn: Conn, rows: Sequence[NewJob], created: set[UUID]
) -> dict[str | None, UUID]:
    """Return the jobs that have the keys of those that were not created."""
    keys = [
        (row.organization_id, row.idempotency_key)
        for row in rows
        if row.id not in created and row.idempotency_key is not None
    ]
    if not keys:
        return {}
    found = await jobs.find_by_keys(conn, keys=keys)
    return {key: holder.job_id for (_, key), holder in found.items()}


def _lane(firing: Firing) -> LaneName:
    schedule = firing.schedule
    return LaneName(
        schedule["organization_id"], schedule["queue_name"], schedule["destination"]
    )


def _job(firing: Firing, lane_id: int, alive: Mapping[UUID, bool]) -> NewJob:
    schedule = firing.schedule
    url = schedule["target_url"]
    return NewJob(
        id=new_id(),
        organization_id=schedule["organization_id"],
        queue_name=schedule["queue_name"],
        lane_id=lane_id,
        payload=filled_in(schedule["payload"], firing),
        rank=schedule["rank"],
        max_retries=retries_of(schedule),
        timeout_seconds=timeout_of(schedule),
        job_type=schedule["job_type"],
        tags=schedule["tags"],
        retry=schedule["retry"],
        # It is past: the job is due, and says what for.
        run_at=firing.tick,
        idempotency_key=firing.key,
        push=None
        if url is None
        else Push(
            url=url,
            method=schedule["target_method"],
            headers=schedule["target_headers"],
            timeout_seconds=schedule["target_timeout_seconds"],
        ),
        endpoint_id=schedule["endpoint_id"],
        line=Line.of_endpoint(schedule["endpoint_id"])
        if alive.get(schedule["endpoint_id"])
        else None,
        made_by=orjson.dumps(
            {"source": firing.source, "schedule_id": str(schedule["id"])}
        ).decode(),
    )


def retries_of(schedule: Row) -> int:
    """Return how often a schedule's job may be tried again: as its queue has it."""
    given: int | None = schedule["max_retries"]
    of_queue: int | None = schedule["queue_max_retries"]
    return next((n for n in (given, of_queue) if n is not None), MAX_RETRIES)


def timeout_of(schedule: Row) -> int:
    """Return how long a schedule's job may take: as its queue has it."""
    return (
        schedule["timeout_seconds"]
        or schedule["queue_timeout_seconds"]
        or TIMEOUT_SECONDS
    )


def filled_in(payload: str, firing: Firing) -> str:
    """Return the payload with ``{{schedule.tick}}`` and the like replaced.

    Unknown ones stay as they are.  No value has a character that JSON escapes.
    """
    if "{{" not in payload:
        return payload
    schedule, asked_at = firing.schedule, firing.schedule["asked_at"]
    values = {
        "id": str(schedule["id"]),
        "tick": _spelled(firing.tick or asked_at),
        "fired_at": _spelled(asked_at),
        "source": firing.source,
        "missed": str(firing.missed),
    }
    return _PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), payload)


def _spelled(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
