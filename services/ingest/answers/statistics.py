"""Figures, and the state of many jobs at once (contract 1.4)."""

from datetime import datetime

from typing_extensions import TypedDict

from libs.common.db import Row
from libs.common.store.tallies import Figures


class JobStats(TypedDict):
    """How many jobs are in which state; nothing is ever left failed."""

    pending: int
    """Due, or waiting for a retry or for other jobs."""
    scheduled: int
    """Whose time has not come."""
    processing: int
    """In work now."""
    completed: int
    failed: int
    """Always 0: who failed is retried or a dead letter."""
    deadletter: int
    cancelled: int
    expired: int
    total: int
    """All of them."""


class JobStatus(TypedDict):
    """The state of one job."""

    id: str
    status: str
    queue_name: str
    job_type: str
    """The ``job_type`` of its payload; empty when it has none."""
    retry_count: int
    """The retries used of ``max_retries``."""
    attempt: int
    """The number of the latest attempt over its whole life."""
    max_retries: int
    last_error: str | None
    """What went wrong last; null when nothing did."""
    created_at: datetime
    scheduled_at: datetime | None
    """When it runs or runs again; then when it was asked to run; null when never."""
    started_at: datetime | None
    """When work on it began; null before the first attempt."""
    completed_at: datetime | None
    """When it ended, in whatever way; null while it is open."""


def job_stats(figures: Figures) -> JobStats:
    """Return figures under the contract's names."""
    return {
        "pending": figures.pending,
        "scheduled": figures.scheduled_jobs,
        "processing": figures.leased_jobs,
        "completed": figures.completed_jobs,
        "failed": 0,
        "deadletter": figures.dead_jobs,
        "cancelled": figures.cancelled_jobs,
        "expired": figures.expired_jobs,
        "total": figures.total,
    }


def job_status(row: Row) -> JobStatus:
    """Return the state of a job."""
    return {
        "id": str(row["id"]),
        "status": row["status"],
        "queue_name": row["queue_name"],
        "job_type": row["job_type"] or "",
        "retry_count": row["retry_count"],
        "attempt": row["attempt"],
        "max_retries": row["max_retries"],
        "last_error": row["last_error"],
        "created_at": row["created_at"],
        "scheduled_at": row["run_at"],
        "started_at": row["started_at"],
        "completed_at": row["settled_at"],
    }
