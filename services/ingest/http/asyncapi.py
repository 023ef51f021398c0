"""``/asyncapi.json``: what outside programs hear and say over NATS, as AsyncAPI 3.0.

Made of the words on the bus (`libs.common.messages`) and of the shapes that requests
are checked with, which are those of ``/openapi.json``.
"""

from collections.abc import Iterable
from typing import Any, Final

import msgspec
from aiohttp import web

from libs.common import outgoing
from libs.common.lifecycle import Transition
from libs.common.messages import EVENTS, JobChanged, ResourceChanged, Word
from libs.common.subjects import CONSUMERS, INGEST
from libs.common.version import VERSION
from services.ingest.hatch import KEY_HEADER, STATUS_HEADER
from services.ingest.http.event_words import AFTER, FIELDS, HEADERS, TEXT
from services.ingest.http.openapi import Json
from services.ingest.http.routing import Route
from services.ingest.idempotency import HEADER as IDEMPOTENCY_HEADER
from services.ingest.requests.consumers import WantedConsumer

#: The document, spelled.
DOCUMENT: Final = web.AppKey("asyncapi", bytes)

_SCHEMAS: Final = "#/components/schemas/"
_SPELLED: Final = (
    "Letters, digits, - and _ stand as they are; every other byte is %XX, in capitals."
)
_ABOUT: Final = (
    "Everything that happens, on a JetStream stream that durable consumers read; and "
    "jobs handed in by request and reply. Events are told at least once, those of one "
    "job in order, also when a process dies between the commit and the telling. See "
    "docs/events.md."
)
_GIVEN: Final[Json] = {
    "type": "object",
    "properties": {
        "stream": {"const": EVENTS.name, "description": "Whose consumer it is."},
        "consumer": {"type": "string", "description": "Its name."},
        "filter_subject": {"type": "string", "description": "Which events it has."},
    },
    "required": ["stream", "consumer", "filter_subject"],
}


def document(openapi: Json) -> Json:
    """Return the document; *openapi* has the schemas of requests and answers."""
    schemas = {
        "JobChanged": _schema(
            JobChanged, [f"job.{transition}" for transition in Transition]
        ),
        "ResourceChanged": _schema(
            ResourceChanged,
            [event for event in outgoing.EVENTS if not event.startswith("job.")],
        ),
        "WantedConsumer": WantedConsumer.model_json_schema(),
        "GivenConsumer": _GIVEN,
        **_of_requests(openapi),
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Bellhop",
            "version": VERSION,
            "description": _ABOUT,
            "license": {
                "name": "Apache-2.0",
                "url": "https://www.apache.org/licenses/LICENSE-2.0",
            },
        },
        "defaultContentType": "application/json",
        "servers": {
            "nats": {
                "host": "nats.example.com:4222",
                "protocol": "nats",
                "description": "Yours: see NATS_URL.",
                "security": [{"$ref": "#/components/securitySchemes/user"}],
            }
        },
        "channels": _channels(),
        "operations": _operations(),
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "messages": _messages(),
            "securitySchemes": {
                "user": {
                    "type": "userPassword",
                    "description": "A user of one organization's account.",
                }
            },
        },
    }


def routes() -> list[Route]:
    """Return the route of the document."""
    return [
        Route(
            method="GET",
            path="/asyncapi.json",
            handler=show,
            answers={200: dict[str, Any]},
            access="anybody",
        )
    ]


async def show(request: web.Request) -> web.Response:
    """Return what programs hear and say over NATS, as AsyncAPI 3.0."""
    return web.Response(body=request.app[DOCUMENT], content_type="application/json")


def _schema(word: type[Word], types: list[str]) -> Json:
    """Return the schema of an event, from the fields that it really has."""
    fields = msgspec.structs.fields(word)
    properties = {}
    for field in fields:
        more, words = FIELDS[field.name]
        kind = {} if field.type is msgspec.Raw else msgspec.json.schema(field.type)
        properties[field.name] = {**kind, **more, "description": words}
    properties["type"] = {**properties["type"], "enum": types}
    return {
        "type": "object",
        "description": "A later version may say more: pass over what you do not know.",
        "properties": properties,
        "required": [field.name for field in fields],
    }


def _of_requests(openapi: Json) -> Json:
    """Return the schemas of what is handed in and answered, with those they name."""
    every = openapi["components"]["schemas"]
    found: Json = {}
    wanted = ["CreateJob", "Made", "Refusal"]
    while wanted:
        name = wanted.pop()
        if name not in found:
            found[name] = every[name]
            wanted.extend(_named(every[name]))
    # The subject names the queue.
    create = dict(found["CreateJob"])
    create["required"] = [one for one in create["required"] if one != "queue_name"]
    return {**found, "CreateJob": create}


def _named(part: Any) -> set[str]:
    """Return the schemas that a schema refers to."""
    if isinstance(part, list):
        return set().union(*map(_named, part))
    if not isinstance(part, dict):
        return set()
    found = set().union(*map(_named, part.values()))
    reference = part.get("$ref")
    if isinstance(reference, str):
        found.add(reference.removeprefix(_SCHEMAS))
    return found


def _channels() -> Json:
    organization = {"description": "The organization's id."}
    queue = {"description": f"The queue's name. {_SPELLED}"}
    return {
        "jobs": {
            "address": f"{JobChanged.subject}.{{organization_id}}.{{queue}}.{{job_id}}"
            ".{transition}",
            "description": f"Transitions of jobs, in the stream {EVENTS.name}.",
            "parameters": {
                "organization_id": organization,
                "queue": queue,
                "job_id": {"description": "The job's id."},
                "transition": {"enum": [str(one) for one in Transition]},
            },
            "messages": _refs("JobChanged"),
        },
        "resources": {
            "address": f"{ResourceChanged.subject}.{{organization_id}}.@{{resource}}"
            ".{resource_id}.{what}",
            "description": "What happens to everything else, in the same stream.",
            "parameters": {
                "organization_id": organization,
                "resource": {"enum": FIELDS["resource"][0]["enum"]},
                "resource_id": {"description": f"Its id, or name. {_SPELLED}"},
                "what": {"description": "The rest of the event's type."},
            },
            "messages": _refs("ResourceChanged"),
        },
        "jobsIn": {
            "address": f"{INGEST}.{{organization_id}}.{{queue}}",
            "description": "Jobs, handed in one by one: request and reply.",
            "parameters": {
                "organization_id": organization,
                "queue": {
                    "description": f"{queue['description']} Its dots may stand, too."
                },
            },
            "messages": _refs("JobWanted"),
        },
        "answers": {
            "address": None,
            "description": "Where who asks listens: the reply subject of the request.",
            "messages": _refs("JobMade", "JobRefused"),
        },
        **_channels_of_consumers(organization),
    }


def _channels_of_consumers(organization: Json) -> Json:
    return {
        "consumers": {
            "address": f"{CONSUMERS}.{{organization_id}}.{{consumer}}",
            "description": f"Durable consumers of {EVENTS.name}, to be pulled from: "
            "asked for by request and reply, whenever a program begins.",
            "parameters": {
                "organization_id": organization,
                "consumer": {
                    "description": "Its name: the organization's id, or that and "
                    "-<name>."
                },
            },
            "messages": _refs("ConsumerWanted"),
        },
        "consumerAnswers": {
            "address": None,
            "description": "Where who asks listens: the reply subject of the request.",
            "messages": _refs("ConsumerGiven", "JobRefused"),
        },
    }


def _operations() -> Json:
    def channel(name: str) -> Json:
        return {"$ref": f"#/channels/{name}"}

    return {
        "tellOfJobs": {"action": "send", "channel": channel("jobs")},
        "tellOfResources": {"action": "send", "channel": channel("resources")},
        "takeJobIn": {
            "action": "receive",
            "channel": channel("jobsIn"),
            "description": "Answered when the job is committed. Without a reply "
            "subject it is committed, too, and nobody is told. Say it again, with a "
            "key, when no answer came.",
            "reply": {"channel": channel("answers")},
        },
        "giveConsumer": {
            "action": "receive",
            "channel": channel("consumers"),
            "description": "Answered when it is there. One that was there keeps its "
            "place, and gets the filter.",
            "reply": {"channel": channel("consumerAnswers")},
        },
    }


def _refs(*names: str) -> Json:
    return {name: {"$ref": f"#/components/messages/{name}"} for name in names}


def _messages() -> Json:
    cloud_event = _headers(HEADERS, required=HEADERS.keys() - {AFTER})
    status = _headers({STATUS_HEADER: (TEXT, "How it went, as HTTP says it.")})
    return {
        "JobChanged": {
            "title": "A transition of a job",
            "headers": cloud_event,
            "payload": {"$ref": f"{_SCHEMAS}JobChanged"},
        },
        "ResourceChanged": {
            "title": "Something happened to what is no job",
            "headers": cloud_event,
            "payload": {"$ref": f"{_SCHEMAS}ResourceChanged"},
        },
        "JobWanted": {
            "title": "A job to take in, as the body of POST /api/v1/jobs",
            "headers": _headers(
                {
                    KEY_HEADER: (TEXT, "An API key; or else Authorization."),
                    "Authorization": (TEXT, "Bearer and an API key or access token."),
                    IDEMPOTENCY_HEADER: (TEXT, "The job's idempotency key."),
                }
            ),
            "payload": {"$ref": f"{_SCHEMAS}CreateJob"},
        },
        "JobMade": {
            "title": "It is committed: 201, or 200 when its key was known",
            "headers": status,
            "payload": {"$ref": f"{_SCHEMAS}Made"},
        },
        "ConsumerWanted": {
            "title": "A consumer; without a body, of all events of the organization",
            "payload": {"$ref": f"{_SCHEMAS}WantedConsumer"},
        },
        "ConsumerGiven": {
            "title": "It is there: 200",
            "headers": status,
            "payload": {"$ref": f"{_SCHEMAS}GivenConsumer"},
        },
        "JobRefused": {
            "title": "It is not: a status from 400 on",
            "headers": status,
            "payload": {"$ref": f"{_SCHEMAS}Refusal"},
        },
    }


def _headers(
    named: dict[str, tuple[Json, str]], *, required: Iterable[str] = ()
) -> Json:
    return {
        "type": "object",
        "properties": {
            name: {**schema, "description": words}
            for name, (schema, words) in named.items()
        },
        "required": sorted(required),
    }
