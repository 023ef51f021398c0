"""What may be asked of schedules (contract 1.9), with policies and bounds on top."""

from typing import Annotated, Any, Final

import orjson
from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

from libs.common.backoff import RetryPolicy
from libs.common.ticks import CATCH_UP_MAX, MisfirePolicy, OverlapPolicy
from services.ingest.requests.fields import (
    JSON_BYTES_MAX,
    NUL,
    LongPage,
    Moment,
    PlainText,
    Priority,
    QueueName,
    Retries,
    TimeoutSeconds,
)
from services.ingest.requests.jobs import AnyTarget

_WINDOW_SECONDS_MAX: Final = 31 * 86_400
_DAY_SECONDS: Final = 86_400
FIRES_MAX: Final = 100

Name = Annotated[PlainText, Field(min_length=1, max_length=255)]
Description = Annotated[PlainText, Field(max_length=1000)]
#: What is wrong with one is said by whoever reads it.
Expression = Annotated[PlainText, Field(max_length=1000)]
Zone = Annotated[PlainText, Field(max_length=100)]
Jitter = Annotated[int, Field(ge=0, le=_DAY_SECONDS, strict=True)]


class CatchUp(BaseModel):
    """Which of the missed ticks get a run of their own after all."""

    model_config = ConfigDict(extra="forbid")

    max: Annotated[int, Field(ge=1, le=CATCH_UP_MAX, strict=True)] = 100
    """At most so many, the latest."""
    window_seconds: Annotated[int, Field(ge=1, le=_WINDOW_SECONDS_MAX)] = _DAY_SECONDS
    """None that is older than this."""


class _Schedule(BaseModel):
    """What creating and changing have in common."""

    @field_validator("tags", "metadata", check_fields=False)
    @classmethod
    def _fit(cls, value: Any) -> Any:
        spelled = orjson.dumps(value)
        if len(spelled) > JSON_BYTES_MAX:
            raise PydanticCustomError("size", "must not exceed 64 KiB")
        if NUL.search(spelled):
            raise PydanticCustomError("nul", "must not contain a NUL character")
        return value


class CreateSchedule(_Schedule):
    """A new schedule (contract 1.9): a job that comes by itself, again and again."""

    name: Name
    """What people call it."""
    description: Description | None = None
    """What people should know about it."""
    cron_expression: Expression
    """When: five fields, or six with the second first; ``@daily`` and the like,
    ``@every 90s``, or ``@at`` and a time for once; at most 100 characters.
    """
    timezone: Zone = "UTC"
    """What its times are told by: an IANA name, or an offset ``±HH:MM``."""
    queue_name: QueueName
    """The queue of its jobs; it stays the same."""
    payload_template: Any
    """The payload of each job, any JSON, at most 1 MiB; it arrives as it is, but for
    ``{{schedule.tick}}``, ``{{schedule.fired_at}}``, ``{{schedule.id}}``,
    ``{{schedule.source}}`` and ``{{schedule.missed}}`` in its strings.
    """
    priority: Priority = 0
    """The priority of each job; higher goes first, within its queue."""
    max_retries: Retries | None = None
    """How often a job may be tried again; absent is the queue's number, else 3."""
    timeout_seconds: TimeoutSeconds | None = None
    """How long a worker should take for a job at most; absent is the queue's number,
    else 300.
    """
    tags: Any = None
    """The tags of each job; at most 64 KiB."""
    metadata: Any = None
    """Any JSON of yours, kept with the schedule; at most 64 KiB."""
    target: AnyTarget | None = None
    """Where to push each job; without one it waits for a worker."""
    retry: RetryPolicy | None = None
    """How long to wait before each retry of a job; absent is the queue's policy."""
    start_at: Moment | None = None
    """It does not fire before this moment; what ``@every`` counts from."""
    end_at: Moment | None = None
    """It does not fire at this moment, or later."""
    jitter_seconds: Jitter = 0
    """Each tick is late by up to so many seconds, always by the same for the same tick,
    so that many schedules do not fire at once.
    """
    misfire: MisfirePolicy = "coalesce"
    """What becomes of ticks that came while nobody could fire them: ``skip`` leaves
    them out, ``coalesce`` makes one run of all of them, ``catch_up`` one of each.
    """
    catch_up: CatchUp | None = None
    """How far ``catch_up`` goes."""
    overlap: OverlapPolicy = "allow"
    """What becomes of a tick while the job of the run before is not over: it gets one
    as well, is skipped, waits until that is over (``queue_one``; the others are
    skipped), or has that cancelled, whoever works on it (``cancel_previous``).
    """


class ChangeSchedule(_Schedule):
    """What to change of a schedule; absent keeps what is there, and so does null.

    Null takes away ``target``, ``retry``, ``start_at`` and ``end_at``.
    """

    name: Name | None = None
    """What people call it."""
    description: Description | None = None
    """What people should know about it."""
    cron_expression: Expression | None = None
    """When it fires; what comes next is found anew."""
    timezone: Zone | None = None
    """What its times are told by; what comes next is found anew."""
    queue_name: Annotated[PlainText, Field(max_length=255)] | None = None
    """Not looked at: the queue stays the same."""
    payload_template: Any = None
    """The payload of each job, from now on."""
    priority: Priority | None = None
    """The priority of each job, from now on."""
    max_retries: Retries | None = None
    """How often a job may be tried again."""
    timeout_seconds: TimeoutSeconds | None = None
    """How long a worker should take for a job at most."""
    tags: Any = None
    """The tags of each job; at most 64 KiB."""
    metadata: Any = None
    """Any JSON of yours; at most 64 KiB."""
    target: AnyTarget | None = None
    """Where to push each job; null leaves them to workers."""
    retry: RetryPolicy | None = None
    """How long to wait before each retry; null leaves that to the queue."""
    start_at: Moment | None = None
    """It does not fire before this moment; null takes it away."""
    end_at: Moment | None = None
    """It does not fire at this moment, or later; null takes it away."""
    jitter_seconds: Jitter | None = None
    """Each tick is late by up to so many seconds."""
    misfire: MisfirePolicy | None = None
    """What becomes of ticks that came while nobody could fire them."""
    catch_up: CatchUp | None = None
    """How far ``catch_up`` goes."""
    overlap: OverlapPolicy | None = None
    """What becomes of a tick while the job of the run before is not over."""


class PreviewSchedule(BaseModel):
    """An expression to look at."""

    cron_expression: Expression
    """When: as in a schedule."""
    timezone: Zone = "UTC"
    """What its times are told by: an IANA name, or an offset ``±HH:MM``."""
    since: Annotated[
        Moment | None,
        Field(
            alias="from",
            description="What comes after this moment; absent is now. `@every` counts "
            "from here.",
        ),
    ] = None
    count: Annotated[int, Field(ge=1, le=FIRES_MAX, strict=True)] = 10
    """How many to show."""


class Backfill(BaseModel):
    """A time whose ticks are to be fired that have not been."""

    model_config = ConfigDict(extra="forbid")

    since: Annotated[
        Moment, Field(alias="from", description="Ticks at this moment, or later.")
    ]
    until: Annotated[
        Moment | None,
        Field(
            alias="to",
            description="Ticks before this moment; absent, or to come, is now.",
        ),
    ] = None


class ListSchedules(BaseModel):
    """Which schedules: numbers out of range are moved into it (D21)."""

    queue_name: str | None = Field(default=None, description="Of this queue only.")
    is_active: bool | None = Field(
        default=None, description="Only those that fire, or only those that do not."
    )
    limit: int = Field(default=100, description="At most so many, 1 to 500.")
    offset: int = Field(default=0, description="Leave out so many from the front.")


class RunsPage(LongPage):
    """Which part of what a schedule did."""

    limit: int = Field(default=50, description="At most so many, 1 to 500.")
