"""What may be asked of API keys (contract 1.7)."""

from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from services.ingest.requests.fields import Moment, QueueName

_KEY_NAME: Final = r"^[A-Za-z0-9 _.()-]+$"
QueueScope = Annotated[list[QueueName | Literal["*"]], Field(max_length=50)]


class _Key(BaseModel):
    @model_validator(mode="before")
    @classmethod
    def _has_no_permissions(cls, given: Any) -> Any:
        if isinstance(given, dict) and "permissions" in given:
            raise PydanticCustomError(
                "permissions", "permissions are not supported: use queues"
            )
        return given


class CreateKey(_Key):
    """A new API key (contract 1.7): for these queues, or for all when there are none.

    ``rate_limit`` is in requests per minute.
    """

    name: Annotated[str, Field(min_length=1, max_length=100, pattern=_KEY_NAME)]
    queues: QueueScope | None = None
    rate_limit: Annotated[int, Field(ge=1, le=10_000)] | None = None
    expires_at: Moment | None = None

    @field_validator("expires_at")
    @classmethod
    def _is_to_come(cls, moment: datetime | None) -> datetime | None:
        if moment is not None and moment <= datetime.now(UTC):
            raise PydanticCustomError("past", "must be in the future")
        return moment


class ChangeKey(_Key):
    """What to change of an API key; null or absent keeps what is there."""

    name: (
        Annotated[str, Field(min_length=1, max_length=100, pattern=_KEY_NAME)] | None
    ) = None
    queues: QueueScope | None = None
    rate_limit: Annotated[int, Field(ge=1, le=10_000)] | None = None
    is_active: bool | None = None
