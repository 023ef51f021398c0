"""What may be asked of outgoing webhooks (contract 1.10)."""

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from libs.common.outgoing import EVENTS, EVERYTHING, Format
from services.ingest.requests.fields import (
    Page,
    PlainText,
    WebhookSecret,
    WebhookUrl,
)

_KNOWN: Final = (*EVENTS, EVERYTHING)


def _event(name: str) -> str:
    if name not in _KNOWN:
        raise PydanticCustomError(
            "unknown_event",
            "{event} is no event; events are {known}",
            {"event": repr(name[:64]), "known": ", ".join(_KNOWN)},
        )
    return name


def _once(events: list[str]) -> list[str]:
    return list(dict.fromkeys(events))


Event = Annotated[
    str,
    AfterValidator(_event),
    WithJsonSchema({"type": "string", "enum": list(_KNOWN)}),
]
Events = Annotated[
    list[Event], Field(min_length=1, max_length=100), AfterValidator(_once)
]
WebhookName = Annotated[PlainText, Field(min_length=1, max_length=255)]


class CreateWebhook(BaseModel):
    """A new outgoing webhook (contract 1.10)."""

    name: WebhookName
    """What people call it."""
    url: WebhookUrl
    """Where events are sent: https, to a public address in production."""
    events: Events
    """The events to be told of; ``*`` is all of them."""
    secret: WebhookSecret | None = None
    """What signs each delivery; without one they are not signed. Never shown again."""
    enabled: bool = True
    """False: nothing is sent until it is true."""
    format: Format | None = None
    """What is sent: ``json`` (when absent) is the signed envelope, the others are
    messages as the incoming webhooks of these chats take them.
    """


class ChangeWebhook(BaseModel):
    """What to change of an outgoing webhook; absent or null keeps what is there.

    Except ``secret``: null takes it away, and nothing is signed any more.
    """

    name: WebhookName | None = None
    """What people call it."""
    url: WebhookUrl | None = None
    """Where events are sent."""
    events: Events | None = None
    """The events to be told of; ``*`` is all of them."""
    secret: WebhookSecret | None = None
    """Signs from now on; null takes it away, absent keeps it."""
    enabled: bool | None = None
    """True also forgives the failures for which it was disabled."""
    format: Format | None = None
    """What is sent: ``json``, ``slack``, ``discord`` or ``teams``."""


class DeliveryPage(Page):
    """Which part of what a webhook was sent, newest first."""

    status: Literal["pending", "success", "failed"] | None = Field(
        default=None, description="Only deliveries that stand so."
    )
