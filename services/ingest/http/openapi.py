"""``/openapi.json``: the API as OpenAPI 3.1, from the routes and the shapes that check.

Nothing is said twice: paths, bodies, queries, answers and refusals are those of
`services.ingest.http.routing.Route`, the words are the docstrings, and the schemas are
pydantic's of the very shapes that requests are checked with.
"""

import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final, Literal

from aiohttp import web
from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core.core_schema import ModelSchema, TypedDictSchema

from libs.common.version import VERSION
from services.ingest.answers.errors import Problem, Refusal
from services.ingest.http import ignored
from services.ingest.http.attribute_words import words_of
from services.ingest.http.routing import Access, Route
from services.ingest.incoming.providers import PROVIDERS

Json = dict[str, Any]

_REF: Final = "#/components/schemas/{model}"
#: What a route can refuse with, by who may call it.
_ALWAYS: Final = (400, 408, 429, 500, 503)
_BY_ACCESS: Final[Mapping[Access, tuple[int, ...]]] = {
    "anybody": (),
    "key": (401, 403),
    "session": (401,),
    "admin": (401,),
}
_WITH_BODY: Final = (413, 415, 422)
#: Every code there is, with its status: what it means, and what to do about it.
CODES: Final[tuple[tuple[int, str, str], ...]] = (
    (400, "VALIDATION_ERROR", "A value breaks a rule; details names the fields."),
    (400, "INVALID_JSON", "The body is no JSON."),
    (400, "BAD_REQUEST", "The request makes no sense as a whole, or not to HTTP."),
    (401, "UNAUTHORIZED", "No credential, or one that is not, or no longer, good."),
    (403, "ACCESS_DENIED", "The credential is good, but not for this."),
    (403, "FEATURE_DISABLED", "The plan, or this Bellhop, does not have this at all."),
    (404, "NOT_FOUND", "No such thing, or it is somebody else's; no such path."),
    (405, "METHOD_NOT_ALLOWED", "The path has other methods: see the Allow header."),
    (408, "REQUEST_TIMEOUT", "It took too long; the message says what is known of it."),
    (409, "CONFLICT", "The thing is not in a state for this."),
    (409, "LEASE_EXPIRED", "The job is not, or no longer, in the hands of who asks."),
    (413, "PAYLOAD_TOO_LARGE", "It is more than we, or the plan, carry."),
    (415, "UNSUPPORTED_MEDIA_TYPE", "The body is not application/json."),
    (422, "VALIDATION_ERROR", "A field is missing or of another type: see details."),
    (422, "IDEMPOTENCY_KEY_REUSED", "The key was used with another request."),
    (429, "RATE_LIMIT_EXCEEDED", "Too fast; repeat after Retry-After."),
    (429, "QUOTA_EXCEEDED", "As many as the plan allows; waiting does not help."),
    (500, "INTERNAL_ERROR", "A bug of ours; tell us the x-request-id."),
    (503, "SERVICE_UNAVAILABLE", "What we stand on is away; repeat after a moment."),
    (508, "LOOP_DETECTED", "We sent it ourselves, too often: see webhook-hops."),
)
_STATUSES: Final = tuple(dict.fromkeys(status for status, _, _ in CODES))
_SECURITY: Final[Mapping[Access, list[Json]]] = {
    "anybody": [],
    "key": [{"bearer": []}, {"apiKey": []}],
    "session": [{"bearer": []}],
    "admin": [{"admin": []}],
}
_SCHEMES: Final = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key, or an access token of /api/v1/auth.",
    },
    "apiKey": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "An API key.",
    },
    "admin": {
        "type": "apiKey",
        "in": "header",
        "name": "X-Admin-Key",
        "description": "The operator's key (BELLHOP_ADMIN_KEY).",
    },
}
_JSON: Final = "application/json"
_TEXT: Final = {"type": "string"}
_COUNT: Final = {"type": "integer", "minimum": 0}
_HEADERS: Final[Mapping[str, tuple[str, Json]]] = {
    "x-request-id": ("The request's id: the one sent, or a new one.", _TEXT),
    "X-RateLimit-Limit": ("Requests that fit into the bucket.", _COUNT),
    "X-RateLimit-Remaining": ("Requests that still fit.", _COUNT),
    "X-RateLimit-Reset": ("When the bucket is empty again, in Unix seconds.", _COUNT),
    "X-RateLimit-Scope": ("What is counted: org, key, ip or email.", _TEXT),
    "RateLimit-Policy": (
        "The bucket, as draft-ietf-httpapi-ratelimit-headers-10 has it, if any.",
        _TEXT,
    ),
    "RateLimit": ("What is left of it, and in how many seconds all is.", _TEXT),
    "Retry-After": ("Seconds to wait; not with QUOTA_EXCEEDED.", _COUNT),
    "X-Has-More": (
        "Whether there is another page.",
        {"type": "string", "enum": ["true", "false"]},
    ),
    "X-Next-Cursor": ("What to give as cursor for the next page.", _TEXT),
    "Link": ("The next page, as RFC 8288 has it.", _TEXT),
    ignored.HEADER: (
        "Fields of the body, at its top level, that we do not know and ignored.",
        _TEXT,
    ),
}
_LIMITED: Final = tuple(name for name in _HEADERS if "RateLimit" in name)
_PAGED: Final = ("X-Has-More", "X-Next-Cursor", "Link")
_PLACES: Final[Mapping[str, Json]] = {
    "incoming-webhooks": {"type": "string", "enum": list(PROVIDERS)},
    "queues": {
        "type": "string",
        "minLength": 1,
        "maxLength": 100,
        "pattern": "^[A-Za-z0-9_][A-Za-z0-9_.-]*$",
    },
    "workers": {
        "type": "string",
        "minLength": 1,
        "maxLength": 128,
        "pattern": "^[A-Za-z0-9._-]+$",
    },
}
_ID: Final = {"type": "string", "format": "uuid"}
#: What stands in a path, by what comes before it.
_IN_PATHS: Final = {
    "api-keys": "The id of the API key.",
    "endpoints": "The id of the endpoint.",
    "replays": "The id of the replay.",
    "incoming-webhooks": "The provider's name.",
    "jobs": "The id of the job.",
    "messages": "The id of the message.",
    "organizations": "The id of the organization.",
    "outgoing-webhooks": "The id of the outgoing webhook.",
    "queues": "The queue's name.",
    "retry": "The id of the delivery.",
    "schedules": "The id of the schedule.",
    "backfills": "The id of the backfill.",
    "webhooks": "The id of the organization.",
    "workers": "The worker's id.",
    "workflows": "The id of the workflow.",
}
#: Modules whose subject has another name, or a part of one.
_TAGS: Final = {
    "admin": "Administration",
    "admin_statistics": "Administration",
    "asyncapi": "Documentation",
    "auth": "Sign-in",
    "claims": "Work",
    "dependencies": "Jobs",
    "explanations": "Jobs",
    "endpoint_attempts": "Endpoints",
    "endpoint_secrets": "Endpoints",
    "endpoint_tests": "Endpoints",
    "replays": "Endpoints",
    "incoming": "Incoming webhooks",
    "incoming_deliveries": "Incoming webhooks",
    "incoming_sources": "Incoming webhooks",
    "keys": "API keys",
    "listing": "Jobs",
    "members": "Organizations",
    "openapi": "Documentation",
    "priorities": "Jobs",
    "resending": "Jobs",
    "schedule_runs": "Schedules",
    "signing_secrets": "Organizations",
    "slugs": "Organizations",
    "statistics": "Jobs",
    "streams": "Events",
    "usage": "Organizations",
    "webhook_tokens": "Organizations",
    "work": "Work",
}

#: What docstrings say to whoever works on Bellhop, and not to whoever uses it.
_CITATION: Final = re.compile(r"\s*\((?:contract|D\d|\d\.\d)[^)]*\)")

Direction = Literal["validation", "serialization"]

#: The document, spelled.
DOCUMENT: Final = web.AppKey("document", bytes)


def document(routes: list[Route]) -> Json:
    """Return the document that describes *routes*."""
    schemas = _Schemas(routes)
    paths: dict[str, Json] = {}
    names: set[str] = set()
    for route in routes:
        name = route.name
        if name in names:
            name = f"{name}_{route.method.lower()}"
        names.add(name)
        operations = paths.setdefault(route.template, {})
        operations[route.method.lower()] = {
            "operationId": name,
            **_operation(route, schemas),
        }
    whole: Json = {
        "openapi": "3.1.0",
        "info": {
            "title": "Bellhop",
            "version": VERSION,
            "summary": "Webhooks and background jobs: committed before accepted, "
            "delivered until done.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in dict.fromkeys(map(_tag, routes))],
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "responses": {str(code): _refusal(code, schemas) for code in _STATUSES},
            "headers": {
                name: {"description": words, "schema": schema}
                for name, (words, schema) in _HEADERS.items()
            },
            "securitySchemes": _SCHEMES,
        },
    }
    cleaned: Json = _without_citations(whole)
    return cleaned


def _without_citations(part: Any) -> Any:
    """Return a part of the document with nothing in it that only we can look up."""
    if isinstance(part, dict):
        return {name: _without_citations(one) for name, one in part.items()}
    if isinstance(part, list):
        return [_without_citations(one) for one in part]
    return _CITATION.sub("", part) if isinstance(part, str) else part


async def show(request: web.Request) -> web.Response:
    """Return this document: the API as OpenAPI 3.1."""
    return web.Response(body=request.app[DOCUMENT], content_type="application/json")


def routes() -> list[Route]:
    """Return the route of the document."""
    return [
        Route(
            method="GET",
            path="/openapi.json",
            handler=show,
            answers={200: dict[str, Any]},
            access="anybody",
        )
    ]


class _Described(GenerateJsonSchema):
    """Schemas with what is said of the fields, and without titles that repeat names."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Return that it should not."""
        del schema
        return False

    def model_schema(self, schema: ModelSchema) -> Json:
        """Return a model's schema with its words."""
        return _with_words(super().model_schema(schema), schema["cls"])

    def typed_dict_schema(self, schema: TypedDictSchema) -> Json:
        """Return a ``TypedDict``'s schema with its words."""
        return _with_words(super().typed_dict_schema(schema), schema.get("cls"))


def _with_words(described: Json, shape: type | None) -> Json:
    """Give each field that has no words its docstring in *shape*."""
    words = {} if shape is None else words_of(shape)
    for name, field in described.get("properties", {}).items():
        if name in words:
            field.setdefault("description", words[name])
    return described


class _Schemas:
    """The schemas of every shape there is: each once, under its name."""

    def __init__(self, routes: Iterable[Route]) -> None:
        asked: dict[tuple[str, Direction], TypeAdapter[Any]] = {}
        for shape, direction in _shapes(routes):
            asked[str(shape), direction] = TypeAdapter(shape)
        found, together = TypeAdapter.json_schemas(
            [(key, key[1], adapter) for key, adapter in asked.items()],
            ref_template=_REF,
            schema_generator=_Described,
        )
        self._found = {key: schema for (key, _), schema in found.items()}
        self.components: Json = together.get("$defs", {})

    def of(self, shape: Any, direction: Direction) -> Json:
        """Return the schema of *shape*, or a reference to it."""
        return self._found[str(shape), direction]


def _shapes(routes: Iterable[Route]) -> Iterable[tuple[Any, Direction]]:
    yield Refusal, "serialization"
    yield Problem, "serialization"
    for route in routes:
        if route.body is not None:
            yield route.body, "validation"
        for shape in route.answers.values():
            if shape is not None:
                yield shape, "serialization"


def _operation(route: Route, schemas: _Schemas) -> Json:
    summary, _, rest = route.words.partition("\n\n")
    summary = " ".join(summary.split())
    operation: Json = {
        "summary": summary,
        "tags": [_tag(route)],
        "security": _SECURITY[route.access],
        "parameters": _parameters(route),
        "responses": {
            **{
                str(status): _success(route, status, shape, schemas)
                for status, shape in route.answers.items()
            },
            **{
                str(status): {"$ref": f"#/components/responses/{status}"}
                for status in refusals(route)
            },
        },
    }
    if rest.strip():
        operation["description"] = rest.strip()
    if route.body is not None:
        operation["requestBody"] = {
            "required": not route.body_optional,
            "content": {
                _JSON: {"schema": schemas.of(route.body, "validation")},
            },
        }
    elif route.takes:
        operation["requestBody"] = {
            "required": True,
            "content": {
                media: {"schema": {} if media == _JSON else {"type": "object"}}
                for media in route.takes
            },
        }
    return operation


def refusals(route: Route) -> list[int]:
    """Return every status that *route* can refuse with."""
    found = {*_ALWAYS, *_BY_ACCESS[route.access], *route.refusals}
    if route.body is not None:
        found.update(_WITH_BODY)
    if route.takes:
        found.add(413)
    if route.placeholders:
        found.add(404)
    return sorted(found)


def _parameters(route: Route) -> list[Json]:
    found = []
    for name in route.placeholders:
        kind = route.template.partition(f"/{{{name}}}")[0].rpartition("/")[2]
        schema = _PLACES.get(kind, _ID if name.endswith("id") else _TEXT)
        schema = {**schema, "description": _IN_PATHS[kind]}
        found.append(_parameter(name, "path", schema, required=True))
    if route.query is not None:
        whole = route.query.model_json_schema(schema_generator=_Described)
        required = whole.get("required", ())
        found.extend(
            _parameter(name, "query", schema, required=name in required)
            for name, schema in whole["properties"].items()
        )
    found.extend(
        _parameter(name, "header", {"type": "string", "description": words})
        for name, words in route.headers.items()
    )
    return found


def _parameter(name: str, where: str, schema: Json, *, required: bool = False) -> Json:
    """Return a parameter; absent is how a query says null."""
    parameter: Json = {"name": name, "in": where, "required": required}
    schema = dict(schema)
    choices = [one for one in schema.get("anyOf", ()) if one != {"type": "null"}]
    if len(choices) == 1:
        del schema["anyOf"]
        schema |= choices[0]
    if schema.get("default", 0) is None:
        del schema["default"]
    if "description" in schema:
        parameter["description"] = schema.pop("description")
    return {**parameter, "schema": schema}


def _success(route: Route, status: int, shape: Any, schemas: _Schemas) -> Json:
    names = ["x-request-id"]
    if route.path.startswith("/api/") and route.media_type == "application/json":
        names.extend(_LIMITED)
    if route.body is not None:
        names.append(ignored.HEADER)
    response: Json = {"description": HTTPStatus(status).phrase}
    if shape is not None:
        schema = schemas.of(shape, "serialization")
        response["content"] = {route.media_type: {"schema": schema}}
        if route.silent:
            response["content"]["text/plain"] = {"schema": {**_TEXT, "maxLength": 0}}
        if schema.get("type") == "array":
            names.extend(_PAGED)
    response["headers"] = _header_refs(names)
    return response


def _refusal(status: int, schemas: _Schemas) -> Json:
    names = ["x-request-id", *_LIMITED]
    if status in {429, 503}:
        names.append("Retry-After")
    return {
        "description": " ".join(
            f"{code}: {words}" for one, code, words in CODES if one == status
        ),
        "headers": _header_refs(names),
        "content": {
            "application/json": {"schema": schemas.of(Refusal, "serialization")},
            "application/problem+json": {
                "schema": schemas.of(Problem, "serialization")
            },
        },
    }


def _header_refs(names: Iterable[str]) -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _tag(route: Route) -> str:
    return _TAGS.get(route.module, route.module.replace("_", " ").capitalize())
