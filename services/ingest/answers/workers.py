"""Workers (contract 1.6), under the field names of older and newer clients."""

from datetime import datetime
from typing import Any, Final

from typing_extensions import TypedDict

from libs.common.db import Row
from services.ingest.answers.fields import as_stored

#: What a worker that registers over REST is told to do (contract 1.6).
LEASE_SECONDS: Final = 30
HEARTBEAT_SECONDS: Final = 10


class RegisteredAnswer(TypedDict):
    """The worker's id, and how often it should show itself."""

    id: str
    queue_name: str
    lease_duration_secs: int
    heartbeat_interval_secs: int


class WorkerAnswer(TypedDict):
    """A worker, with what it said of itself and what it has done."""

    id: str
    organization_id: str
    queue_name: str
    queue_names: list[str]
    hostname: str
    worker_type: str | None
    status: str
    max_concurrency: int
    max_concurrent_jobs: int
    current_jobs: int
    current_job_count: int
    jobs_processed: int
    jobs_failed: int
    version: str | None
    metadata: Any
    last_heartbeat: datetime
    registered_at: datetime
    created_at: datetime
    updated_at: datetime


def registered(worker_id: str, queue_name: str) -> RegisteredAnswer:
    """Return what a worker is told when it registers."""
    return {
        "id": worker_id,
        "queue_name": queue_name,
        "lease_duration_secs": LEASE_SECONDS,
        "heartbeat_interval_secs": HEARTBEAT_SECONDS,
    }


def worker(row: Row) -> WorkerAnswer:
    """Return a worker."""
    return {
        "id": row["id"],
        "organization_id": str(row["organization_id"]),
        "queue_name": row["queue_name"],
        "queue_names": [row["queue_name"]],
        "hostname": row["hostname"],
        "worker_type": row["worker_type"],
        "status": row["status"],
        "max_concurrency": row["max_concurrency"],
        "max_concurrent_jobs": row["max_concurrency"],
        "current_jobs": row["current_jobs"],
        "current_job_count": row["current_jobs"],
        "jobs_processed": row["jobs_processed"],
        "jobs_failed": row["jobs_failed"],
        "version": row["version"],
        "metadata": as_stored(row["metadata"]),
        "last_heartbeat": row["last_heartbeat_at"],
        "registered_at": row["registered_at"],
        "created_at": row["registered_at"],
        "updated_at": row["updated_at"],
    }
