"""What a handler is given, and how it says that it did not go well."""

from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Event
from typing import Any, Final, Self

from libs.common.pb import spooled_pb2 as pb
from libs.worker.structs import payload_of


class Retry(Exception):  # noqa: N818 - what is to be done, no "Error" at the end
    """Raise it from a handler: try again, not sooner than *after* seconds from now.

    Without *after* the job's own policy says when.  When no retries are left the job
    becomes a dead letter all the same.
    """

    def __init__(
        self, message: str = "asked to be tried again", *, after: float = 0.0
    ) -> None:
        super().__init__(message)
        self.after: Final = after


class Fatal(Exception):  # noqa: N818 - what it is, no "Error" at the end
    """Raise it from a handler: never again; the job becomes a dead letter at once."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job in this worker's hands."""

    id: str
    queue: str
    #: As the producer sent it; whole numbers are integers, of any size.
    payload: Any
    #: How many retries were used before this attempt, of *max_retries*.
    retry_count: int
    max_retries: int
    priority: int
    #: How long it should take at most, in seconds; nobody enforces it.
    timeout_seconds: int
    created_at: datetime
    #: Of this claim: what it settles cannot be what somebody else holds by then.
    lease_id: str
    #: What went wrong the last time; empty the first.
    last_error: str
    idempotency_key: str
    #: Set when the job is not ours any more.  A coroutine is cancelled then; a handler
    #: that is no coroutine may look at this between its steps.
    lost: Event = field(default_factory=Event, compare=False, repr=False)

    @property
    def is_last_try(self) -> bool:
        """Whether the job becomes a dead letter if this attempt fails."""
        return self.retry_count >= self.max_retries

    @classmethod
    def read(cls, told: pb.Job) -> Self:
        """Read a job as it was handed out."""
        return cls(
            id=told.id,
            queue=told.queue_name,
            payload=payload_of(told),
            retry_count=told.retry_count,
            max_retries=told.max_retries,
            priority=told.priority,
            timeout_seconds=told.timeout_seconds,
            created_at=told.created_at.ToDatetime(tzinfo=UTC),
            lease_id=told.lease_id,
            last_error=told.last_error,
            idempotency_key=told.idempotency_key,
        )


#: The job that the code at hand works on; also in threads that handlers run in.
_CURRENT: Final[ContextVar[Job]] = ContextVar("bellhop_job")


def current_job() -> Job:
    """Return the job that is worked on here; raises `LookupError` outside of one."""
    return _CURRENT.get()
