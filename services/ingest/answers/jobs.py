"""Jobs, their history and their attempts (contract 1.4)."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from typing_extensions import TypedDict

from libs.common.db import Row
from services.ingest.answers.fields import as_stored


class Made(TypedDict):
    """A job that was created, or the one that had its idempotency key already."""

    id: str
    created: bool


class BulkSucceeded(TypedDict):
    """One job of a bulk, by its place in it."""

    index: int
    job_id: str
    created: bool


class BulkFailed(TypedDict):
    """One job of a bulk that was not created, and why."""

    index: int
    error: str


class BulkResult(TypedDict):
    """What became of each job of a bulk."""

    succeeded: list[BulkSucceeded]
    failed: list[BulkFailed]
    total: int
    success_count: int
    failure_count: int


class TargetAnswer(TypedDict):
    """Where a push job goes."""

    url: str
    method: str
    headers: Any
    timeout_seconds: float


class JobSummary(TypedDict):
    """A job, in short."""

    id: str
    queue_name: str
    #: The ``job_type`` of its payload; empty when it has none.
    job_type: str
    status: str
    priority: int
    #: The retries used of ``max_retries``; starts again after a retry by hand.
    retry_count: int
    #: The number of the latest attempt over the job's whole life.
    attempt: int
    max_retries: int
    last_error: str | None
    #: Why it was given up; null unless it is a dead letter.
    dead_reason: str | None
    tags: Any
    created_at: datetime
    scheduled_at: datetime | None
    started_at: datetime | None
    completed_at: datetime | None


class Job(JobSummary):
    """A job, whole; its secrets never."""

    organization_id: str
    payload: Any
    result: Any
    expires_at: datetime | None
    updated_at: datetime
    timeout_seconds: int
    parent_job_id: str | None
    completion_webhook: str | None
    assigned_worker_id: str | None
    lease_id: str | None
    lease_expires_at: datetime | None
    idempotency_key: str | None
    workflow_id: str | None
    dependency_mode: str | None
    dependencies_met: bool
    target: TargetAnswer | None
    retry: Any


class Happening(TypedDict):
    """One line of a job's history."""

    id: str
    job_id: str
    event_type: str
    worker_id: str | None
    attempt: int
    details: Any
    created_at: datetime


class AttemptAnswer(TypedDict):
    """One attempt, with what the receiver answered."""

    job_id: str
    attempt: int
    outcome: Literal["delivered", "refused", "unanswered", "lost"]
    worker_id: str | None
    started_at: datetime
    duration_ms: float
    status_code: int | None
    error: str | None
    response_headers: Any
    response_body: str | None


def job(row: Row) -> Job:
    """Return a job as ``GET /jobs/{id}`` shows it; its secrets never."""
    return {
        "id": str(row["id"]),
        "organization_id": str(row["organization_id"]),
        "queue_name": row["queue_name"],
        "job_type": row["job_type"] or "",
        "status": row["status"],
        "payload": as_stored(row["payload"]),
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
        "completion_webhook": None,
        "assigned_worker_id": row["owner"],
        "lease_id": row["lease_id"] and str(row["lease_id"]),
        "lease_expires_at": row["deadline"],
        "idempotency_key": row["idempotency_key"],
        "workflow_id": None,
        "dependency_mode": row["dependency_mode"],
        "dependencies_met": row["place"] != "waiting",
        "target": _target(row),
        "retry": as_stored(row["retry"]),
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


def _target(row: Row) -> TargetAnswer | None:
    if row["target_url"] is None:
        return None
    return {
        "url": row["target_url"],
        "method": row["target_method"],
        "headers": as_stored(row["target_headers"] or "{}"),
        "timeout_seconds": row["target_timeout_seconds"],
    }
