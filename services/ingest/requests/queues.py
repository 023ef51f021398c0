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
    #: How many of the queue's jobs are in work at once, at most.
    concurrency: Annotated[int, Field(ge=1, le=_LIMIT_MAX, strict=True)] | None = None


class ConfigureQueue(BaseModel):
    """A queue's configuration (D28).

    What is absent stays as it is; settings are merged.  A ``rate_limit`` of null is
    taken away.
    """

    max_retries: Retries | None = None
    default_timeout: TimeoutSeconds | None = None
    timeout_seconds: TimeoutSeconds | None = None
    #: How many of the queue's jobs are begun per second, at most.
    rate_limit: Annotated[int, Field(ge=1, le=_LIMIT_MAX, strict=True)] | None = None
    enabled: bool | None = None
    settings: QueueSettings | None = None

    @field_validator("settings", mode="before")
    @classmethod
    def _fits(cls, value: Any) -> Any:
        if value is not None and len(orjson.dumps(value)) > JSON_BYTES_MAX:
            raise PydanticCustomError("size", "exceed 64 KiB")
        return value


class PauseQueue(BaseModel):
    """Why a queue is paused; the whole body may be absent."""

    reason: Annotated[PlainText, Field(max_length=500)] | None = None


class DeleteQueue(BaseModel):
    """How a queue is deleted."""

    delete_jobs: bool = Field(
        default=False,
        description="Cancel what is open and purge what is dead, instead of refusing.",
    )
