"""Outgoing webhooks: which events there are, and what is sent of them (contract 5.7).

Their deliveries are jobs like any other, in a queue of their own.  So are completion
webhooks, which tell the end of one job to a URL of its own (pure).
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Literal

import msgspec

#: Where the deliveries stand.  The schema knows it too: `lanes.telling`.
QUEUE: Final = "outgoing-webhooks"
#: Lanes of completion webhooks lead to this and the origin of their URL.
COMPLETION: Final = "completion:"

#: What a webhook that is put in gets: attempts, delays between them, seconds for one,
#: and how many at once.
MAX_RETRIES: Final = 4
RETRY: Final = '{"strategy": "schedule", "schedule_seconds": [1, 2, 4, 8]}'
TIMEOUT_SECONDS: Final = 10.0
MAX_CONCURRENCY: Final = 10
#: So many deliveries given up one after the other, and it is disabled.
FAILURES_MAX: Final = 20
#: So many attempts of one delivery, those by hand among them.
ATTEMPTS_MAX: Final = 10

Format = Literal["json", "slack", "discord", "teams"]

#: Every event there is; the contract's first, then those that only we have.
EVENTS: Final = (
    "job.created",
    "job.started",
    "job.completed",
    "job.failed",
    "job.cancelled",
    "queue.paused",
    "queue.resumed",
    "worker.registered",
    "worker.deregistered",
    "schedule.triggered",
    "job.deadlettered",
    "job.retried",
    "workflow.completed",
    "workflow.failed",
    "workflow.started",
    "workflow.cancelled",
    "job.expired",
    "worker.offline",
    "worker.status_changed",
    "schedule.skipped",
    "schedule.paused",
    "schedule.resumed",
    "workflow.retried",
    "endpoint.enabled",
    "endpoint.disabled",
    "endpoint.breaker_opened",
    "endpoint.breaker_closed",
)
#: Whoever asks for this is told of every event.
EVERYTHING: Final = "*"

#: Header that names the event; the others depend on the attempt.
EVENT_HEADER: Final = "X-Spooled-Event"
TEST_EVENT: Final = "webhook.test"

_TEST_WORDS: Final = "This is a test of an outgoing webhook"
#: How much of one value a chat is told, and of everything (Discord takes 2000).
_VALUE_CHARS_MAX: Final = 300
_TEXT_CHARS_MAX: Final = 1900

_ENCODER: Final = msgspec.json.Encoder()

#: Values are JSON; what is spelled already is `msgspec.Raw`.
Data = Mapping[str, Any]


def headers_of(event: str) -> dict[str, str]:
    """Return the headers that a delivery of *event* brings along."""
    return {EVENT_HEADER: event}


def body_of(
    format_: str, *, id_: str, event: str, created_at: datetime, data: Data
) -> str:
    """Return what a webhook is sent of an event, as JSON text.

    *format_* ``json`` is the contract's envelope, the others are messages for chats.
    """
    if format_ != "json":
        return _chat(format_, event, data)
    return _spelled(
        {
            "id": id_,
            "event": event,
            "created_at": created_at.isoformat(),
            "data": data,
        }
    )


def test_body_of(
    format_: str, *, webhook_id: str, organization_id: str, now: datetime
) -> str:
    """Return what a webhook is sent to test it, as JSON text."""
    if format_ != "json":
        told = {"webhook_id": webhook_id, "message": _TEST_WORDS}
        return _chat(format_, TEST_EVENT, told)
    return _spelled(
        {
            "event": TEST_EVENT,
            "webhook_id": webhook_id,
            "organization_id": organization_id,
            "timestamp": now.isoformat(),
            "test": True,
            "message": _TEST_WORDS,
        }
    )


def _chat(format_: str, event: str, data: Data) -> str:
    told = {name: _shown(value) for name, value in data.items() if value is not None}
    match format_:
        case "slack":
            lines = [f"*{event}*", *(f"{name}: {_slack(told[name])}" for name in told)]
            return _spelled({"text": _cut("\n".join(lines), _TEXT_CHARS_MAX)})
        case "discord":
            lines = [f"**{event}**", *(f"{name}: {told[name]}" for name in told)]
            return _spelled(
                {
                    "content": _cut("\n".join(lines), _TEXT_CHARS_MAX),
                    # Nobody is called by what a job says.
                    "allowed_mentions": {"parse": []},
                }
            )
        case "teams":
            return _spelled(_teams(event, told))
        case _:
            raise ValueError(f"no format {format_}")


def _teams(event: str, told: Mapping[str, str]) -> dict[str, Any]:
    title = {"type": "TextBlock", "text": event, "weight": "Bolder", "wrap": True}
    facts = [{"title": name, "value": value} for name, value in told.items()]
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": [title, {"type": "FactSet", "facts": facts}],
    }
    return {
        "type": "message",
        "attachments": [
            {
                "contentType": "application/vnd.microsoft.card.adaptive",
                "content": card,
            }
        ],
    }


def _shown(value: Any) -> str:
    """Return a value as people read it."""
    return _cut(value if isinstance(value, str) else _spelled(value), _VALUE_CHARS_MAX)


def _slack(text: str) -> str:
    # What Slack gives a meaning: links and mentions stand in angle brackets.
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _cut(text: str, chars_max: int) -> str:
    return text if len(text) <= chars_max else f"{text[: chars_max - 1]}…"


def _spelled(value: Any) -> str:
    return _ENCODER.encode(value).decode()
