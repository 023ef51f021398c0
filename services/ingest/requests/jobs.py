"""What producers may ask for: the shapes, and their limits (contract 1.4)."""

import re
from typing import Annotated, Any, Final, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, SkipValidation, field_validator
from pydantic_core import PydanticCustomError

from libs.common.backoff import RetryPolicy
from services.ingest.requests.fields import (
    JSON_BYTES_MAX,
    NUL,
    IdempotencyKey,
    LongPage,
    Moment,
    Priority,
    QueueName,
    Retries,
    TimeoutSeconds,
)

HEADERS_MAX: Final = 32
HEADER_VALUE_MAX: Final = 4096
#: 64 jobs with their headers, but without their bodies, fit into one message.
HEADERS_BYTES_MAX: Final = 8 * 1024
BULK_MAX: Final = 100

#: RFC 9110, section 5.6.2: what a header may be called.
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
#: RFC 9110, section 5.5, without the obsolete: what a header may say.
_VALUE: Final = re.compile(r"[\x21-\x7e]([\x20-\x7e\t]*[\x21-\x7e])?|")
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
        if len(spelled) > JSON_BYTES_MAX:
            raise PydanticCustomError("tags_size", "tags exceed 64 KiB")
        if NUL.search(spelled):
            raise PydanticCustomError("nul", "tags must not contain a NUL character")
        return tags

    @field_validator("completion_webhook")
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
    # Checked one by one, so that one that is wrong spoils no other.
    jobs: Annotated[
        list[SkipValidation[BulkItem]], Field(min_length=1, max_length=BULK_MAX)
    ]
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


class HistoryPage(LongPage):
    """Which part of a job's history, and which end of it first."""

    order_dir: Literal["asc", "desc"] = Field(
        default="asc", description="desc is the latest first."
    )
