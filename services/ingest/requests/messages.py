"""What may be asked of messages: the shapes, and their limits."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from services.ingest.requests.endpoints import EventType
from services.ingest.requests.fields import IdempotencyKey, LineKey


class SendMessage(BaseModel):
    """A message to every endpoint that asks for it."""

    model_config = ConfigDict(extra="forbid")

    event_type: EventType
    """What it is about: words of letters, digits and ``_`` joined by ``.`` or ``-``."""
    payload: Any
    """What there is to say, any JSON, at most 1 MiB; it arrives byte for byte."""
    idempotency_key: IdempotencyKey | None = None
    """What only one message of the organization has: a repeat is answered with that
    message, and sends nothing.
    """
    ordering_key: LineKey | None = None
    """Messages with the same key arrive at an endpoint one after the other, in their
    order; a delivery that fails holds up those behind it until it ends.
    """


class MessagesPage(BaseModel):
    """Which messages; an endpoint that there is not has none."""

    event_type: str | None = Field(
        default=None, max_length=256, description="Of this type."
    )
    endpoint_id: UUID | None = Field(
        default=None, description="That went to this endpoint."
    )
    created_after: datetime | None = Field(default=None, description="Inclusive.")
    created_before: datetime | None = Field(default=None, description="Exclusive.")
    limit: int = Field(default=50, description="At most so many, 1 to 100.")
    offset: int = Field(default=0, description="Leave out so many from the front.")
