"""Endpoints, how they do, and what was sent to them."""

from datetime import UTC, datetime
from typing import Any, Literal, NotRequired

import orjson
from typing_extensions import TypedDict

from libs.common.db import Row
from libs.common.messages import Verdict
from services.ingest.answers.fields import as_stored
from services.ingest.answers.jobs import AttemptAnswer
from services.ingest.answers.jobs import attempt as attempt_of_job


class EndpointStats(TypedDict):
    """How an endpoint does."""

    succeeded_24h: int
    """Attempts that went well in the last 24 hours."""
    failed_24h: int
    """Attempts that did not."""
    success_ratio_24h: float | None
    """The part that went well, 0 to 1; null when there was no attempt."""
    average_duration_ms_24h: float | None
    """Of the attempts of the last 24 hours; null when there was none."""
    breaker: Literal["closed", "open", "half_open"]
    """``open``: it failed so much that nothing is sent for a while; ``half_open``: one
    attempt is let through to see.
    """
    open_until: datetime | None
    """Until when the breaker is open; null when it is closed."""
    throttled_until: datetime | None
    """Until when nothing is sent because it asked for less (429, 502, 504); null when
    it did not.
    """
    consecutive_failures: int
    """How many attempts failed since the last that went well."""
    failing_since: datetime | None
    """Since when nothing went well; null when the last attempt did."""
    last_success_at: datetime | None
    """Null before the first."""
    last_failure_at: datetime | None
    """Null before the first."""
    last_error: str | None
    """Why the last attempt that failed did; null before the first."""
    waiting: int
    """Deliveries that wait for their attempt, or for the next one."""


class TlsAnswer(TypedDict):
    """Which certificates an endpoint's connections use; the key is never shown."""

    has_client_certificate: bool
    """Whether it sees who we are."""
    subject: str | None
    """Of our certificate; null without one."""
    not_after: str | None
    """When our certificate ends; null without one."""
    has_ca: bool
    """Whether it has authorities of its own."""


class Endpoint(TypedDict):
    """An endpoint; its secrets never."""

    id: str
    organization_id: str
    url: str
    description: str | None
    event_types: list[str]
    """Which messages it gets: names, ``invoice.*`` for all below a name, ``*`` for all.
    """
    filter: Any
    """Which payloads it gets; null is all."""
    headers: Any
    """Sent along with every request."""
    format: str
    """``payload``, ``envelope`` or ``cloudevents``."""
    enabled: bool
    """False: it gets nothing, and what is for it waits."""
    disabled_reason: str | None
    """Why it is not enabled; null while it is."""
    disabled_at: datetime | None
    """Since when it is not enabled; null while it is."""
    timeout_seconds: float
    """How long one attempt may take, in total."""
    retry: Any
    """How long to wait before each retry; null is the usual schedule."""
    max_retries: int
    """How often a delivery may be tried again."""
    rate_limit_per_second: float | None
    """How many attempts begin per second, at most; null is no limit."""
    max_concurrency: int
    """How many attempts are under way at once, at most."""
    ordered: bool
    """Whether one delivery waits for the one before it."""
    signature_scheme: str
    """``v1`` (HMAC-SHA256) or ``v1a`` (ed25519)."""
    public_key: str | None
    """What signatures are checked with, ``whpk_…``; null with ``v1``."""
    auth: Any
    """Its kind, and what of it is no secret; null when there is none."""
    tls: TlsAnswer | None
    """Null when it has no certificates of its own."""
    send_traceparent: bool
    """Whether it is told the trace of attempts that are traced."""
    metadata: Any
    """As it was given."""
    stats: EndpointStats
    """How it does."""
    created_at: datetime
    updated_at: datetime
    """When it was last changed."""


class NewEndpoint(Endpoint):
    """A new endpoint, with its secret, this once."""

    secret: NotRequired[str]
    """What signs, ``whsec_…``, shown this once; absent with ``v1a``."""


def endpoint(row: Row) -> Endpoint:
    """Return an endpoint of `endpoints.read_endpoint`."""
    tls = row["tls_shown"]
    return {
        "id": str(row["id"]),
        "organization_id": str(row["organization_id"]),
        "url": row["url"],
        "description": row["description"],
        "event_types": row["event_types"],
        "filter": as_stored(row["filter"]),
        "headers": as_stored(row["headers"]),
        "format": row["format"],
        "enabled": row["enabled"],
        "disabled_reason": row["disabled_reason"],
        "disabled_at": row["disabled_at"],
        "timeout_seconds": row["timeout_seconds"],
        "retry": as_stored(row["retry"]),
        "max_retries": row["max_retries"],
        "rate_limit_per_second": row["rate_limit_per_second"],
        "max_concurrency": row["max_concurrency"],
        "ordered": row["ordered"],
        "signature_scheme": row["signature_scheme"],
        "public_key": row["public_key"],
        "auth": as_stored(row["auth_shown"]),
        "tls": None if tls is None else orjson.loads(tls),
        "send_traceparent": row["send_traceparent"],
        "metadata": as_stored(row["metadata"]),
        "stats": _stats(row, datetime.now(UTC)),
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
    }


def _stats(row: Row, now: datetime) -> EndpointStats:
    succeeded, failed = row["succeeded"], row["failed"]
    attempts = succeeded + failed
    open_until, throttled_until = row["open_until"], row["throttled_until"]
    breaker: Literal["closed", "open", "half_open"] = "closed"
    if open_until is not None:
        breaker = "open" if open_until > now else "half_open"
    return {
        "succeeded_24h": succeeded,
        "failed_24h": failed,
        "success_ratio_24h": round(succeeded / attempts, 4) if attempts else None,
        "average_duration_ms_24h": (
            round((row["duration_ms"] or 0.0) / attempts, 3) if attempts else None
        ),
        "breaker": breaker,
        "open_until": open_until,
        "throttled_until": (
            throttled_until if throttled_until and throttled_until > now else None
        ),
        "consecutive_failures": row["consecutive_failures"] or 0,
        "failing_since": row["failing_since"],
        "last_success_at": row["last_success_at"],
        "last_failure_at": row["last_failure_at"],
        "last_error": row["last_error"],
        "waiting": row["waiting"],
    }


class PreviousSecret(TypedDict):
    """A secret that signs on for a while; not the secret itself."""

    signature_scheme: str
    """``v1`` or ``v1a``."""
    public_key: str | None
    """What its signatures are checked with, ``whpk_…``; null with ``v1``."""
    created_at: datetime
    expires_at: datetime
    """Until when it signs along."""


class RotatedSecret(TypedDict):
    """A new secret, or public key, shown this once; and what else signs for a while."""

    secret: NotRequired[str]
    """What signs, ``whsec_…``; absent with ``v1a``."""
    public_key: str | None
    """What signatures are checked with, ``whpk_…``; null with ``v1``."""
    signature_scheme: str
    """``v1`` (HMAC-SHA256) or ``v1a`` (ed25519)."""
    created_at: datetime
    previous: list[PreviousSecret]
    """What signs along, the longest first."""


def rotated(signing: list[Row], shown: dict[str, str]) -> RotatedSecret:
    """Return what signs now, of `endpoint_secrets.list_secrets`; *shown* this once."""
    current, *previous = signing
    answer: RotatedSecret = {
        "public_key": current["public_key"],
        "signature_scheme": current["scheme"],
        "created_at": current["created_at"],
        "previous": [
            {
                "signature_scheme": one["scheme"],
                "public_key": one["public_key"],
                "created_at": one["created_at"],
                "expires_at": one["expires_at"],
            }
            for one in previous
        ],
    }
    if "secret" in shown:
        answer["secret"] = shown["secret"]
    return answer


class EndpointTest(TypedDict):
    """How a test went."""

    success: bool
    """Whether the endpoint took it: it answered with a 2xx."""
    status_code: int | None
    """What it answered; null when it did not."""
    response_time_ms: float
    """From the beginning of the attempt to its end."""
    error: str | None
    """Why it did not go well; null when it did."""
    response_body: str | None
    """The first 16 KiB of its answer; null when there is none."""


def tested(verdict: Verdict) -> EndpointTest:
    """Return how a test went; bytes of an answer that are no text become U+FFFD."""
    success = verdict.status is not None and 200 <= verdict.status < 300  # noqa: PLR2004
    error = verdict.error
    if not success and error is None:
        error = (
            "was not sent: delivery has no place for it, or cannot open the secrets"
            if not verdict.sent
            else f"HTTP {verdict.status}"
        )
    return {
        "success": success,
        "status_code": verdict.status,
        "response_time_ms": round(verdict.duration_ms, 3),
        "error": error,
        "response_body": (
            verdict.body.decode("utf-8", "replace") if verdict.body else None
        ),
    }


class EndpointAttempt(AttemptAnswer):
    """One attempt to deliver to an endpoint."""

    message_id: str | None
    """The message that it delivers; null when it is a job that names the endpoint."""
    webhook_id: str
    """The ``webhook-id`` it was sent under."""
    event_type: str | None
    """The message's type, or the job's; null when it has none."""


def attempt(row: Row) -> EndpointAttempt:
    """Return one attempt of `attempts.list_of_endpoint`."""
    return {
        **attempt_of_job(row["job_id"], row),
        "message_id": row["message_id"] and str(row["message_id"]),
        "webhook_id": row["webhook_id"] or str(row["job_id"]),
        "event_type": row["job_type"],
    }
