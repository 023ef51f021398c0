"""What may be asked of endpoints: the shapes, and their limits."""

from typing import Annotated, Any, Final, Literal

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

from libs.common.addresses import URL_CHARS_MAX
from libs.common.backoff import RetryPolicy
from libs.common.event_types import (
    NAME_CHARS_MAX,
    NAME_PATTERN,
    WANTED_PATTERN,
    is_name,
    is_wanted_pattern,
)
from services.ingest.requests.endpoint_auth import EndpointAuth, EndpointTls
from services.ingest.requests.fields import (
    JSON_BYTES_MAX,
    NUL,
    Headers,
    Page,
    PlainText,
    Retries,
)

EVENT_TYPES_MAX: Final = 100
#: How large the payload of a test may be, in bytes of JSON: it travels in one message.
TEST_BYTES_MAX: Final = 256 * 1024


def _wanted(value: str) -> str:
    if not is_wanted_pattern(value):
        raise PydanticCustomError(
            "pattern",
            "must be a name such as invoice.paid, or invoice.* for all below it, or * "
            "for all",
        )
    return value


def _name(value: str) -> str:
    if not is_name(value):
        raise PydanticCustomError(
            "pattern",
            "must be words of letters, digits and _, joined by . or -, at most "
            "256 characters",
        )
    return value


def _plain_object(value: dict[str, Any]) -> dict[str, Any]:
    spelled = orjson.dumps(value)
    if len(spelled) > JSON_BYTES_MAX:
        raise PydanticCustomError("size", "exceeds 64 KiB")
    if NUL.search(spelled):
        raise PydanticCustomError("nul", "must not contain a NUL character")
    return value


EventType = Annotated[
    str,
    Field(
        json_schema_extra={
            "pattern": f"^{NAME_PATTERN}$",
            "minLength": 1,
            "maxLength": NAME_CHARS_MAX,
        }
    ),
    AfterValidator(_name),
]
WantedType = Annotated[
    str,
    Field(
        json_schema_extra={
            "pattern": f"^({WANTED_PATTERN})$",
            "minLength": 1,
            "maxLength": NAME_CHARS_MAX,
        }
    ),
    AfterValidator(_wanted),
]
PlainObject = Annotated[dict[str, Any], AfterValidator(_plain_object)]


class EndpointFields(BaseModel):
    """What an endpoint has that people choose."""

    model_config = ConfigDict(extra="forbid")

    description: Annotated[PlainText, Field(max_length=1000)] | None = None
    """What it is for, for people."""
    event_types: (
        Annotated[list[WantedType], Field(min_length=1, max_length=EVENT_TYPES_MAX)]
        | None
    ) = None
    """Which messages it gets: names, ``invoice.*`` for all below a name, or ``*`` for
    all, which is what a new one gets unless it says.
    """
    filter: PlainObject | None = None
    """Which payloads it gets, in the filter language; null is all."""
    headers: Headers | None = None
    """Headers to send along, up to 32 and 8 KiB in all; those of the sender and of the
    signature are refused.
    """
    format: Literal["payload", "envelope", "cloudevents"] | None = None
    """What the body is: the payload as it came, ``{type, timestamp, data}`` around it,
    or the payload with ``ce-*`` headers (CloudEvents, binary mode); ``payload`` unless
    said.
    """
    enabled: bool | None = None
    """False: it gets nothing, and what is for it waits; true unless said."""
    disabled_reason: Annotated[PlainText, Field(max_length=255)] | None = None
    """Why it is not enabled; ``manual`` unless said."""
    timeout_seconds: (
        Annotated[float, Field(gt=0, le=120, allow_inf_nan=False)] | None
    ) = None
    """How long one attempt may take, in total; 15 unless said."""
    retry: RetryPolicy | None = None
    """How long to wait before each retry; null is 5 s, 5 min, 30 min, 2 h, 5 h, 10 h,
    14 h, 20 h, 24 h.
    """
    max_retries: Retries | None = None
    """How often a delivery may be tried again; as many as the policy has delays, else
    9, unless said.
    """
    rate_limit_per_second: (
        Annotated[float, Field(gt=0, le=100_000, allow_inf_nan=False)] | None
    ) = None
    """How many attempts begin per second, at most; null is no limit."""
    max_concurrency: Annotated[int, Field(ge=1, le=10_000, strict=True)] | None = None
    """How many attempts are under way at once, at most; 10 unless said."""
    ordered: bool | None = None
    """True: one delivery after the other, in the order of the messages; false unless
    said. Messages with an ``ordering_key`` are in order among themselves anyway.
    """
    signature_scheme: Literal["v1", "v1a"] | None = None
    """What signs: ``v1`` is HMAC-SHA256 with a secret that both know, ``v1a`` ed25519,
    of which the receiver gets the public key; ``v1`` unless said.
    """
    auth: EndpointAuth | None = None
    """How it is shown who we are, beside the signature; null is not at all."""
    tls: EndpointTls | None = None
    """Certificates for the connection; null is those of the system, none of ours."""
    send_traceparent: bool | None = None
    """True: it is told the trace of attempts that are traced (W3C ``traceparent``);
    false unless said.
    """
    metadata: PlainObject | None = None
    """Any JSON object of your own, at most 64 KiB."""


class CreateEndpoint(EndpointFields):
    """A new endpoint; what is absent, or null, is as said at each field."""

    url: Annotated[str, Field(min_length=1, max_length=URL_CHARS_MAX)]
    """Where messages are posted: http or https, to a public address in production."""
    secret: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    """A secret to go on with, ``whsec_…`` of 24 to 64 bytes (or ``whsk_…`` for
    ``v1a``), of a receiver that has one already; else one is made.
    """


class ChangeEndpoint(EndpointFields):
    """What to change of an endpoint; what is absent stays.

    Null takes away ``description``, ``filter``, ``retry``, ``rate_limit_per_second``,
    ``auth`` and ``tls``; of anything else it changes nothing.  A ``retry`` without
    ``max_retries`` brings its own number.
    """

    url: Annotated[str, Field(min_length=1, max_length=URL_CHARS_MAX)] | None = None
    """Where messages are posted: http or https, to a public address in production."""


class RotateEndpointSecret(BaseModel):
    """A new secret; what signed before signs on for ``overlap_seconds`` (≤ 7 days)."""

    model_config = ConfigDict(extra="forbid")

    overlap_seconds: Annotated[int, Field(ge=0, le=604_800)] = 86_400
    """For how long old secrets sign along, at most, so that the receiver has time; a
    day unless said. With 0 they are void at once.
    """
    signature_scheme: Literal["v1", "v1a"] | None = None
    """What signs from now on; as it was unless said."""
    secret: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    """A secret to go on with, ``whsec_…`` (``v1a``: ``whsk_…``); else one is made."""


class SendTest(BaseModel):
    """What to send in a test; the whole body may be absent."""

    model_config = ConfigDict(extra="forbid")

    event_type: EventType = "endpoint.test"
    """The type that the message has; the endpoint need not ask for it."""
    payload: Any = None
    """Any JSON, at most 256 KiB; absent is an object that says that it is a test."""

    @field_validator("payload")
    @classmethod
    def _fits(cls, value: Any) -> Any:
        if len(orjson.dumps(value)) > TEST_BYTES_MAX:
            raise PydanticCustomError("size", "exceeds 256 KiB")
        return value


class EndpointAttemptsPage(Page):
    """Which attempts; a status that is none is ignored."""

    status: Literal["failed", "delivered"] | None = Field(
        default=None, description="How it went; absent is either."
    )
