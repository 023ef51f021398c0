"""Jobs, their history and their attempts (contract 1.4)."""

from datetime import datetime
from typing import Any, Literal, NotRequired
from uuid import UUID

from typing_extensions import TypedDict

from libs.common.db import Row
from services.ingest.answers.errors import FieldFault
from services.ingest.answers.fields import as_stored
from services.ingest.intake import Created


class Made(TypedDict):
    """A job that was created, or the one that had its idempotency key already."""

    id: str
    created: bool
    """False: its idempotency key was known, and this is the job that has it."""


def made(created: Created) -> Made:
    """Return what is said of a job that was asked for."""
    return {"id": str(created.job_id), "created": created.created}


class Resent(TypedDict):
    """A new job that sends what another sent."""

    id: str
    created: bool
    """Always true."""
    webhook_id: str
    """The ``webhook-id`` that both are sent under."""


class BulkSucceeded(TypedDict):
    """One job of a bulk, by its place in it."""

    index: int
    """Its place in the bulk, from 0."""
    job_id: str
    created: bool
    """False: its idempotency key was known, and this is the job that has it."""


class BulkFailed(TypedDict):
    """One job of a bulk that was not created, and why."""

    index: int
    """Its place in the bulk, from 0."""
    code: str
    error: str
    """Why, for people."""
    #: Fields at fault.
    details: NotRequired[list[FieldFault]]


class BulkResult(TypedDict):
    """What became of each job of a bulk."""

    succeeded: list[BulkSucceeded]
    failed: list[BulkFailed]
    total: int
    success_count: int
    failure_count: int


class TargetAnswer(TypedDict, total=False):
    """Where a push job goes: a URL, or an endpoint that says the rest itself."""

    url: str
    method: str
    headers: Any
    """Those that the producer gave."""
    timeout_seconds: float
    """How long one attempt may take, in total."""
    endpoint_id: str
    """The endpoint that it goes to, instead of all the others."""


class JobSummary(TypedDict):
    """A job, in short."""

    id: str
    queue_name: str
    job_type: str
    """The ``job_type`` of its payload; empty when it has none."""
    status: str
    """``pending``, ``scheduled``, ``processing``, ``completed``, ``deadletter``,
    ``cancelled`` or ``expired``.
    """
    priority: int
    """Higher goes first."""
    retry_count: int
    """The retries used of ``max_retries``; starts again after a retry by hand."""
    attempt: int
    """The number of the latest attempt over the job's whole life; 0 before the first.
    """
    max_retries: int
    """How often it may be tried again after the first attempt."""
    last_error: str | None
    """What went wrong last; null when nothing did."""
    dead_reason: str | None
    """Why it was given up; null unless it is a dead letter."""
    tags: Any
    """As the producer gave them; null when they did not."""
    workflow_id: str | None
    """The workflow that it belongs to; null when to none."""
    created_at: datetime
    scheduled_at: datetime | None
    """When it runs or runs again; then when it was asked to run; null when never."""
    started_at: datetime | None
    """When work on it began; null before the first attempt."""
    completed_at: datetime | None
    """When it ended, in whatever way; null while it is open."""


class Job(JobSummary):
    """A job, whole; its secrets never."""

    organization_id: str
    payload: Any
    """As the producer sent it."""
    result: Any
    """What the worker gave on completing; null when nothing."""
    expires_at: datetime | None
    """By when it must be begun; null is whenever."""
    updated_at: datetime
    """When anything last happened to it."""
    timeout_seconds: int
    """How long a worker should take at most; advice, not enforced."""
    parent_job_id: str | None
    """The job that had to complete first; null when there is none."""
    completion_webhook: str | None
    """Where its end is told; null when nowhere."""
    assigned_worker_id: str | None
    """Who works on it; null unless ``processing``."""
    lease_id: str | None
    """The claim that holds it; null unless ``processing``."""
    lease_expires_at: datetime | None
    """Until when it is held; null unless ``processing``."""
    idempotency_key: str | None
    """Null when it was created without one."""
    dependency_mode: str | None
    """``all`` or ``any`` of the jobs it waits for; null when it depends on none."""
    dependencies_met: bool
    """False while it waits for other jobs."""
    target: TargetAnswer | None
    """Where it is pushed; null when it is for workers."""
    message_id: str | None
    """The message that it delivers; null when it is none's."""
    webhook_id: str | None
    """The ``webhook-id`` that it is sent under; null when it is for workers."""
    retry: Any
    """Its own retry policy; null when the queue's counts."""
    concurrency_key: str | None
    """What it shares with the jobs of its queue that it takes turns with."""
    ordering_key: str | None
    """What it shares with what else goes to its endpoint, one after the other."""


class Happening(TypedDict):
    """One line of a job's history."""

    id: str
    """A number that grows with time."""
    job_id: str
    event_type: str
    """What happened to it: ``job.created``, ``job.completed``, …."""
    worker_id: str | None
    """Who did it; null when nobody in particular."""
    attempt: int
    """The number of the attempt it was about; 0 before the first."""
    details: Any
    """More about it, by kind; null when there is none."""
    created_at: datetime


class AttemptAnswer(TypedDict):
    """One attempt, with what the receiver answered."""

    job_id: str
    attempt: int
    """Its number, from 1."""
    outcome: Literal["delivered", "refused", "unanswered", "lost"]
    """``lost`` is an attempt that nobody heard the end of."""
    worker_id: str | None
    """Who made it: a worker, or a process of Bellhop; null when unknown."""
    started_at: datetime
    duration_ms: float
    """From its beginning to its end."""
    status_code: int | None
    """What the receiver answered; null when it did not, or there is none."""
    error: str | None
    """Why it failed; null when it did not."""
    response_headers: Any
    """Of the receiver's answer when it was a refusal; else null."""
    response_body: str | None
    """The first 16 KiB of the receiver's answer; null when there is none."""


def job(row: Row) -> Job:
    """Return a job as ``GET /jobs/{id}`` shows it; its secrets never."""
    return {
        "id": str(row["id"]),
        "organization_id": str(row["organization_id"]),
        "queue_name": row["queue_name"],
        "job_type": row["job_type"] or "",
        "status": row["status"],
        "payload": as_stored(row["payload"] or row["message_payload"]),
        "result": as_stored(row["result"]),
        "retry_count": row["retry_count"],
        "attempt": row["attempt"],
        "max_retries": row["max_retries"],
        "last_error": row["last_error"],
        "dead_reason": row["ending"] if row["place"] == "dead" else None,
        "created_at": row["created_at"],
        "scheduled_at": row["run_at"],
        "started_at": row["started_at"] or row["claimed_at"],
        "completed_at": row["settled_at"],
        "expires_at": row["expires_at"],
        "updated_at": row["updated_at"] or row["created_at"],
        "priority": 100 - row["rank"],
        "tags": as_stored(row["tags"]),
        "timeout_seconds": row["timeout_seconds"],
        "parent_job_id": row["parent_job_id"] and str(row["parent_job_id"]),
        "completion_webhook": row["completion_webhook"],
        "assigned_worker_id": row["owner"],
        "lease_id": row["lease_id"] and str(row["lease_id"]),
        "lease_expires_at": row["deadline"],
        "idempotency_key": row["idempotency_key"],
        "workflow_id": row["workflow_id"] and str(row["workflow_id"]),
        "dependency_mode": row["dependency_mode"],
        "dependencies_met": row["place"] != "waiting",
        "target": target_of(row),
        "message_id": row["message_id"] and str(row["message_id"]),
        "webhook_id": _webhook_id(row),
        "retry": as_stored(row["retry"]),
        "concurrency_key": _key_of(row, "queue:"),
        "ordering_key": _key_of(row, "endpoint:"),
    }


def summary(row: Row) -> JobSummary:
    """Return a job as the lists show it."""
    return {
        "id": str(row["id"]),
        "queue_name": row["queue_name"],
        "job_type": row["job_type"] or "",
        "status": row["status"],
        "priority": 100 - row["rank"],
        "retry_count": row["retry_count"],
        "attempt": row["attempt"],
        "max_retries": row["max_retries"],
        "last_error": row["last_error"],
        "dead_reason": row["ending"] if row["place"] == "dead" else None,
        "tags": as_stored(row["tags"]),
        "workflow_id": row["workflow_id"] and str(row["workflow_id"]),
        "created_at": row["created_at"],
        "scheduled_at": row["run_at"],
        "started_at": row["started_at"],
        "completed_at": row["settled_at"],
    }


def happening(row: Row) -> Happening:
    """Return one line of a job's history."""
    return {
        "id": str(row["seq"]),
        "job_id": str(row["job_id"]),
        "event_type": f"job.{row['transition']}",
        "worker_id": row["actor"],
        "attempt": row["attempt"],
        "details": as_stored(row["details"]),
        "created_at": row["at"],
    }


def attempt(job_id: UUID, row: Row) -> AttemptAnswer:
    """Return one attempt; bytes of an answer that are no text become U+FFFD."""
    body = row["response_body"]
    return {
        "job_id": str(job_id),
        "attempt": row["attempt"],
        "outcome": row["verdict"],
        "worker_id": row["actor"],
        "started_at": row["started_at"],
        "duration_ms": round(row["duration_ms"], 3),
        "status_code": row["status_code"],
        "error": row["error"],
        "response_headers": as_stored(row["response_headers"]),
        "response_body": None if body is None else body.decode("utf-8", "replace"),
    }


def _key_of(row: Row, scope: str) -> str | None:
    """Return the key of a job's line, if that is of such a scope; none is no key."""
    if row["line_scope"] is None or not row["line_scope"].startswith(scope):
        return None
    return row["line_key"] or None


def target_of(row: Row) -> TargetAnswer | None:
    """Return where a push job goes, or None when it is for workers."""
    if row["endpoint_id"] is not None:
        return {"endpoint_id": str(row["endpoint_id"])}
    if row["target_url"] is None:
        return None
    return {
        "url": row["target_url"],
        "method": row["target_method"],
        "headers": as_stored(row["target_headers"] or "{}"),
        "timeout_seconds": row["target_timeout_seconds"],
    }


def _webhook_id(row: Row) -> str | None:
    if row["endpoint_id"] is None and row["target_url"] is None:
        return None
    return row["webhook_id"] or str(row["id"])
