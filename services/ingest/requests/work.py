"""What workers may ask for, and say of their jobs (contract 1.4)."""

from typing import Annotated, Any, Final

from pydantic import AfterValidator, AliasChoices, BaseModel, Field, SkipValidation

from libs.common.backoff import Seconds
from services.ingest.requests.fields import PlainText, QueueName

#: How much is kept of why an attempt failed, in characters; more is cut.
ERROR_CHARACTERS_MAX: Final = 2048
BULK_MAX: Final = 100


def _cut(error: str) -> str:
    return error[:ERROR_CHARACTERS_MAX].replace("\x00", "\ufffd")


WorkerName = Annotated[PlainText, Field(min_length=1, max_length=255)]
LeaseName = Annotated[str, Field(min_length=1, max_length=255)]
LeaseSeconds = Annotated[int, Field(ge=5, le=3600, strict=True)]
#: ``error``, or ``reason`` as other clients call it (D29).
Why = Annotated[
    str,
    Field(min_length=1, validation_alias=AliasChoices("error", "reason")),
    AfterValidator(_cut),
]


class ClaimJobs(BaseModel):
    """Up to ``limit`` jobs of a queue (1 unless said), each for so many seconds (30).

    With ``wait_seconds`` (at most 30) the answer may wait until there is a job.
    """

    queue_name: QueueName
    """The queue to claim from."""
    worker_id: WorkerName
    """Who claims: any name, the same for as long as the worker lives."""
    limit: Annotated[int, Field(ge=1, le=100, strict=True)] | None = None
    """At most so many jobs; 1 unless said."""
    lease_duration_secs: LeaseSeconds | None = None
    """For how many seconds the jobs are the worker's; 30 unless said."""
    wait_seconds: Annotated[float, Field(ge=0, le=30, allow_inf_nan=False)] | None = (
        None
    )
    """For how long the answer may wait until there is a job; 0 unless said."""


class CompleteItem(BaseModel):
    """One job that is done: its result is any JSON, at most 1 MiB of it."""

    job_id: str
    """The job that is done."""
    lease_id: LeaseName | None = None
    """The claim's ``lease_id``; without it the worker's id decides whose the job is."""
    result: Any = None
    """What came of it: any JSON, at most 1 MiB."""


class FailItem(BaseModel):
    """One job that failed; ``no_retry`` (or ``retry`` false) gives it up (D29)."""

    job_id: str
    """The job that failed."""
    lease_id: LeaseName | None = None
    """The claim's ``lease_id``; without it the worker's id decides whose the job is."""
    error: Why
    """What went wrong; also taken as ``reason``. 2048 characters are kept."""
    retry: bool | None = None
    """False gives the job up, as ``no_retry`` does."""
    no_retry: bool | None = None
    """True gives the job up: a dead letter at once, whatever retries are left."""
    retry_after_seconds: Seconds = 0
    """Try again no sooner than so many seconds from now; up to a day."""

    @property
    def again(self) -> bool:
        """Whether it may be tried again."""
        return self.retry is not False and not self.no_retry


class CompleteJob(BaseModel):
    """The job is done: its result is any JSON, at most 1 MiB of it.

    A ``lease_id`` that is given must be the job's; without one the worker's id counts
    (D1).
    """

    worker_id: WorkerName
    """Who claimed it."""
    lease_id: LeaseName | None = None
    """The claim's ``lease_id``; without it ``worker_id`` decides whose the job is."""
    result: Any = None
    """What came of it: any JSON, at most 1 MiB."""


class FailJob(BaseModel):
    """The attempt failed, and why: at most 2048 characters of it are kept.

    The job is tried again while it has retries left, unless ``no_retry`` is said, or
    ``retry`` is false (D29).
    """

    worker_id: WorkerName
    """Who claimed it."""
    lease_id: LeaseName | None = None
    """The claim's ``lease_id``; without it ``worker_id`` decides whose the job is."""
    error: Why
    """What went wrong; also taken as ``reason``. 2048 characters are kept."""
    retry: bool | None = None
    """False gives the job up, as ``no_retry`` does."""
    no_retry: bool | None = None
    """True gives the job up: a dead letter at once, whatever retries are left."""
    retry_after_seconds: Seconds = 0
    """Try again no sooner than so many seconds from now; up to a day."""

    @property
    def again(self) -> bool:
        """Whether it may be tried again."""
        return self.retry is not False and not self.no_retry


class KeepJob(BaseModel):
    """The worker is still at it: the lease ends so many seconds from now."""

    worker_id: WorkerName
    """Who claimed it."""
    lease_id: LeaseName | None = None
    """The claim's ``lease_id``; without it ``worker_id`` decides whose the job is."""
    lease_duration_secs: LeaseSeconds
    """The lease ends so many seconds from now, not from its old end."""


class CompleteMany(BaseModel):
    """Up to a hundred jobs of one worker that are done.  Each is read by itself."""

    worker_id: WorkerName
    """Who claimed them."""
    # Checked one by one, so that one that is wrong spoils no other.
    jobs: Annotated[
        list[SkipValidation[CompleteItem]], Field(min_length=1, max_length=BULK_MAX)
    ]
    """The jobs that are done, up to 100."""


class FailMany(BaseModel):
    """Up to a hundred jobs of one worker that failed.  Each is read by itself."""

    worker_id: WorkerName
    """Who claimed them."""
    # As in `CompleteMany`.
    jobs: Annotated[
        list[SkipValidation[FailItem]], Field(min_length=1, max_length=BULK_MAX)
    ]
    """The jobs that failed, up to 100."""
