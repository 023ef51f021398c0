"""What is said of each field and header of an event, and what it holds (data)."""

from typing import Any, Final

Schema = dict[str, Any]

TEXT: Final = {"type": "string"}
_TIME: Final = {"type": "string", "format": "date-time"}
_POSITION: Final = {"type": "string", "pattern": "^[0-9]+-[0-9]+$"}
_OBJECT: Final = {"type": ["object", "null"]}
#: What a field holds beyond its type, and what it is.
FIELDS: Final[dict[str, tuple[Schema, str]]] = {
    "id": (TEXT, "Who has seen it may forget a second one: the message id, too."),
    "position": (
        _POSITION,
        "Where it stands among all events: who is told one was told all before it.",
    ),
    "after": (
        _POSITION,
        "The position of the event before it, of whichever organization.",
    ),
    "type": (TEXT, "What happened."),
    "time": (_TIME, "When it was committed."),
    "organization_id": ({"type": "string", "format": "uuid"}, "Whose it is."),
    "queue_name": ({}, "The queue that it is about."),
    "job_id": ({"type": "string", "format": "uuid"}, "The job."),
    "job_type": ({}, "The job_type of the job's payload, if it has one."),
    "tags": ({}, "The job's tags as they were given; null when above 4 KiB."),
    "attempt": ({"minimum": 0}, "How many attempts have begun."),
    "priority": ({}, "The job's priority."),
    "actor": ({}, "Who did it: a worker, a process of ours, a key."),
    "details": (
        _OBJECT,
        "What there is to tell: error, duration_ms, run_at, retry_count, place, …",
    ),
    "resource": (
        {"enum": ["worker", "queue", "schedule", "workflow", "endpoint"]},
        "What kind of thing it is about.",
    ),
    "resource_id": ({}, "Its id; of a queue its name."),
    "data": (_OBJECT, "What an outgoing webhook is told of it."),
}
#: The first event of several that are told at once has none.
AFTER: Final = "Nats-Expected-Last-Msg-Id"
HEADERS: Final[dict[str, tuple[Schema, str]]] = {
    "Nats-Msg-Id": (TEXT, "The event's id."),
    AFTER: (TEXT, "For the server; of no use to you."),
    "Content-Type": ({"const": "application/json"}, "Of the body."),
    "ce-specversion": ({"const": "1.0"}, "The version of CloudEvents."),
    "ce-id": (TEXT, "The event's id."),
    "ce-source": (
        {"type": "string", "pattern": "^/bellhop/organizations/"},
        "The organization; with the id unique among all there are.",
    ),
    "ce-type": (TEXT, "The event's type."),
    "ce-time": (_TIME, "The event's time."),
    "ce-subject": (TEXT, "The job, or the resource, percent-encoded."),
    "ce-datacontenttype": ({"const": "application/json"}, "Of the body."),
}
