"""Outgoing webhooks and what they were sent (contract 1.10)."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from typing_extensions import TypedDict

from libs.common.db import Row
from libs.common.messages import Verdict
from services.ingest.answers.fields import as_stored


class Webhook(TypedDict):
    """An outgoing webhook; its secret never."""

    id: str
    organization_id: str
    name: str
    url: str
    events: list[str]
    """The events it is told of; ``*`` is all of them."""
    format: str
    """``json``, ``slack``, ``discord`` or ``teams``."""
    enabled: bool
    """False: nothing is sent; so it is after 20 deliveries that failed in a row."""
    failure_count: int
    """Deliveries that failed, attempts and all, since one arrived."""
    last_triggered_at: datetime | None
    """When an attempt ended last; null when none was made."""
    last_status: str | None
    """How that went: ``success``, ``failed``, or ``auto_disabled`` when it was the one
    too many; null when none was made.
    """
    created_at: datetime
    updated_at: datetime


class Tested(TypedDict):
    """How a test went."""

    success: bool
    """Whether the receiver answered with 2xx."""
    status_code: int | None
    """What it answered; null when it did not."""
    response_time_ms: int
    error: str | None
    """Why it did not succeed; null when it did."""


class WebhookDelivery(TypedDict):
    """One delivery of an event to a webhook."""

    id: str
    """As in the body that was sent; also the id of the job that delivers it."""
    webhook_id: str
    event: str
    payload: Any
    """The body that is sent."""
    status: Literal["pending", "success", "failed"]
    status_code: int | None
    """What the receiver answered last; null when it did not."""
    response_body: str | None
    """The first 16 KiB of that answer."""
    error: str | None
    """Why the latest attempt failed; null when it did not."""
    attempts: int
    """Attempts begun so far."""
    created_at: datetime
    delivered_at: datetime | None
    """When it arrived; null when it did not."""


class Retried(TypedDict):
    """A delivery that is tried again."""

    success: bool
    message: str


def webhook(row: Row) -> Webhook:
    """Return an outgoing webhook."""
    return {
        "id": str(row["id"]),
        "organization_id": str(row["organization_id"]),
        "name": row["name"],
        "url": row["url"],
        "events": row["event_types"],
        "format": row["format"],
        "enabled": row["enabled"],
        "failure_count": row["failure_count"] or 0,
        "last_triggered_at": row["last_triggered_at"],
        "last_status": row["last_status"],
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
    }


def delivery(webhook_id: UUID, row: Row) -> WebhookDelivery:
    """Return one delivery; bytes of an answer that are no text become U+FFFD."""
    body, arrived = row["response_body"], row["status"] == "success"
    return {
        "id": str(row["id"]),
        "webhook_id": str(webhook_id),
        "event": row["event"],
        "payload": as_stored(row["payload"]),
        "status": row["status"],
        "status_code": row["status_code"],
        "response_body": None if body is None else body.decode("utf-8", "replace"),
        "error": None if arrived else row["error"] or row["last_error"],
        "attempts": row["attempts"],
        "created_at": row["created_at"],
        "delivered_at": row["settled_at"] if arrived else None,
    }


def tested(verdict: Verdict) -> Tested:
    """Return how a test went."""
    status, error = verdict.status, verdict.error
    success = error is None and status is not None and 200 <= status < 300  # noqa: PLR2004
    if error is None and not success:
        error = "nothing was sent" if status is None else f"HTTP {status}"
    return {
        "success": success,
        "status_code": status,
        "response_time_ms": round(verdict.duration_ms),
        "error": error,
    }
