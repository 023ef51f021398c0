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
    """The lease that a claim gets which names none."""
    heartbeat_interval_secs: int
    """How often to show itself, in seconds."""


class WorkerAnswer(TypedDict):
    """A worker, with what it said of itself and what it has done."""

    id: str
    organization_id: str
    queue_name: str
    queue_names: list[str]
    """The same as ``queue_name``, in a list."""
    hostname: str
    worker_type: str | None
    """What it said it is; null when it did not."""
    status: str
    """``healthy``, ``degraded``, ``draining`` or ``offline``."""
    max_concurrency: int
    """How many jobs it said it takes on at once."""
    max_concurrent_jobs: int
    """The same as ``max_concurrency``."""
    current_jobs: int
    """How many jobs it said it works on."""
    current_job_count: int
    """The same as ``current_jobs``."""
    jobs_processed: int
    """Jobs that it completed."""
    jobs_failed: int
    """Attempts of its that failed."""
    version: str | None
    """Of its own program; null when it did not say."""
    metadata: Any
    """Its own JSON; null when it gave none."""
    last_heartbeat: datetime
    """When it last showed itself."""
    registered_at: datetime
    created_at: datetime
    """The same as ``registered_at``."""
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
