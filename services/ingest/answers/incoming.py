"""What senders of webhooks are told, and their recipients (contract 1.11)."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

from libs.common.db import Row
from services.ingest.incoming.reception import Taken


class CustomTaken(TypedDict):
    """The webhook is a job, or was one already: that is committed."""

    job_id: str
    queue_name: str
    """The queue of the job; of a duplicate, of the job that it repeats."""
    status: Literal["created", "duplicate"]
    """Whether it is a new job, or that of an earlier webhook."""


class WebhookTaken(TypedDict):
    """The webhook is a job or a message, or was one already: that is committed."""

    job_id: str | None
    """The job; null when it became a message."""
    message_id: str | None
    """The message; null when it became a job."""
    queue_name: str | None
    """The queue of the job; null when it became a message."""
    status: Literal["created", "duplicate"]
    """Whether it is new, or what an earlier webhook became."""


class Echo(TypedDict):
    """The answer to the question whether we are there."""

    challenge: str
    """What was asked to be said back."""


#: What cannot be a name in a class.
_Kind = TypedDict(
    "_Kind",
    {
        "as": Annotated[
            Literal["job", "message"], Field(description="What becomes of a webhook.")
        ]
    },
)


class IncomingSource(_Kind):
    """A provider whose webhooks are taken; its secret is never shown."""

    provider: str
    enabled: bool
    """Whether anything is taken."""
    queue_name: str | None
    """Into which queue; null is one for each kind of event, such as ``github-push``."""
    webhook_url: str
    """What to tell the provider."""
    previous_secret_expires_at: datetime | None
    """Until when the secret before is good as well; null when it is not."""
    created_at: datetime
    updated_at: datetime


class IncomingDelivery(TypedDict):
    """A webhook that came in, without what was in it."""

    id: str
    provider: str
    """Who sent it; ``custom`` showed the organization's token."""
    event_type: str
    """What happened, in the sender's words; ``custom`` when it did not say."""
    delivery_id: str | None
    """What its sender calls it and its repeats; null when it has no name."""
    matched_queue: str | None
    """The queue of the job; null when it became a message."""
    job_id: str | None
    """The job; null when it became a message."""
    message_id: str | None
    """The message; null when it became a job."""
    status: Literal["created", "duplicate"]
    """Whether it was new, or what an earlier webhook became."""
    created_at: datetime
    """When it came."""


def custom_taken(taken: Taken) -> CustomTaken:
    """Return what became of a webhook with a token."""
    return {
        "job_id": str(taken.job_id),
        "queue_name": taken.queue_name or "",
        "status": taken.status,
    }


def webhook_taken(taken: Taken) -> WebhookTaken:
    """Return what became of a webhook of a provider."""
    return {
        "job_id": _text(taken.job_id),
        "message_id": _text(taken.message_id),
        "queue_name": taken.queue_name,
        "status": taken.status,
    }


def incoming_source(row: Row, *, base_url: str, now: datetime) -> IncomingSource:
    """Return a source without its secrets."""
    until = row["previous_until"]
    place = f"/api/v1/webhooks/{row['organization_id']}/{row['provider']}"
    return {
        "provider": row["provider"],
        "enabled": row["enabled"],
        "queue_name": row["queue_name"],
        "as": "message" if row["as_message"] else "job",
        "webhook_url": base_url.rstrip("/") + place,
        "previous_secret_expires_at": until if until and until > now else None,
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
    }


def incoming_delivery(row: Row) -> IncomingDelivery:
    """Return a line of the log."""
    return {
        "id": str(row["id"]),
        "provider": row["provider"],
        "event_type": row["event_type"],
        "delivery_id": row["delivery_id"],
        "matched_queue": row["matched_queue"],
        "job_id": _text(row["job_id"]),
        "message_id": _text(row["message_id"]),
        "status": row["status"],
        "created_at": row["created_at"],
    }


def _text(id_: object) -> str | None:
    return None if id_ is None else str(id_)
