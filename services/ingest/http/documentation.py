"""``/docs``: the API to read, made of the same document as ``/openapi.json``.

One page of plain HTML: no script, nothing from anywhere else.
"""

import base64
import hashlib
from collections.abc import Iterable, Mapping
from html import escape
from importlib import resources
from typing import Any, Final

import orjson
from aiohttp import web

from services.ingest.http.examples import path_of
from services.ingest.http.openapi import CODES, Json
from services.ingest.http.routing import Route
from services.ingest.http.schema_words import kind, limits, prose, sample

_STYLE: Final = (
    resources.files(__package__).joinpath("documentation.css").read_text("utf-8")
)
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
#: Who may, by the security of an operation.
_ACCESS: Final = {
    (): "anybody",
    ("bearer", "apiKey"): "an API key or an access token",
    ("bearer",): "an access token",
    ("admin",): "the admin key",
}
_CREDENTIAL: Final = {
    (): "",
    ("admin",): ' \\\n  -H "X-Admin-Key: $ADMIN_KEY"',
}
_BEARER: Final = ' \\\n  -H "Authorization: Bearer $API_KEY"'

#: The page, spelled.
PAGE: Final = web.AppKey("page", bytes)


def routes() -> list[Route]:
    """Return the route of the page."""
    return [
        Route(
            method="GET",
            path="/docs",
            handler=show,
            answers={200: str},
            access="anybody",
            media_type="text/html",
        ),
    ]


def door() -> list[Route]:
    """Return what answers at the door, where the streamer's pages are not passed on."""
    return [
        Route(
            method="GET",
            path="/",
            handler=lead,
            answers={302: None},
            access="anybody",
        ),
    ]


async def show(request: web.Request) -> web.Response:
    """Return the documentation of the API, to be read in a browser."""
    return web.Response(
        body=request.app[PAGE],
        content_type="text/html",
        charset="utf-8",
        headers={"Content-Security-Policy": _POLICY},
    )


async def lead(_: web.Request) -> web.Response:
    """Lead who comes to the door to the documentation."""
    return web.Response(status=302, headers={"Location": "/docs"})


def page(document: Json) -> bytes:
    """Return the page of *document*."""
    info = document["info"]
    title = escape(f"{info['title']} API {info['version']}")
    operations = _by_tag(document)
    schemas = document["components"]["schemas"]
    whole = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style></head>"
        f'<body><div class="page">{_contents(operations, schemas)}<main>'
        f"<h1>{title}</h1>{_introduction(info)}"
        + "".join(
            f'<h2 id="{_anchor(tag)}">{escape(tag)}</h2>'
            + "".join(_operation(*one, document) for one in members)
            for tag, members in operations.items()
        )
        + _refusals()
        + '<h2 id="shapes">Shapes</h2>'
        + "".join(_shape(name, schemas[name]) for name in sorted(schemas))
        + "</main></div></body></html>"
    )
    return whole.encode()


def _by_tag(document: Json) -> dict[str, list[tuple[str, str, Json]]]:
    found: dict[str, list[tuple[str, str, Json]]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            found.setdefault(operation["tags"][0], []).append((method, path, operation))
    return dict(sorted(found.items()))


def _contents(
    operations: Mapping[str, list[tuple[str, str, Json]]], schemas: Json
) -> str:
    parts = []
    for tag, members in operations.items():
        rows = "".join(
            f'<li><a href="#{one["operationId"]}"><span class="method {method}">'
            f"{method}</span> {escape(path.removeprefix('/api/v1'))}</a></li>"
            for method, path, one in members
        )
        parts.append(f'<h2><a href="#{_anchor(tag)}">{escape(tag)}</a></h2>')
        parts.append(f"<ul>{rows}</ul>")
    shapes = "".join(
        f'<li><a href="#shape-{name}">{name}</a></li>' for name in sorted(schemas)
    )
    return (
        f'<nav aria-label="Contents">{"".join(parts)}'
        '<h2><a href="#refusals">Refusals</a></h2>'
        f'<h2><a href="#shapes">Shapes</a></h2><ul>{shapes}</ul></nav>'
    )


def _introduction(info: Json) -> str:
    return (
        f"<p>{escape(info['summary'])}</p>"
        "<p>Bodies and answers are JSON in UTF-8, times are RFC 3339, ids are UUIDs. "
        "Credentials travel as <code>Authorization: Bearer …</code> (an API key or an "
        "access token) or as <code>X-API-Key</code>. Lists are arrays; the header "
        "<code>X-Has-More</code> says whether there is more. Every answer has an "
        "<code>x-request-id</code>: the one you sent, or a new one. "
        "Fields of a body that we do not know are ignored, and "
        "<code>X-Ignored-Fields</code> names them.</p>"
        "<p>In the examples <code>$BELLHOP</code> is the address of this host, such as "
        "<code>http://127.0.0.1:8080</code>; <code>$API_KEY</code> is an API key, and "
        "<code>$ADMIN_KEY</code> the operator's. Set them first, with "
        "<code>export BELLHOP=… API_KEY=…</code>, and put ids of yours in the place of "
        "those that stand there.</p>"
        '<p>The same for programs: <a href="/openapi.json">/openapi.json</a>; and what '
        'they hear and say over NATS: <a href="/asyncapi.json">/asyncapi.json</a>.</p>'
    )


def _operation(method: str, path: str, operation: Json, document: Json) -> str:
    name = operation["operationId"]
    schemes = tuple(key for one in operation["security"] for key in one)
    parts = [
        _heading(method, path, name),
        prose(operation["summary"]),
        prose(operation.get("description", "")),
        f'<p class="faint">For {_ACCESS[schemes]}.</p>',
        _parameters(operation["parameters"]),
    ]
    body = operation.get("requestBody")
    if body is not None:
        schema = body["content"]["application/json"]["schema"]
        optional = "" if body["required"] else " (may be absent)"
        parts.append(f"<h4>Body{optional}</h4><p>{kind(schema)}</p>")
        parts.append(_properties(_resolved(schema, document)))
    parts.extend(
        [
            _answers(operation),
            _call(method, path, schemes, body, document),
            "</article>",
        ]
    )
    return "".join(parts)


def _heading(method: str, path: str, name: str) -> str:
    return (
        f'<article id="{name}"><h3><span class="method {method}">{method}</span> '
        f'<code>{escape(path)}</code> <a class="faint" href="#{name}" '
        f'aria-label="Link to {name}">#</a></h3>'
    )


def _parameters(parameters: Iterable[Json]) -> str:
    rows = [
        (
            f"<code>{escape(one['name'])}</code>",
            f"{one['in']}{', required' if one['required'] else ''}",
            kind(one["schema"]),
            prose(one.get("description", "")) + limits(one["schema"]),
        )
        for one in parameters
    ]
    return _table("Parameters", ("name", "where", "type", ""), rows)


def _properties(schema: Json) -> str:
    required = schema.get("required", ())
    rows = [
        (
            f"<code>{escape(name)}</code>",
            "required" if name in required else "",
            kind(one),
            prose(one.get("description", "")) + limits(one),
        )
        for name, one in schema.get("properties", {}).items()
    ]
    return _table("", ("field", "", "type", ""), rows)


def _answers(operation: Json) -> str:
    rows, refusals = [], []
    for status, response in operation["responses"].items():
        if "$ref" in response:
            refusals.append(f'<a href="#status-{status}">{status}</a>')
            continue
        contents = response.get("content", {})
        words = [
            kind(content["schema"])
            if media == "application/json"
            else f"<code>{escape(media)}</code>"
            for media, content in contents.items()
        ]
        rows.append((status, " or ".join(words) or "nothing"))
    return (
        _table("Answers", ("status", "body"), rows)
        + f'<p class="faint">Refusals: {", ".join(refusals)}</p>'
    )


def _call(
    method: str,
    path: str,
    schemes: tuple[str, ...],
    body: Json | None,
    document: Json,
) -> str:
    """Return how to ask it with curl."""
    verb = "" if method == "get" else f"-X {method.upper()} "
    text = f'curl {verb}"$BELLHOP{path_of(path)}"' + _CREDENTIAL.get(schemes, _BEARER)
    if body is not None:
        schema = body["content"]["application/json"]["schema"]
        example = sample(schema, document["components"]["schemas"])
        spelled = orjson.dumps(example).decode().replace("'", "'\\''")
        text += ' \\\n  -H "Content-Type: application/json"'
        text += f" \\\n  -d '{spelled}'"
    return f"<pre><code>{escape(text)}</code></pre>"


def _refusals() -> str:
    rows, known = [], set()
    for status, code, words in CODES:
        # A code and a status may come again; an anchor may not.
        anchors = [one for one in (f"status-{status}", code) if one not in known]
        known.update(anchors)
        marks = "".join(f'<span id="{anchor}"></span>' for anchor in anchors)
        rows.append((f"{marks}{status}", f"<code>{code}</code>", escape(words)))
    return (
        '<h2 id="refusals">Refusals</h2><p>Every refusal has a <code>code</code> to go '
        "by and a <code>message</code> to read: "
        '<a href="#shape-Refusal">Refusal</a>, or <a href="#shape-Problem">Problem</a> '
        "for who accepts <code>application/problem+json</code>.</p>"
        + _table("", ("status", "code", ""), rows)
    )


def _shape(name: str, schema: Json) -> str:
    words = prose(schema.get("description", ""))
    whole = "" if "properties" in schema else f"<p>{kind(schema)}</p>"
    return (
        f'<article id="shape-{name}"><h3>{name}</h3>{words}{whole}'
        f"{_properties(schema)}</article>"
    )


def _table(title: str, head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    body = "".join(
        f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows
    )
    if not body:
        return ""
    above = f"<h4>{title}</h4>" if title else ""
    names = "".join(f'<th scope="col">{name}</th>' for name in head)
    return (
        f'{above}<div class="scroll"><table><thead><tr>{names}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _resolved(schema: Json, document: Json) -> Json:
    name = schema.get("$ref", "").rpartition("/")[2]
    found: Any = document["components"]["schemas"][name] if name else schema
    return dict(found)


def _anchor(tag: str) -> str:
    return f"about-{tag.lower().replace(' ', '-')}"
