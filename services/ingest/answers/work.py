"""What workers are told (contract 1.4)."""

from datetime import datetime
from typing import Any, Final, Literal

from typing_extensions import TypedDict

from libs.common.store.claims import ClaimedWork
from services.ingest.answers.fields import as_stored


class ClaimedJob(TypedDict):
    """A job that is the worker's until ``lease_expires_at``, unless it is extended."""

    id: str
    queue_name: str
    payload: Any
    """As the producer sent it."""
    priority: int
    """Higher goes first."""
    attempt: int
    """The number of this attempt over the job's whole life, from 1."""
    retry_count: int
    """The retries used of ``max_retries``."""
    max_retries: int
    """How often it may be tried again after the first attempt."""
    timeout_seconds: int
    """How long the work should take at most; advice, not enforced."""
    tags: Any
    """As the producer gave them; null when they did not."""
    idempotency_key: str | None
    """Null when it was created without one."""
    workflow_id: str | None
    """The workflow that it belongs to; null when to none."""
    created_at: datetime
    scheduled_at: datetime | None
    """When it was asked to run; null when it was not."""
    claimed_at: datetime
    lease_id: str
    """What to send with ``complete``, ``fail`` and ``heartbeat``."""
    lease_expires_at: datetime
    """Until when the job is the worker's; a heartbeat moves it."""


class ClaimedJobs(TypedDict):
    """What was handed out: nothing, or up to what was asked for."""

    jobs: list[ClaimedJob]


class Done(TypedDict):
    """It is committed."""

    success: Literal[True]


class ItemSettled(TypedDict):
    """One job that was settled, by its place among those told."""

    index: int
    """Its place among those told, from 0."""
    job_id: str


class ItemRefused(TypedDict):
    """One job that was not, and why: a code and words as for a job alone."""

    index: int
    """Its place among those told, from 0."""
    job_id: str | None
    """As it was named; null when it was not."""
    code: str
    """Why, for programs."""
    error: str
    """Why, for people."""


class BulkSettled(TypedDict):
    """What became of each job."""

    succeeded: list[ItemSettled]
    failed: list[ItemRefused]
    total: int
    success_count: int
    failure_count: int


DONE: Final[Done] = {"success": True}


def claimed(work: ClaimedWork) -> ClaimedJob:
    """Return a job as its worker sees it."""
    return {
        "id": str(work.job_id),
        "queue_name": work.queue_name,
        "payload": as_stored(work.payload),
        "priority": 100 - work.rank,
        "attempt": work.attempt,
        "retry_count": work.retry_count,
        "max_retries": work.max_retries,
        "timeout_seconds": work.timeout_seconds,
        "tags": as_stored(work.tags),
        "idempotency_key": work.idempotency_key,
        "workflow_id": None if work.workflow_id is None else str(work.workflow_id),
        "created_at": work.created_at,
        "scheduled_at": work.scheduled_at,
        "claimed_at": work.claimed_at,
        "lease_id": str(work.lease_id),
        "lease_expires_at": work.lease_expires_at,
    }
