"""What producers may ask for: the shapes, and their limits (contract 1.4)."""

from typing import Annotated, Any, Final, Literal

import orjson
from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    SkipValidation,
    Tag,
    field_validator,
)
from pydantic_core import PydanticCustomError

from libs.common.backoff import RetryPolicy
from services.ingest.requests.fields import (
    JSON_BYTES_MAX,
    NUL,
    Headers,
    IdempotencyKey,
    LineKey,
    LongPage,
    Moment,
    Priority,
    QueueName,
    Retries,
    TimeoutSeconds,
    WebhookSecret,
    WebhookUrl,
)

BULK_MAX: Final = 100


class Target(BaseModel):
    """Where a push job goes.  ``timeout_seconds`` is for one attempt, in total."""

    model_config = ConfigDict(extra="forbid")

    url: Annotated[str, Field(min_length=1, max_length=2048)]
    """Where to send it: http or https, to a public address in production."""
    method: Literal["POST", "PUT", "PATCH", "DELETE", "GET"] = "POST"
    """The HTTP method of each attempt."""
    headers: Headers = Field(default_factory=dict)
    """Headers to send along, up to 32 and 8 KiB in all; those of the sender and of the
    signature are refused.
    """
    timeout_seconds: Annotated[float, Field(gt=0, le=120, allow_inf_nan=False)] = 15.0
    """How long one attempt may take, in total."""


class EndpointTarget(BaseModel):
    """A configured endpoint, which says itself how it wants its requests."""

    model_config = ConfigDict(extra="forbid")

    endpoint_id: str
    """The endpoint's id."""


def _kind_of_target(given: Any) -> str:
    """Return which of the two is meant: a word that no field is called by."""
    if isinstance(given, EndpointTarget):
        return "to_endpoint"
    is_endpoint = isinstance(given, dict) and "endpoint_id" in given
    return "to_endpoint" if is_endpoint else "to_url"


def _one_of_two(given: Any) -> Any:
    if isinstance(given, dict) and given.keys() >= {"url", "endpoint_id"}:
        raise PydanticCustomError("two_targets", "must be a url or an endpoint_id")
    return given


#: A URL of its own, or an endpoint.
AnyTarget = Annotated[
    Annotated[Target, Tag("to_url")] | Annotated[EndpointTarget, Tag("to_endpoint")],
    Discriminator(_kind_of_target),
    BeforeValidator(_one_of_two),
]


class CreateJob(BaseModel):
    """A job to create (contract 1.4), with ``target`` and ``retry`` on top."""

    queue_name: QueueName
    """The queue it goes into; one that is new comes to be."""
    payload: Any
    """The work itself, any JSON, at most 1 MiB; it arrives byte for byte."""
    priority: Priority = 0
    """Higher goes first, within its queue; 0 unless said."""
    max_retries: Retries | None = None
    """How often it may be tried again after the first attempt; absent is the number of
    the endpoint that it goes to, else the queue's, else 3.
    """
    timeout_seconds: TimeoutSeconds | None = None
    """How long a worker should take at most, in seconds; it is told, nobody enforces
    it. Absent is the queue's number, else 300.
    """
    scheduled_at: Moment | None = None
    """Not before this moment; absent or past is at once."""
    expires_at: Moment | None = None
    """When it is not begun by then, it becomes ``expired``; at once if that is past."""
    idempotency_key: IdempotencyKey | None = None
    """What only one job of the organization has: a repeat is answered with that job."""
    tags: Any = None
    """Any JSON to find the job by: a list of words, or an object; at most 64 KiB."""
    target: AnyTarget | None = None
    """Where to push it, a URL or an endpoint; without one it waits for a worker."""
    retry: RetryPolicy | None = None
    """How long to wait before each retry; absent is the policy of the endpoint that it
    goes to, else the queue's, else 1, 2, 4, … 60 seconds.
    """
    parent_job_id: str | None = None
    """A job of the same queue that must complete first; if it ends otherwise, this one
    is cancelled.
    """
    concurrency_key: LineKey | None = None
    """The jobs of the queue that share it take turns, in the order they came: one at a
    time, or as many as the queue's ``concurrency_per_key`` says.
    """
    ordering_key: LineKey | None = None
    """With an endpoint as target: what goes there with the same key goes one after the
    other, in the order it came; messages, too. Not along with a ``concurrency_key``.
    """
    completion_webhook: WebhookUrl | None = None
    """Where to tell, once, how the job ended: https, to a public address in production.
    """
    completion_webhook_secret: WebhookSecret | None = None
    """What signs that; without one it is not signed. Never shown again."""

    @field_validator("tags")
    @classmethod
    def _fit(cls, tags: Any) -> Any:
        spelled = orjson.dumps(tags)
        if len(spelled) > JSON_BYTES_MAX:
            raise PydanticCustomError("tags_size", "tags exceed 64 KiB")
        if NUL.search(spelled):
            raise PydanticCustomError("nul", "tags must not contain a NUL character")
        return tags


class BulkItem(BaseModel):
    """One job of a bulk; what it does not say comes from the bulk's defaults."""

    payload: Any
    """The work itself, any JSON, at most 1 MiB; it arrives byte for byte."""
    queue_name: QueueName | None = None
    """Absent is the bulk's ``queue_name``; one of the two is required."""
    priority: Priority | None = None
    """Higher goes first, within its queue; absent is ``default_priority``."""
    max_retries: Retries | None = None
    """How often it may be tried again; absent is ``default_max_retries``, else the
    queue's, else 3.
    """
    timeout_seconds: TimeoutSeconds | None = None
    """How long a worker should take at most, in seconds; it is told, nobody enforces
    it. Absent is ``default_timeout_seconds``, else the queue's, else 300.
    """
    scheduled_at: Moment | None = None
    """Not before this moment; absent or past is at once."""
    expires_at: Moment | None = None
    """When it is not begun by then, it becomes ``expired``; at once if that is past."""
    idempotency_key: IdempotencyKey | None = None
    """What only one job of the organization has: a repeat is answered with that job."""
    tags: Any = None
    """Any JSON to find the job by: a list of words, or an object; at most 64 KiB."""
    target: AnyTarget | None = None
    """Where to push the job; absent is the bulk's ``target``."""
    retry: RetryPolicy | None = None
    """How long to wait before each retry; absent is the bulk's ``retry``, else the
    queue's.
    """
    parent_job_id: str | None = None
    """A job of the same queue that must complete first; if it ends otherwise, this one
    is cancelled.
    """
    concurrency_key: LineKey | None = None
    """The jobs of the queue that share it take turns, in the order they came: one at a
    time, or as many as the queue's ``concurrency_per_key`` says.
    """
    ordering_key: LineKey | None = None
    """With an endpoint as target: what goes there with the same key goes one after the
    other, in the order it came; messages, too. Not along with a ``concurrency_key``.
    """
    completion_webhook: WebhookUrl | None = None
    """Where to tell, once, how the job ended: https, to a public address in production.
    """
    completion_webhook_secret: WebhookSecret | None = None
    """What signs that; without one it is not signed. Never shown again."""


class BulkEnqueue(BaseModel):
    """Up to a hundred jobs at once (contract 1.4).  Each is read by itself."""

    queue_name: QueueName | None = None
    """The queue of the jobs that name none."""
    # Checked one by one, so that one that is wrong spoils no other.
    jobs: Annotated[
        list[SkipValidation[BulkItem]], Field(min_length=1, max_length=BULK_MAX)
    ]
    """The jobs, up to 100."""
    default_priority: Priority = 0
    """The priority of the jobs that name none; higher goes first."""
    default_max_retries: Retries | None = None
    """The retries of the jobs that name none; absent is the queue's number, else 3."""
    default_timeout_seconds: TimeoutSeconds | None = None
    """The seconds of the jobs that name none; absent is the queue's number, else 300.
    """
    target: AnyTarget | None = None
    """Where the jobs go that name no ``target``; without one they wait for workers."""
    retry: RetryPolicy | None = None
    """The retry policy of the jobs that bring none."""


#: ``queue_name``, or ``queue`` as the lists' filter is called.
_QueueToLookIn = Annotated[
    QueueName | None, Field(validation_alias=AliasChoices("queue_name", "queue"))
]


class RetryDead(BaseModel):
    """Which dead letters to try again: by id, or the oldest of a queue.

    Who names neither means those of the whole organization.
    """

    model_config = ConfigDict(extra="forbid")

    job_ids: Annotated[list[str], Field(max_length=1000)] | None = None
    """The ids of the dead letters, up to 100; absent takes the oldest."""
    queue_name: _QueueToLookIn = None
    """Of this queue only (``queue`` means the same); absent means of all queues.

    A key that is limited to queues must name one.
    """
    limit: Annotated[int, Field(ge=1, le=100)] = 100
    """At most so many of the oldest; not read with ``job_ids``."""


class PurgeDead(BaseModel):
    """Which dead letters to delete for good; ``confirm`` must be true.

    By id, or the oldest of a queue; who names neither means those of the whole
    organization.
    """

    model_config = ConfigDict(extra="forbid")

    confirm: bool
    """Must be true: what is purged is gone."""
    queue_name: _QueueToLookIn = None
    """Of this queue only (``queue`` means the same); absent means of all queues.

    A key that is limited to queues must name one.
    """
    older_than: Moment | None = None
    """Only those that died before this moment."""
    limit: Annotated[int, Field(ge=1, le=10_000)] = 1000
    """At most so many, the oldest first."""
    job_ids: Annotated[list[str], Field(max_length=1000)] | None = None
    """The ids of the dead letters, up to 100; absent takes the oldest.  With ids
    ``older_than`` and ``limit`` are not read.
    """


class HistoryPage(LongPage):
    """Which part of what happened to a job, and which end of it first."""

    order_dir: Literal["asc", "desc"] = Field(
        default="asc", description="desc is the latest first."
    )
