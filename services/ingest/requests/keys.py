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
    """What people call it: letters, digits, blanks and ``_.()-``."""
    queues: QueueScope | None = None
    """The queues it is for; absent, empty or ``*`` is all."""
    rate_limit: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Requests per minute; absent is no limit besides the plan's."""
    expires_at: Moment | None = None
    """From when it is refused; absent is never."""

    @field_validator("expires_at")
    @classmethod
    def _is_to_come(cls, moment: datetime | None) -> datetime | None:
        if moment is not None and moment <= datetime.now(UTC):
            raise PydanticCustomError("past", "must be in the future")
        return moment


class ChangeKey(_Key):
    """What to change of an API key; absent keeps what is there.

    Null keeps as well, except that it takes ``rate_limit`` away.
    """

    name: (
        Annotated[str, Field(min_length=1, max_length=100, pattern=_KEY_NAME)] | None
    ) = None
    """What people call it: letters, digits, blanks and ``_.()-``."""
    queues: QueueScope | None = None
    """The queues it is for; empty or ``*`` is all."""
    rate_limit: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Requests per minute; null takes it away."""
    is_active: bool | None = None
    """False revokes it, true gives it back."""
