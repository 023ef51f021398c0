"""What may be asked of workflows (contract 1.8), with kinds and policies on top."""

import re
from typing import Annotated, Any, Final, Literal

import orjson
from pydantic import AfterValidator, BaseModel, Field
from pydantic_core import PydanticCustomError

from libs.common.backoff import RetryPolicy
from libs.common.store.dependencies import Kind, Mode
from libs.common.store.workflows import Policy
from services.ingest.requests.fields import (
    JSON_BYTES_MAX,
    NUL,
    IdempotencyKey,
    LineKey,
    Moment,
    PlainText,
    Priority,
    QueueName,
    Retries,
    TimeoutSeconds,
)
from services.ingest.requests.jobs import AnyTarget

#: Jobs of one request.
JOBS_MAX: Final = 100
#: Jobs that one job can wait for.
PARENTS_MAX: Final = 1000

_NAME: Final = re.compile(r"[A-Za-z0-9 \-_.:()]+")


def _named(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise PydanticCustomError(
            "pattern",
            "Workflow name can only contain alphanumeric characters, spaces, dashes, "
            "underscores, dots, colons and parentheses",
        )
    return value


def _fitting(value: Any) -> Any:
    spelled = orjson.dumps(value)
    if len(spelled) > JSON_BYTES_MAX:
        raise PydanticCustomError("size", "must not exceed 64 KiB")
    if NUL.search(spelled):
        raise PydanticCustomError("nul", "must not contain a NUL character")
    return value


Name = Annotated[
    str,
    Field(
        min_length=1,
        max_length=255,
        json_schema_extra={"pattern": f"^{_NAME.pattern}$"},
    ),
    AfterValidator(_named),
]
Key = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9_-]+$")]


class WorkflowJobAsked(BaseModel):
    """One job of a workflow."""

    key: Key
    """What the other jobs call it; one of a kind in its workflow."""
    queue_name: QueueName
    """The queue it goes into; one that is new comes to be."""
    payload: Any
    """The work itself, any JSON, at most 1 MiB."""
    depends_on: Annotated[list[str], Field(max_length=PARENTS_MAX)] | None = None
    """The keys of the jobs that it waits for."""
    dependency_mode: Mode | None = None
    """Whether it waits for ``all`` of them (absent means this), or for ``any``."""
    dependency_type: Kind | None = None
    """What it waits for: that they complete (``success``; absent means this), end in
    whatever way (``completion``), or fail (``failure``).
    """
    dependency_types: dict[str, Kind] | None = None
    """The same for single ones of them, by their keys."""
    priority: Priority | None = None
    """Higher goes first, within its queue; 0 unless said."""
    max_retries: Retries | None = None
    """How often it may be tried again after the first attempt; absent is the queue's
    number, else 3.
    """
    timeout_seconds: TimeoutSeconds | None = None
    """How long a worker should take at most, in seconds; absent is the queue's number,
    else 300.
    """
    scheduled_at: Moment | None = None
    """Not before this moment."""
    expires_at: Moment | None = None
    """When it is not begun by then, it becomes ``expired``, and has failed."""
    tags: Any = None
    """Any JSON to find the job by; at most 64 KiB."""
    target: AnyTarget | None = None
    """Where to push the job; without one it waits for a worker."""
    retry: RetryPolicy | None = None
    """How long to wait before each retry; absent is the queue's policy."""
    concurrency_key: LineKey | None = None
    """The jobs of the queue that share it take turns."""
    ordering_key: LineKey | None = None
    """For a ``target`` of an endpoint: what goes there with one key is in order."""


class CreateWorkflow(BaseModel):
    """Jobs that belong together, and what leads from one to another (contract 5.2)."""

    name: Name
    """What people call it."""
    description: Annotated[PlainText, Field(max_length=1000)] | None = None
    """What people should know about it."""
    metadata: Annotated[Any, AfterValidator(_fitting)] = None
    """Any JSON of yours, kept with the workflow; at most 64 KiB."""
    idempotency_key: IdempotencyKey | None = None
    """One key, one workflow: a repeat is answered with the workflow there is."""
    policy: Policy = "continue"
    """What becomes of the others when a job has failed: those that can still run do
    (``continue``), or all that nobody works on are cancelled (``fail_fast``), but for
    those that wait for its end or its failure.
    """
    jobs: Annotated[list[WorkflowJobAsked], Field(min_length=1, max_length=JOBS_MAX)]
    """The jobs, up to 100."""


class AddWorkflowJobs(BaseModel):
    """More jobs for a workflow, by a worker that has one of its jobs in work."""

    worker_id: Annotated[PlainText, Field(min_length=1, max_length=255)]
    """Who has it."""
    lease_id: Annotated[PlainText, Field(min_length=1, max_length=255)] | None = None
    """The claim that holds it; absent is any of the worker's."""
    jobs: Annotated[list[WorkflowJobAsked], Field(min_length=1, max_length=JOBS_MAX)]
    """The jobs, up to 100.  A key that the workflow has already stands for the job that
    has it, so that asking twice adds nothing twice.
    """


class ListWorkflows(BaseModel):
    """Which workflows: numbers out of range are moved into it (D21)."""

    status: Literal["pending", "running", "completed", "failed", "cancelled"] | None = (
        Field(default=None, description="Only those that stand so.")
    )
    limit: int = Field(default=50, description="At most so many, 1 to 100.")
    offset: int = Field(default=0, description="Leave out so many from the front.")
