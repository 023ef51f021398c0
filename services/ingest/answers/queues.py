"""Queues (contract 1.5)."""

from datetime import UTC, datetime
from typing import Any, Final

from typing_extensions import TypedDict

from libs.common.db import Row
from libs.common.store.tallies import Figures
from services.ingest.answers.fields import as_stored

#: What a queue gives that nobody configured.
_MAX_RETRIES: Final = 3
_TIMEOUT_SECONDS: Final = 300


class QueueSummary(TypedDict):
    """A queue as the list shows it."""

    queue_name: str
    max_retries: int
    """The retries of jobs that do not say."""
    default_timeout: int
    """The ``timeout_seconds`` of jobs that do not say."""
    rate_limit: int | None
    """Jobs begun per second, at most, with a burst of one second's worth; null is no
    limit.
    """
    enabled: bool
    """False: nothing is handed out, while new jobs are taken in."""
    paused: bool
    """Whether nothing is handed out: paused, or not enabled."""


class QueueAnswer(QueueSummary):
    """A queue's configuration; one that nobody configured has the defaults."""

    id: str
    """``implicit:`` and the name when nobody configured it."""
    organization_id: str
    settings: Any
    """What was set, merged."""
    created_at: datetime
    updated_at: datetime


class QueueStats(TypedDict):
    """How a queue stands."""

    queue_name: str
    pending_jobs: int
    """Due, or waiting for a retry or for other jobs."""
    scheduled_jobs: int
    """Whose time has not come."""
    processing_jobs: int
    """In work now."""
    deadletter_jobs: int
    """Dead letters there are."""
    completed_jobs_24h: int
    failed_jobs_24h: int
    """Became dead letters in the last 24 hours."""
    avg_processing_time_ms: float | None
    """Of attempts that completed in the last 24 hours; null when none did."""
    avg_wait_time_ms: float | None
    """From being due to being begun, in the last 24 hours; null when none began."""
    max_job_age_seconds: int | None
    """For how long the oldest job that is due has been; null when none is."""
    active_workers: int
    """Registered workers that are up."""


class PausedAnswer(TypedDict):
    """Since when a queue is paused, and why."""

    queue_name: str
    paused: bool
    paused_at: datetime
    reason: str | None
    """Null when none was given."""


class ResumedAnswer(TypedDict):
    """For how long a queue had been paused, in seconds."""

    queue_name: str
    resumed: bool
    """Always true."""
    paused_duration_secs: int
    """0 when it was not paused."""


def summary(row: Row) -> QueueSummary:
    """Return a queue of `queues.find_queue` or `queues.list_queues` as lists do."""
    implicit = row["id"] is None
    return {
        "queue_name": row["queue_name"],
        "max_retries": _MAX_RETRIES if implicit else row["max_retries"],
        "default_timeout": _TIMEOUT_SECONDS if implicit else row["default_timeout"],
        "rate_limit": row["rate_limit"],
        "enabled": implicit or row["enabled"],
        "paused": not implicit and row["paused"],
    }


def queue(row: Row, organization_id: object) -> QueueAnswer:
    """Return a queue of `queues.find_queue` whole."""
    if row["id"] is None:
        name, since = row["queue_name"], row["opened_at"]
        return {
            **summary(row),
            "id": f"implicit:{name}",
            "organization_id": str(organization_id),
            "settings": {"implicit": True},
            "created_at": since,
            "updated_at": since,
        }
    return {
        **summary(row),
        "id": str(row["id"]),
        "organization_id": str(organization_id),
        "settings": as_stored(row["settings"]),
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
    }


def stats(name: str, figures: Figures, *, workers: int, now: datetime) -> QueueStats:
    """Return how a queue stands at *now*."""
    oldest_ms = figures.oldest_ready_ms(now)
    return {
        "queue_name": name,
        "pending_jobs": figures.pending,
        "scheduled_jobs": figures.scheduled_jobs,
        "processing_jobs": figures.leased_jobs,
        "deadletter_jobs": figures.dead_jobs,
        "completed_jobs_24h": figures.completed_24h,
        "failed_jobs_24h": figures.failed_24h,
        "avg_processing_time_ms": figures.processing_ms,
        "avg_wait_time_ms": figures.waiting_ms,
        "max_job_age_seconds": None if oldest_ms is None else oldest_ms // 1000,
        "active_workers": workers,
    }


def paused(name: str, row: Row) -> PausedAnswer:
    """Return since when a queue is paused."""
    return {
        "queue_name": name,
        "paused": True,
        "paused_at": _moment(row["paused_at"]) or row["updated_at"],
        "reason": row["reason"],
    }


def resumed(name: str, row: Row | None) -> ResumedAnswer:
    """Return for how long a queue had been paused, until now."""
    since = row and _moment(row["paused_at"])
    seconds = (row["updated_at"] - since).total_seconds() if row and since else 0
    return {
        "queue_name": name,
        "resumed": True,
        "paused_duration_secs": max(0, int(seconds)),
    }


def _moment(text: str | None) -> datetime | None:
    """Return a moment from a queue's settings, in which anything may stand."""
    try:
        found = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
