"""The dashboard's first page: everything at a glance (contract 1.1)."""

from datetime import datetime
from typing import Literal

from typing_extensions import TypedDict


class SystemInfo(TypedDict):
    """What answers.  There is no cache that could be away (D26)."""

    version: str
    uptime_seconds: int
    """For how long this process has been serving."""
    started_at: datetime
    """When this process began to serve."""
    database_status: Literal["healthy", "unhealthy"]
    cache_status: Literal["healthy", "unhealthy"]
    """Always healthy: there is no cache."""
    environment: str
    """As the operator set it."""


class JobFigures(TypedDict):
    """How many jobs are where; averages are of the last 24 hours."""

    total: int
    """All jobs, open or over."""
    pending: int
    """Due, or waiting for a retry or for other jobs."""
    scheduled: int
    """Whose time has not come."""
    processing: int
    """In work now."""
    completed_24h: int
    """Completed in the last 24 hours."""
    failed_24h: int
    """Became dead letters in the last 24 hours."""
    deadletter: int
    """Dead letters there are."""
    avg_wait_time_ms: float | None
    """From being due to being begun; null when none began."""
    avg_processing_time_ms: float | None
    """Of attempts that completed; null when none did."""


class QueueFigures(TypedDict):
    """What one queue has to do."""

    name: str
    pending: int
    """Due, or waiting for a retry or for other jobs."""
    processing: int
    """In work now."""
    paused: bool
    """Whether nothing is handed out."""


class WorkerFigures(TypedDict):
    """How many workers there are, and how many showed themselves in the last minute."""

    total: int
    """Workers that did not sign off."""
    healthy: int
    """Those that showed themselves in the last minute."""
    unhealthy: int
    """Those that did not."""


class RecentActivity(TypedDict):
    """What happened in the last hour, to the five minutes."""

    jobs_created_1h: int
    jobs_completed_1h: int
    jobs_failed_1h: int
    """Those that became dead letters."""


class Point(TypedDict):
    """What happened in five minutes, as far as it was announced."""

    at: datetime
    """When they began."""
    created: int
    completed: int
    failed: int
    """Those that became dead letters."""
    retried: int
    """Attempts that failed and are repeated."""
    open: int
    """Jobs that were not over when the five minutes ended."""
    avg_processing_time_ms: float | None
    """Of attempts that completed; null when none did."""
    avg_wait_time_ms: float | None
    """From being due to being begun; null when none began."""


class Series(TypedDict):
    """The same as points in time, the earliest first."""

    bucket_seconds: int
    points: list[Point]


class Dashboard(TypedDict):
    """Everything at a glance, of the queues that the key may see."""

    system: SystemInfo
    jobs: JobFigures
    queues: list[QueueFigures]
    """The 20 that have most to do."""
    workers: WorkerFigures
    recent_activity: RecentActivity
