"""The description of the API is whole, valid, and made of what is really served."""

import ast
import asyncio
import base64
import hashlib
import re
import tomllib
from pathlib import Path

import jsonschema_rs
import orjson
import pytest
from schemathesis.specs.openapi import definitions

from libs.common.health import Health
from libs.common.version import VERSION
from services.ingest.http import documentation, openapi, streams
from services.ingest.http.app import build
from services.ingest.http.errors import _KINDS, _WORDS
from services.ingest.http.examples import BODIES
from services.ingest.http.routing import ROUTES
from services.ingest.http.schema_words import sample
from services.ingest.settings import Settings
from tests.support.house import SECRET_KEY

ROOT = Path(__file__).parents[2]
APP = build(
    Settings(
        DATABASE_URL="postgresql://nowhere/none",
        secret_key=SECRET_KEY,
        streamer_url="http://127.0.0.1:9",
    ),
    Health(asyncio.Event()),
)
DESCRIBED = APP[ROUTES]
DOCUMENT = orjson.loads(APP[openapi.DOCUMENT])
PAGE = APP[documentation.PAGE].decode()


def operations():
    return [
        (method, path, operation)
        for path, methods in DOCUMENT["paths"].items()
        for method, operation in methods.items()
    ]


def references(part):
    """Return every reference in a part of the document."""
    if isinstance(part, dict):
        found = {part["$ref"]} if isinstance(part.get("$ref"), str) else set()
        return found.union(*(references(one) for one in part.values()))
    if isinstance(part, list):
        return set().union(*(references(one) for one in part))
    return set()


def test_every_route_is_described_and_every_description_is_served():
    served = {
        (route.method, route.resource.canonical)
        for route in APP.router.routes()
        if route.method != "HEAD" and route.resource is not None
    }
    # The dashboard is no part of the API.
    served -= {("GET", re.sub(":[^}]*", "", path)) for path in streams.PAGES}

    assert {(route.method, route.template) for route in DESCRIBED} == served
    assert {(method.upper(), path) for method, path, _ in operations()} == served
    assert len(DESCRIBED) == len(served), "a route is described twice"


def test_the_document_is_valid():
    jsonschema_rs.Draft202012Validator(definitions.OPENAPI_31).validate(DOCUMENT)


def test_every_reference_leads_somewhere_and_nothing_is_left_over():
    found = references(DOCUMENT)
    defined = {
        f"#/components/{kind}/{name}"
        for kind, members in DOCUMENT["components"].items()
        for name in members
        if kind != "securitySchemes"
    }

    assert found <= defined
    # No operation refuses its own method; who asks with another one is refused so.
    assert defined - found <= {"#/components/responses/405"}


@pytest.mark.parametrize("route", DESCRIBED, ids=lambda r: f"{r.method} {r.path}")
def test_a_route_says_what_it_does(route):
    first, *_ = route.words.split("\n\n")

    assert first.rstrip().endswith((".", ":", ".)")), "summary: one sentence"
    assert len(first) <= 160


def test_operations_have_names_of_their_own():
    names = [operation["operationId"] for _, _, operation in operations()]

    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"[a-z][a-z_]+", name) for name in names), names


@pytest.mark.parametrize("route", DESCRIBED, ids=lambda r: f"{r.method} {r.path}")
def test_a_route_says_what_it_answers(route):
    known = {status for status, _, _ in openapi.CODES}

    # What this house does not have is known, and always refused.
    assert route.answers or route.path.startswith("/api/v1/billing/")
    assert all(status == 101 or 200 <= status < 400 for status in route.answers)
    assert set(openapi.refusals(route)) <= known
    for status, shape in route.answers.items():
        assert (shape is None) or status != 204
        assert "Any" not in str(shape).split("["), "say what it answers"


def test_every_refusal_that_is_spoken_is_described():
    described = {(status, code) for status, code, _ in openapi.CODES}
    spoken = {(kind.status, kind.code) for kind in _KINDS.values()}
    spoken |= {(status, code) for status, (code, _) in _WORDS.items()}

    assert spoken <= described


@pytest.mark.parametrize("route", DESCRIBED, ids=lambda r: f"{r.method} {r.path}")
def test_answers_and_refusals_say_which_headers_tell_of_rates(route):
    operation = DOCUMENT["paths"][route.template][route.method.lower()]
    limited = {
        *(f"X-RateLimit-{name}" for name in ("Limit", "Remaining", "Reset", "Scope")),
        "RateLimit",
        "RateLimit-Policy",
    }
    told = route.path.startswith("/api/") and route.media_type == "application/json"

    for status in route.answers:
        headers = operation["responses"][str(status)]["headers"].keys()
        assert (headers & limited) == (limited if told else set())
    for refusal in DOCUMENT["components"]["responses"].values():
        assert limited <= refusal["headers"].keys()


def test_every_code_that_is_written_down_anywhere_is_described():
    described = {(status, code) for status, code, _ in openapi.CODES}
    spoken: set[tuple[object, object]] = set()
    for file in [*ROOT.glob("services/**/*.py"), *ROOT.glob("libs/**/*.py")]:
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            match node:
                # A code in capitals is that of the whole refusal.
                case ast.Call(
                    func=ast.Name("Malformed"),
                    args=[ast.Call(args=[_, _, ast.Constant(code)])],
                    keywords=unreadable,
                ) if str(code).isupper():
                    spoken.add((422 if unreadable else 400, code))
                case ast.Call(
                    func=ast.Name("refusal"),
                    args=[ast.Constant(status), ast.Constant(code), *_],
                ):
                    spoken.add((status, code))

    assert (400, "INVALID_JSON") in spoken
    assert (422, "IDEMPOTENCY_KEY_REUSED") in spoken
    assert spoken <= described


def test_every_schema_can_be_checked_with():
    for name in DOCUMENT["components"]["schemas"]:
        jsonschema_rs.Draft202012Validator(
            {
                "$ref": f"#/components/schemas/{name}",
                "components": DOCUMENT["components"],
            }
        )


def test_what_is_said_to_users_does_not_cite_what_they_do_not_have():
    for text in (PAGE, orjson.dumps(DOCUMENT).decode()):
        assert not re.search(r"contract|\bD\d+\b", text)


def test_the_page_has_everything_and_needs_nobody():
    anchors = re.findall(r'\bid="([^"]+)"', PAGE)
    links = set(re.findall(r'href="#([^"]+)"', PAGE))

    assert len(anchors) == len(set(anchors))
    assert links <= set(anchors)
    assert {operation["operationId"] for _, _, operation in operations()} <= links
    assert {f"shape-{name}" for name in DOCUMENT["components"]["schemas"]} <= links
    assert {code for _, code, _ in openapi.CODES} <= set(anchors)
    assert not re.search(r"<script|<img|<link|@import|url\(|\son\w+=", PAGE)
    assert set(re.findall(r'href="([^#"][^"]*)"', PAGE)) == {
        "/openapi.json",
        "/asyncapi.json",
    }


def test_the_page_may_use_its_own_style_and_nothing_else():
    (style,) = re.findall(r"<style>(.*?)</style>", PAGE, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()

    assert f"style-src 'sha256-{digest}'" in documentation._POLICY
    assert 'style="' not in PAGE


def test_there_is_one_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert project["version"] == VERSION == DOCUMENT["info"]["version"]


@pytest.mark.parametrize(
    ("shape", "fields"),
    [
        ("BulkEnqueue", {"payload"}),
        ("CompleteMany", {"job_id"}),
        ("FailMany", {"job_id", "error"}),
    ],
)
def test_what_a_bulk_is_made_of_is_described(shape, fields):
    item = DOCUMENT["components"]["schemas"][shape]["properties"]["jobs"]["items"]

    assert set(item["required"]) == fields
    assert set(item["properties"]) > fields


def fields(schema):
    """Return every field of a schema, by its path, and of the shapes it names."""
    for reference in references(schema):
        name = reference.rpartition("/")[2]
        yield from fields({name: DOCUMENT["components"]["schemas"][name]})
    for name, part in schema.items():
        if isinstance(part, dict):
            for field, one in part.get("properties", {}).items():
                yield f"{name}.{field}", one
            yield from fields(part)


@pytest.mark.parametrize("route", DESCRIBED, ids=lambda r: f"{r.method} {r.path}")
def test_every_field_and_parameter_of_a_request_is_explained(route):
    operation = DOCUMENT["paths"][route.template][route.method.lower()]
    asked = [*fields(operation.get("requestBody", {}))]
    asked += [(one["name"], one) for one in operation["parameters"]]

    assert [name for name, one in asked if not one.get("description")] == []


def test_fields_of_answers_are_explained_with_those_they_inherit():
    schemas = DOCUMENT["components"]["schemas"]

    assert (
        "Higher goes first" in schemas["Job"]["properties"]["priority"]["description"]
    )
    assert "per minute" in schemas["NewKey"]["properties"]["rate_limit"]["description"]


@pytest.mark.parametrize(
    "route",
    [route for route in DESCRIBED if route.body is not None],
    ids=lambda r: f"{r.method} {r.path}",
)
def test_the_example_of_a_body_is_accepted(route):
    operation = DOCUMENT["paths"][route.template][route.method.lower()]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    example = sample(schema, DOCUMENT["components"]["schemas"])

    route.body.model_validate(example)
    # What is read one by one is not checked with the whole.
    jsonschema_rs.Draft202012Validator(
        {**schema, "components": DOCUMENT["components"]}
    ).validate(example)


def test_every_example_belongs_to_a_body():
    assert set(BODIES) <= {route.body.__name__ for route in DESCRIBED if route.body}


def test_examples_ask_paths_that_curl_takes_as_they_are():
    assert "$BELLHOP/api/v1/queues/mail/pause" in PAGE
    assert not re.search(r"\$BELLHOP[^&]*\{", PAGE)
