"""Messages, and what became of their deliveries."""

from datetime import datetime
from typing import Any

from typing_extensions import TypedDict

from libs.common.db import Row
from services.ingest.answers.fields import as_stored


class SentMessage(TypedDict):
    """A message that was created, or the one that had its idempotency key already."""

    id: str
    """Also the ``webhook-id`` under which every endpoint gets it."""
    created: bool
    """False: its idempotency key was known, and this is the message that has it."""
    deliveries: int
    """To how many endpoints it goes."""


class MessageSummary(TypedDict):
    """A message, in short."""

    id: str
    event_type: str
    ordering_key: str | None
    """Null when it was sent without one."""
    idempotency_key: str | None
    """Null when it was sent without one."""
    created_at: datetime
    delivery_count: int
    """To how many endpoints it goes."""


class MessageDelivery(TypedDict):
    """One delivery of a message: a job, with what became of it so far."""

    job_id: str
    endpoint_id: str
    url: str | None
    """Where the endpoint is now; null when it is no more."""
    status: str
    """The job's: ``pending``, ``processing``, ``completed``, ``deadletter``,
    ``cancelled`` or ``expired``.
    """
    attempts: int
    """How many attempts there were."""
    last_status_code: int | None
    """What the endpoint answered last; null when it did not."""
    last_error: str | None
    """Why the last attempt failed; null when it did not."""
    next_attempt_at: datetime | None
    """When it is tried again; null when it waits for no time."""
    completed_at: datetime | None
    """When it ended, in whatever way; null while it is open."""


class Message(MessageSummary):
    """A message, whole, with up to a thousand of its deliveries."""

    organization_id: str
    payload: Any
    """As the producer sent it."""
    deliveries: list[MessageDelivery]
    """Job by job; one that was sent again by hand is another."""


def summary(row: Row) -> MessageSummary:
    """Return a message as the lists show it."""
    return {
        "id": str(row["id"]),
        "event_type": row["event_type"],
        "ordering_key": row["ordering_key"],
        "idempotency_key": row["idempotency_key"],
        "created_at": row["created_at"],
        "delivery_count": row["deliveries"],
    }


def message(row: Row, deliveries: list[Row]) -> Message:
    """Return a message with what became of it."""
    return {
        "id": str(row["id"]),
        "organization_id": str(row["organization_id"]),
        "event_type": row["event_type"],
        "payload": as_stored(row["payload"]),
        "ordering_key": row["ordering_key"],
        "idempotency_key": row["idempotency_key"],
        "created_at": row["created_at"],
        "delivery_count": len({one["endpoint_id"] for one in deliveries}),
        "deliveries": [_delivery(one) for one in deliveries],
    }


def _delivery(row: Row) -> MessageDelivery:
    return {
        "job_id": str(row["job_id"]),
        "endpoint_id": str(row["endpoint_id"]),
        "url": row["url"],
        "status": row["status"],
        "attempts": row["attempt"],
        "last_status_code": row["status_code"],
        "last_error": row["last_error"],
        "next_attempt_at": row["run_at"],
        "completed_at": row["settled_at"],
    }
