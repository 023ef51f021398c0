"""The dashboard's first page: everything at a glance (contract 1.1)."""

from datetime import datetime
from typing import Literal

from typing_extensions import TypedDict


class SystemInfo(TypedDict):
    """What answers.  There is no cache that could be away (D26)."""

    version: str
    uptime_seconds: int
    started_at: datetime
    database_status: Literal["healthy", "unhealthy"]
    cache_status: Literal["healthy", "unhealthy"]
    environment: str


class JobFigures(TypedDict):
    """How many jobs are where; averages are of the last 24 hours."""

    total: int
    pending: int
    scheduled: int
    processing: int
    completed_24h: int
    failed_24h: int
    deadletter: int
    avg_wait_time_ms: float | None
    avg_processing_time_ms: float | None


class QueueFigures(TypedDict):
    """What one queue has to do."""

    name: str
    pending: int
    processing: int
    paused: bool


class WorkerFigures(TypedDict):
    """How many workers there are, and how many showed themselves in the last minute."""

    total: int
    healthy: int
    unhealthy: int


class RecentActivity(TypedDict):
    """What happened in the last hour, to the five minutes."""

    jobs_created_1h: int
    jobs_completed_1h: int
    jobs_failed_1h: int


class Dashboard(TypedDict):
    """Everything at a glance, of the queues that the key may see."""

    system: SystemInfo
    jobs: JobFigures
    queues: list[QueueFigures]
    workers: WorkerFigures
    recent_activity: RecentActivity
