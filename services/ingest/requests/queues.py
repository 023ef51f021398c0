"""What may be asked of queues (contract 1.5)."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

from libs.common.backoff import RetryPolicy
from services.ingest.requests.fields import Retries, TimeoutSeconds


class QueueSettings(BaseModel):
    """The settings of a queue that Bellhop reads; others are kept as they are."""

    model_config = ConfigDict(extra="allow")

    retry: RetryPolicy | None = None


class ConfigureQueue(BaseModel):
    """A queue's configuration (contract 1.5, D28); absent keeps what is there."""

    max_retries: Retries | None = None
    default_timeout: TimeoutSeconds | None = None
    timeout_seconds: TimeoutSeconds | None = None
    rate_limit: Annotated[int, Field(ge=1, le=100_000)] | None = None
    enabled: bool | None = None
    settings: QueueSettings | None = None

    @field_validator("enabled")
    @classmethod
    def _is_not_paused(cls, enabled: bool | None) -> bool | None:  # noqa: FBT001
        if enabled is False:
            raise PydanticCustomError(
                "not_supported",
                "pausing a queue is not supported by this version of Bellhop",
            )
        return enabled
