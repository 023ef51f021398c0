"""Jobs, their history and their attempts (contract 1.4)."""

from typing import Any
from uuid import UUID

from libs.common.db import Row
from services.ingest.answers.fields import as_stored


def job(row: Row) -> dict[str, Any]:
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
        "parent_job_id": None,
        "completion_webhook": None,
        "assigned_worker_id": row["owner"],
        "lease_id": row["lease_id"] and str(row["lease_id"]),
        "lease_expires_at": row["deadline"],
        "idempotency_key": row["idempotency_key"],
        "workflow_id": None,
        "dependency_mode": None,
        "dependencies_met": row["place"] != "waiting",
        "target": _target(row),
        "retry": as_stored(row["retry"]),
    }


def summary(row: Row) -> dict[str, Any]:
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


def happening(row: Row) -> dict[str, Any]:
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


def attempt(job_id: UUID, row: Row) -> dict[str, Any]:
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


def _target(row: Row) -> dict[str, Any] | None:
    if row["target_url"] is None:
        return None
    return {
        "url": row["target_url"],
        "method": row["target_method"],
        "headers": as_stored(row["target_headers"] or "{}"),
        "timeout_seconds": row["target_timeout_seconds"],
    }
