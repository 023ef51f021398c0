"""Workflows, their jobs, and how far they have come (contract 1.8)."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, NotRequired
from uuid import UUID

from typing_extensions import TypedDict

from libs.common.db import Row
from libs.common.store.workflows import Edge
from services.ingest.answers.fields import as_stored


class WorkflowSummary(TypedDict):
    """A workflow, in short."""

    id: str
    organization_id: str
    name: str
    description: str | None
    status: Literal["pending", "running", "completed", "failed", "cancelled"]
    """``pending`` until its first job is begun, and ``running`` until the last is over.
    """
    policy: Literal["continue", "fail_fast"]
    """What becomes of the others when a job has failed."""
    total_jobs: int
    completed_jobs: int
    failed_jobs: int
    """Those that were given up, or expired."""
    cancelled_jobs: int
    skipped_jobs: int
    """Those that nobody needed: they were for the failure of what has completed."""
    progress_percent: float
    """How many have completed or were skipped, in percent."""
    metadata: Any
    created_at: datetime
    started_at: datetime | None
    """When its first job was begun."""
    completed_at: datetime | None
    """When it was over, in whatever way."""


class KeyOfJob(TypedDict):
    """The job that a key stands for."""

    key: str
    job_id: str


class WorkflowCreated(WorkflowSummary):
    """A workflow that was created, and its jobs."""

    workflow_id: str
    """The same as ``id``."""
    job_ids: list[KeyOfJob]
    created: bool
    """False: its idempotency key was known, and this is the workflow that has it."""


class JobAdded(KeyOfJob):
    """A job that a key stands for now."""

    created: bool
    """False: the workflow had a job of that key already."""


class JobsAdded(TypedDict):
    """What became of jobs for a workflow."""

    workflow_id: str
    job_ids: list[JobAdded]
    created_count: int


class WorkflowJobError(TypedDict):
    """What went wrong with a job last."""

    type: Literal["JobError"]
    message: str
    stack: None


class WorkflowJob(TypedDict):
    """A job as its workflow shows it."""

    id: str
    key: str
    """What the other jobs of its workflow call it."""
    organization_id: str
    queue: str
    queue_name: str
    """The same."""
    job_type: str
    """The ``job_type`` of its payload, else ``job``."""
    payload: Any
    """As the producer sent it."""
    status: str
    """Its state now, as of any job."""
    skipped: bool
    """It was cancelled because nobody needed it."""
    priority: int
    attempt: int
    """The number of the latest attempt over the job's whole life; 0 before the first.
    """
    retry_count: int
    max_retries: int
    backoff_type: Literal["exponential"]
    timeout_ms: int
    timeout_seconds: int
    created_at: datetime
    scheduled_at: datetime | None
    started_at: datetime | None
    completed_at: datetime | None
    """When it ended, in whatever way."""
    failed_at: datetime | None
    """When it was given up."""
    next_retry_at: datetime | None
    """When it is tried again."""
    result: Any
    error: WorkflowJobError | None
    metadata: Any
    """Its tags."""
    workflow_id: str
    parent_job_id: str | None
    """The first of the jobs that it waits for, or waited for."""
    depends_on: list[str]
    """The keys of all of them."""
    dependency_mode: str
    """``all`` or ``any``."""


class WorkflowEdge(TypedDict):
    """That a job waits for another, or waited for it."""

    parent_job_id: str
    child_job_id: str
    dependency_type: Literal["success", "completion", "failure"]


class WorkflowProgress(TypedDict):
    """How many of its jobs have come how far."""

    total: int
    completed: int
    failed: int
    cancelled: int
    skipped: int
    pending: int
    processing: int


class Workflow(WorkflowSummary):
    """A workflow, whole."""

    jobs: list[WorkflowJob]
    dependencies: list[WorkflowEdge]
    progress: WorkflowProgress


class JobStatus(TypedDict):
    """How a job of a workflow stands."""

    key: str
    job_id: str
    status: str
    progress: NotRequired[float]
    """100 when it has completed."""


def summary(row: Row) -> WorkflowSummary:
    """Return a workflow in short."""
    done = row["completed"] + row["skipped"]
    return {
        "id": str(row["id"]),
        "organization_id": str(row["organization_id"]),
        "name": row["name"],
        "description": row["description"],
        "status": row["state"],
        "policy": row["policy"],
        "total_jobs": row["total_jobs"],
        "completed_jobs": row["completed"],
        "failed_jobs": row["failed"],
        "cancelled_jobs": row["cancelled"],
        "skipped_jobs": row["skipped"],
        "progress_percent": round(100 * done / row["total_jobs"], 2),
        "metadata": as_stored(row["metadata"]),
        "created_at": row["created_at"],
        "started_at": row["started_at"],
        "completed_at": row["finished_at"],
    }


def created(
    row: Row, jobs: Sequence[tuple[str, UUID]], *, fresh: bool
) -> WorkflowCreated:
    """Return a workflow that was created: now, if it is *fresh*, or before."""
    return {
        **summary(row),
        "workflow_id": str(row["id"]),
        "job_ids": [{"key": key, "job_id": str(id_)} for key, id_ in jobs],
        "created": fresh,
    }


def added(
    workflow_id: UUID, jobs: Sequence[tuple[str, UUID]], new: Collection[UUID]
) -> JobsAdded:
    """Return which jobs keys stand for, some of them *new*."""
    return {
        "workflow_id": str(workflow_id),
        "job_ids": [
            {"key": key, "job_id": str(id_), "created": id_ in new} for key, id_ in jobs
        ],
        "created_count": len(new),
    }


def workflow(row: Row, jobs: Sequence[Row], edges: Sequence[Edge]) -> Workflow:
    """Return a workflow, whole."""
    return {
        **summary(row),
        "jobs": workflow_jobs(jobs, edges),
        "dependencies": [
            {
                "parent_job_id": str(edge.parent_id),
                "child_job_id": str(edge.child_id),
                "dependency_type": edge.kind,
            }
            for edge in edges
        ],
        "progress": {
            "total": row["total_jobs"],
            "completed": row["completed"],
            "failed": row["failed"],
            "cancelled": row["cancelled"],
            "skipped": row["skipped"],
            "pending": row["pending"],
            "processing": row["processing"],
        },
    }


def workflow_jobs(jobs: Sequence[Row], edges: Sequence[Edge]) -> list[WorkflowJob]:
    """Return the jobs of a workflow."""
    keys = {row["id"]: row["key"] for row in jobs}
    parents: dict[UUID, list[Edge]] = {}
    for edge in edges:
        parents.setdefault(edge.child_id, []).append(edge)
    return [_job(row, parents.get(row["id"], ()), keys) for row in jobs]


def statuses(jobs: Sequence[Row]) -> list[JobStatus]:
    """Return how the jobs of a workflow stand."""
    return [
        {
            "key": row["key"],
            "job_id": str(row["id"]),
            "status": row["status"],
            "progress": 100.0 if row["status"] == "completed" else 0.0,
        }
        for row in jobs
    ]


def _job(row: Row, edges: Sequence[Edge], keys: Mapping[UUID, str]) -> WorkflowJob:
    given_up = row["place"] == "dead"
    error = row["last_error"]
    waits_again = row["place"] == "scheduled" and row["retry_count"] > 0
    return {
        "id": str(row["id"]),
        "key": row["key"],
        "organization_id": str(row["organization_id"]),
        "queue": row["queue_name"],
        "queue_name": row["queue_name"],
        "job_type": row["job_type"] or "job",
        "payload": as_stored(row["payload"]),
        "status": row["status"],
        "skipped": row["skipped"],
        "priority": 100 - row["rank"],
        "attempt": row["attempt"],
        "retry_count": row["retry_count"],
        "max_retries": row["max_retries"],
        "backoff_type": "exponential",
        "timeout_ms": row["timeout_seconds"] * 1000,
        "timeout_seconds": row["timeout_seconds"],
        "created_at": row["created_at"],
        "scheduled_at": row["run_at"],
        "started_at": row["started_at"],
        "completed_at": row["settled_at"],
        "failed_at": row["settled_at"] if given_up else None,
        "next_retry_at": row["run_at"] if waits_again else None,
        "result": as_stored(row["result"]),
        "error": None
        if error is None
        else {"type": "JobError", "message": error, "stack": None},
        "metadata": as_stored(row["tags"]),
        "workflow_id": str(row["workflow_id"]),
        "parent_job_id": str(edges[0].parent_id) if edges else None,
        "depends_on": [keys[e.parent_id] for e in edges if e.parent_id in keys],
        "dependency_mode": edges[0].mode if edges else "all",
    }
