"""Schedules, and what they did (contract 1.9)."""

from datetime import datetime
from typing import Any, Final, Literal

from typing_extensions import TypedDict

from libs.common.db import Row
from libs.common.firing import retries_of, timeout_of
from services.ingest.answers.fields import as_stored
from services.ingest.answers.jobs import TargetAnswer, target_of

#: What a run is called, by what its job is called.
_STATUSES: Final = {
    "pending": "pending",
    "scheduled": "pending",
    "processing": "running",
    "completed": "completed",
}


class CatchUpAnswer(TypedDict):
    """Which missed ticks get a run of their own."""

    max: int
    """At most so many, the latest."""
    window_seconds: int
    """None that is older than this."""


class Schedule(TypedDict):
    """A schedule, and what comes next."""

    id: str
    organization_id: str
    name: str
    description: str | None
    cron_expression: str
    timezone: str
    queue_name: str
    payload_template: Any
    priority: int
    max_retries: int
    """Its own, else its queue's, else 3."""
    timeout_seconds: int
    """Its own, else its queue's, else 300."""
    is_active: bool
    """Whether it fires: it is not paused, and something comes next."""
    state: Literal["active", "paused", "ended"]
    """Ended: nothing comes any more."""
    last_run_at: datetime | None
    """When a job of it was created last."""
    next_run_at: datetime | None
    """When it fires next; while it is paused, when it would have."""
    next_tick: datetime | None
    """The time of the expression that is, without the jitter."""
    run_count: int
    """How many jobs it has created."""
    tags: Any
    metadata: Any
    target: TargetAnswer | None
    retry: Any
    start_at: datetime | None
    end_at: datetime | None
    jitter_seconds: int
    misfire: Literal["skip", "coalesce", "catch_up"]
    catch_up: CatchUpAnswer | None
    overlap: Literal["allow", "skip", "queue_one", "cancel_previous"]
    created_at: datetime
    updated_at: datetime


class RunAnswer(TypedDict):
    """What became of a tick, or of a trigger by hand."""

    id: str
    schedule_id: str
    job_id: str | None
    """Null when there was none: ``error_message`` says why."""
    status: Literal["pending", "running", "completed", "failed"]
    """How its job stands."""
    error_message: str | None
    """Why there was no job, or what went wrong with it last."""
    started_at: datetime
    """When it fired."""
    completed_at: datetime | None
    """When its job ended, in whatever way."""
    job_status: str | None
    """The job's own status; null without one, or when it is kept no more."""
    tick: datetime | None
    """The time that it fired for; null by hand."""
    source: Literal["cron", "schedule_trigger", "backfill"]
    """Who wanted it: the time, a hand, or a backfill."""
    missed: int
    """How many ticks before it have no run."""


class Triggered(TypedDict):
    """The job that was created."""

    job_id: str
    triggered_at: datetime


class Fire(TypedDict):
    """One time at which an expression fires."""

    local: str
    """As a clock in the zone shows it, with its offset."""
    utc: datetime


class Fires(TypedDict):
    """When an expression fires."""

    fires: list[Fire]


class BackfillAnswer(TypedDict):
    """How far ticks of the past were fired."""

    id: str
    schedule_id: str
    status: Literal["running", "completed", "failed"]
    total: int
    """How many ticks there are in the time."""
    created: int
    """How many got a job."""
    skipped: int
    """How many had one already."""
    error_message: str | None
    """Why it failed: what it did stays, and another goes on from there."""
    created_at: datetime
    finished_at: datetime | None


def schedule(row: Row) -> Schedule:
    """Return a schedule."""
    ended = row["next_tick"] is None
    state: Literal["active", "paused", "ended"] = "active"
    if row["paused"]:
        state = "paused"
    elif ended:
        state = "ended"
    return {
        "id": str(row["id"]),
        "organization_id": str(row["organization_id"]),
        "name": row["name"],
        "description": row["description"],
        "cron_expression": row["cron_expression"],
        "timezone": row["timezone"],
        "queue_name": row["queue_name"],
        "payload_template": as_stored(row["payload"]),
        "priority": 100 - row["rank"],
        "max_retries": retries_of(row),
        "timeout_seconds": timeout_of(row),
        "is_active": state == "active",
        "state": state,
        "last_run_at": row["last_run_at"],
        "next_run_at": row["next_at"],
        "next_tick": row["next_tick"],
        "run_count": row["run_count"],
        "tags": as_stored(row["tags"]),
        "metadata": as_stored(row["metadata"]),
        "target": target_of(row),
        "retry": as_stored(row["retry"]),
        "start_at": row["start_at"],
        "end_at": row["end_at"],
        "jitter_seconds": row["jitter_seconds"],
        "misfire": row["misfire"],
        "catch_up": None
        if row["catch_up_max"] is None
        else {
            "max": row["catch_up_max"],
            "window_seconds": row["catch_up_seconds"],
        },
        "overlap": row["overlap"],
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
    }


def run(row: Row) -> RunAnswer:
    """Return what became of a tick."""
    job_status = row["job_status"] if row["place"] is not None else None
    return {
        "id": str(row["id"]),
        "schedule_id": str(row["schedule_id"]),
        "job_id": None if row["job_id"] is None else str(row["job_id"]),
        "status": _status(row["job_id"] is not None, job_status),
        "error_message": row["error_message"] or row["last_error"],
        "started_at": row["at"],
        "completed_at": row["settled_at"] if row["job_id"] else row["at"],
        "job_status": job_status,
        "tick": row["tick"],
        "source": row["source"],
        "missed": row["missed"],
    }


def backfill(row: Row) -> BackfillAnswer:
    """Return how far a backfill came."""
    return {
        "id": str(row["id"]),
        "schedule_id": str(row["schedule_id"]),
        "status": row["state"],
        "total": row["total"],
        "created": row["created"],
        "skipped": row["skipped"],
        "error_message": row["error_message"],
        "created_at": row["created_at"],
        "finished_at": row["finished_at"],
    }


def _status(
    has_job: bool,  # noqa: FBT001 - the name says it
    job_status: str | None,
) -> Literal["pending", "running", "completed", "failed"]:
    if not has_job:
        return "failed"
    if job_status is None:
        # It is kept no more, and dead letters are kept.
        return "completed"
    return _STATUSES.get(job_status, "failed")  # type: ignore[return-value] # of these
