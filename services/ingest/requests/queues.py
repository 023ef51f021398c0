"""What may be asked of queues (contract 1.5)."""

from typing import Annotated, Any, Final

import orjson
from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

from libs.common.backoff import RetryPolicy
from services.ingest.requests.fields import (
    JSON_BYTES_MAX,
    PlainText,
    Retries,
    TimeoutSeconds,
)

#: The most that a queue's rate (jobs begun per second) or concurrency may be.
_LIMIT_MAX: Final = 100_000


class QueueSettings(BaseModel):
    """The settings of a queue that Bellhop reads; others are kept as they are.

    A setting that is null is taken away.  ``retry_delay_ms``, ``backoff_multiplier``
    and ``max_retry_delay_ms`` make up a retry policy where ``retry`` is absent.
    """

    model_config = ConfigDict(extra="allow")

    retry: RetryPolicy | None = None
    """The retry policy of jobs that bring none."""
    concurrency: Annotated[int, Field(ge=1, le=_LIMIT_MAX, strict=True)] | None = None
    """How many of the queue's jobs are in work at once, at most; null or absent is no
    limit.
    """
    concurrency_per_key: (
        Annotated[int, Field(ge=1, le=_LIMIT_MAX, strict=True)] | None
    ) = None
    """How many of those that share a ``concurrency_key`` have their turn at once; null
    or absent is one.
    """


class ConfigureQueue(BaseModel):
    """A queue's configuration (D28).

    What is absent stays as it is; settings are merged.  A ``rate_limit`` of null is
    taken away.
    """

    max_retries: Retries | None = None
    """The retries of jobs that do not say; 3 when nobody configured it."""
    default_timeout: TimeoutSeconds | None = None
    """The ``timeout_seconds`` of jobs that do not say; 300 when nobody configured it.
    """
    timeout_seconds: TimeoutSeconds | None = None
    """The same as ``default_timeout``, which goes before it."""
    rate_limit: Annotated[int, Field(ge=1, le=_LIMIT_MAX, strict=True)] | None = None
    """How many of the queue's jobs are begun per second, at most, with a burst of one
    second's worth; null takes it away.
    """
    enabled: bool | None = None
    """False: nothing is handed out, while new jobs are taken in."""
    settings: QueueSettings | None = None
    """What to merge into the settings; at most 64 KiB."""

    @field_validator("settings", mode="before")
    @classmethod
    def _fits(cls, value: Any) -> Any:
        if value is not None and len(orjson.dumps(value)) > JSON_BYTES_MAX:
            raise PydanticCustomError("size", "exceed 64 KiB")
        return value


class PauseQueue(BaseModel):
    """Why a queue is paused; the whole body may be absent."""

    reason: Annotated[PlainText, Field(max_length=500)] | None = None
    """Why, for people to read."""


class DeleteQueue(BaseModel):
    """How a queue is deleted."""

    delete_jobs: bool = Field(
        default=False,
        description="Cancel what is open and purge what is dead, instead of refusing.",
    )
