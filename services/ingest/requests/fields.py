"""Fields that several requests share, with their limits (contract, Limits)."""

import re
from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from libs.common.headers import HEADERS_MAX, BadHeader, check_headers

#: The largest tags, metadata or settings, in bytes of JSON.
JSON_BYTES_MAX: Final = 64 * 1024
#: A NUL as JSON spells it, and not a backslash before "u0000".
NUL: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")

_QUEUE_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def _queue_name(value: str) -> str:
    if not 1 <= len(value) <= 100:  # noqa: PLR2004 - the contract's limit
        raise PydanticCustomError("length", "Queue name must be 1-100 characters")
    if not _QUEUE_NAME.fullmatch(value):
        raise PydanticCustomError(
            "pattern",
            "Queue name can only contain alphanumeric characters, dashes, "
            "underscores, and dots, and not start with a dash or dot",
        )
    return value


def _no_nul(value: str) -> str:
    if "\x00" in value:
        raise PydanticCustomError("nul", "must not contain a NUL character")
    return value


def _in_utc(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value


def _sendable(headers: dict[str, str]) -> dict[str, str]:
    try:
        check_headers(headers)
    except BadHeader as error:
        raise PydanticCustomError(
            error.code, "{words}", {"words": str(error)}
        ) from None
    return headers


QueueName = Annotated[
    str,
    AfterValidator(_queue_name),
    # The validator has better words than a pattern; this is what it checks.
    WithJsonSchema(
        {
            "type": "string",
            "minLength": 1,
            "maxLength": 100,
            "pattern": f"^{_QUEUE_NAME.pattern}$",
        }
    ),
]
PlainText = Annotated[str, AfterValidator(_no_nul)]
#: Headers to send along with a request of ours.
Headers = Annotated[
    dict[str, str], Field(max_length=HEADERS_MAX), AfterValidator(_sendable)
]
Moment = Annotated[datetime, AfterValidator(_in_utc)]
IdempotencyKey = Annotated[PlainText, Field(min_length=1, max_length=255)]
#: What jobs share that take turns.
LineKey = Annotated[PlainText, Field(min_length=1, max_length=255)]
Priority = Annotated[int, Field(ge=-100, le=100, strict=True)]
WebhookUrl = Annotated[
    str,
    Field(min_length=1, max_length=2048, json_schema_extra={"format": "uri"}),
]
WebhookSecret = Annotated[str, Field(min_length=1, max_length=255)]
Retries = Annotated[int, Field(ge=0, le=100, strict=True)]
TimeoutSeconds = Annotated[int, Field(ge=1, le=86_400, strict=True)]


class Page(BaseModel):
    """Which part of a list: numbers out of range are moved into it (D21)."""

    limit: int = Field(default=100, description="At most so many, 1 to 100.")
    offset: int = Field(default=0, description="Leave out so many from the front.")


class LongPage(Page):
    """Which part of what happened to one job."""

    limit: int = Field(default=100, description="At most so many, 1 to 500.")
