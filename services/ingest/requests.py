"""What producers may ask for: the shapes, and their limits (contract 1.4, Limits).

The door is strict where a mistake would be silent: unknown fields in what is Bellhop's
own (``target``, ``retry``) are refused.  Elsewhere unknown fields are ignored, as
clients of the contract expect.
"""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from libs.common.backoff import RetryPolicy

TAGS_BYTES_MAX: Final = 64 * 1024
HEADERS_MAX: Final = 32
HEADER_VALUE_MAX: Final = 4096
#: 64 jobs with their headers, but without their bodies, fit into one message.
HEADERS_BYTES_MAX: Final = 8 * 1024
BULK_MAX: Final = 100

_QUEUE_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
#: RFC 9110, section 5.6.2: what a header may be called.
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
#: RFC 9110, section 5.5, without the obsolete: what a header may say.
_VALUE: Final = re.compile(r"[\x21-\x7e]([\x20-\x7e\t]*[\x21-\x7e])?|")
#: A NUL as JSON spells it, and not a backslash before "u0000".
_NUL: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
#: Headers that are the sender's business, and families of them.
_RESERVED: Final = frozenset(
    [
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "te",
        "trailer",
        "upgrade",
        "expect",
        "accept-encoding",
    ]
)
_RESERVED_PREFIXES: Final = ("webhook-", "proxy-", "x-amz-", "x-goog-", "x-azure-")


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


QueueName = Annotated[str, AfterValidator(_queue_name)]
PlainText = Annotated[str, AfterValidator(_no_nul)]
Moment = Annotated[datetime, AfterValidator(_in_utc)]
IdempotencyKey = Annotated[PlainText, Field(min_length=1, max_length=255)]
Priority = Annotated[int, Field(ge=-100, le=100, strict=True)]
Retries = Annotated[int, Field(ge=0, le=100, strict=True)]
TimeoutSeconds = Annotated[int, Field(ge=1, le=86_400, strict=True)]


class Target(BaseModel):
    """Where a push job goes.  ``timeout_seconds`` is for one attempt, in total."""

    model_config = ConfigDict(extra="forbid")

    url: Annotated[str, Field(min_length=1, max_length=2048)]
    method: Literal["POST", "PUT", "PATCH", "DELETE", "GET"] = "POST"
    headers: dict[str, str] = Field(default_factory=dict, max_length=HEADERS_MAX)
    timeout_seconds: Annotated[float, Field(gt=0, le=120, allow_inf_nan=False)] = 15.0

    @field_validator("headers")
    @classmethod
    def _are_sendable(cls, headers: dict[str, str]) -> dict[str, str]:
        size = 0
        for name, value in headers.items():
            lower = name.lower()
            if not _TOKEN.fullmatch(name):
                raise PydanticCustomError(
                    "header_name", "{name} is no header name", {"name": repr(name)}
                )
            if lower in _RESERVED or lower.startswith(_RESERVED_PREFIXES):
                raise PydanticCustomError(
                    "header_reserved", "{name} is set by the sender", {"name": name}
                )
            if len(value) > HEADER_VALUE_MAX or not _VALUE.fullmatch(value):
                raise PydanticCustomError(
                    "header_value",
                    "the value of {name} is too long or not printable ASCII",
                    {"name": name},
                )
            size += len(name) + len(value)
        if size > HEADERS_BYTES_MAX:
            raise PydanticCustomError("headers_size", "headers exceed 8 KiB")
        return headers


class CreateJob(BaseModel):
    """A job to create (contract 1.4), with ``target`` and ``retry`` on top."""

    queue_name: QueueName
    payload: Any
    priority: Priority = 0
    max_retries: Retries | None = None
    timeout_seconds: TimeoutSeconds | None = None
    scheduled_at: Moment | None = None
    expires_at: Moment | None = None
    idempotency_key: IdempotencyKey | None = None
    tags: Any = None
    target: Target | None = None
    retry: RetryPolicy | None = None
    parent_job_id: str | None = None
    completion_webhook: str | None = None

    @field_validator("tags")
    @classmethod
    def _fit(cls, tags: Any) -> Any:
        spelled = orjson.dumps(tags)
        if len(spelled) > TAGS_BYTES_MAX:
            raise PydanticCustomError("tags_size", "tags exceed 64 KiB")
        if _NUL.search(spelled):
            raise PydanticCustomError("nul", "tags must not contain a NUL character")
        return tags

    @field_validator("parent_job_id", "completion_webhook")
    @classmethod
    def _is_not_served(cls, value: str | None) -> str | None:
        if value is not None:
            raise PydanticCustomError(
                "not_supported", "is not supported by this version of Bellhop"
            )
        return value


class BulkItem(BaseModel):
    """One job of a bulk; what it does not say comes from the bulk's defaults."""

    payload: Any
    queue_name: QueueName | None = None
    priority: Priority | None = None
    max_retries: Retries | None = None
    timeout_seconds: TimeoutSeconds | None = None
    scheduled_at: Moment | None = None
    expires_at: Moment | None = None
    idempotency_key: IdempotencyKey | None = None
    tags: Any = None
    target: Target | None = None
    retry: RetryPolicy | None = None
    parent_job_id: str | None = None
    completion_webhook: str | None = None


class BulkEnqueue(BaseModel):
    """Up to a hundred jobs at once (contract 1.4).  Each is read by itself."""

    queue_name: QueueName | None = None
    jobs: Annotated[list[Any], Field(min_length=1, max_length=BULK_MAX)]
    default_priority: Priority = 0
    default_max_retries: Retries | None = None
    default_timeout_seconds: TimeoutSeconds | None = None
    target: Target | None = None
    retry: RetryPolicy | None = None


class RetryDead(BaseModel):
    """Which dead letters to try again: by id, or the oldest of a queue."""

    job_ids: Annotated[list[str], Field(max_length=1000)] | None = None
    queue_name: QueueName | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 100


class PurgeDead(BaseModel):
    """Which dead letters to delete for good; ``confirm`` must be true."""

    confirm: bool
    queue_name: QueueName | None = None
    older_than: Moment | None = None
    limit: Annotated[int, Field(ge=1, le=10_000)] = 1000


_SLUG: Final = r"^[a-z0-9]+(-[a-z0-9]+)*$"
_SLUGS_RESERVED: Final = frozenset(
    [
        "admin",
        "api",
        "app",
        "auth",
        "dashboard",
        "docs",
        "help",
        "internal",
        "login",
        "logout",
        "metrics",
        "root",
        "settings",
        "signup",
        "status",
        "support",
        "system",
        "test",
        "www",
    ]
)
_EMAIL: Final = r"^[^@\s\x00]+@[^@\s\x00]+\.[^@\s\x00]+$"


class CreateOrganization(BaseModel):
    """A new organization (contract 1.3)."""

    name: Annotated[PlainText, Field(min_length=3, max_length=100)]
    slug: Annotated[str, Field(min_length=3, max_length=50, pattern=_SLUG)]
    billing_email: Annotated[str, Field(max_length=255, pattern=_EMAIL)] | None = None

    @field_validator("slug")
    @classmethod
    def _is_free_to_take(cls, slug: str) -> str:
        if slug in _SLUGS_RESERVED:
            raise PydanticCustomError("reserved", "this slug is reserved")
        return slug


class RotateSecret(BaseModel):
    """A new signing secret; the old one signs on for ``overlap_seconds`` (≤ 7 days)."""

    overlap_seconds: Annotated[int, Field(ge=0, le=604_800)] = 86_400


_KEY_NAME: Final = r"^[A-Za-z0-9 _.()-]+$"
QueueScope = Annotated[list[QueueName | Literal["*"]], Field(max_length=50)]


class CreateKey(BaseModel):
    """A new API key (contract 1.7)."""

    name: Annotated[str, Field(min_length=1, max_length=100, pattern=_KEY_NAME)]
    queues: QueueScope = Field(default_factory=list)
    rate_limit: Annotated[int, Field(ge=1, le=10_000)] | None = None
    expires_at: Moment | None = None

    @model_validator(mode="before")
    @classmethod
    def _has_no_permissions(cls, given: Any) -> Any:
        if isinstance(given, dict) and "permissions" in given:
            raise PydanticCustomError(
                "permissions", "permissions are not supported: use queues"
            )
        return given

    @field_validator("expires_at")
    @classmethod
    def _is_to_come(cls, moment: datetime | None) -> datetime | None:
        if moment is not None and moment <= datetime.now(UTC):
            raise PydanticCustomError("past", "must be in the future")
        return moment


class ChangeKey(BaseModel):
    """What to change of an API key; absent keeps what is there."""

    name: (
        Annotated[str, Field(min_length=1, max_length=100, pattern=_KEY_NAME)] | None
    ) = None
    queues: QueueScope | None = None
    rate_limit: Annotated[int, Field(ge=1, le=10_000)] | None = None
    is_active: bool | None = None


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
