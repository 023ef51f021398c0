"""JSON Schema in words, as HTML, and an example of it (pure)."""

import re
from collections.abc import Mapping
from html import escape
from typing import Any, Final

from services.ingest.http.examples import BODIES

Json = Mapping[str, Any]

_CODE: Final = re.compile(r"`{1,2}([^`]+)`{1,2}")
_AS_CODE: Final = r"<code>\1</code>"
#: What is said of a value beside its type, and how.
_LIMITS: Final = (
    ("minimum", "at least {}"),
    ("exclusiveMinimum", "more than {}"),
    ("maximum", "at most {}"),
    ("minLength", "at least {} characters"),
    ("maxLength", "at most {} characters"),
    ("minItems", "at least {}"),
    ("maxItems", "at most {}"),
    ("pattern", "like {}"),
    ("default", "else {}"),
)
#: What an example says for a field of this name.
_SAMPLES: Final = {
    "queue_name": "mail",
    "worker_id": "worker-1",
    "hostname": "worker-1.example.com",
    "payload": {"to": "ada@example.com"},
    "name": "Acme",
    "slug": "acme",
    "email": "ada@example.com",
    "code": "123456",
    "error": "the printer is on fire",
}


def prose(text: str) -> str:
    """Return docstring text as paragraphs."""
    paragraphs = [part for part in text.split("\n\n") if part.strip()]
    spelled = (escape(" ".join(part.split())) for part in paragraphs)
    return "".join(f"<p>{_CODE.sub(_AS_CODE, part)}</p>" for part in spelled)


def kind(schema: Json) -> str:
    """Return what type *schema* is, with links to shapes that have a name."""
    match schema:
        case {"$ref": str(reference)}:
            name = escape(reference.rpartition("/")[2])
            words = f'<a href="#shape-{name}">{name}</a>'
        case {"enum": list(values)}:
            words = " or ".join(f"<code>{escape(str(one))}</code>" for one in values)
        case {"const": value}:
            words = f"<code>{escape(str(value))}</code>"
        case {"anyOf": list(parts)} | {"oneOf": list(parts)} | {"allOf": list(parts)}:
            words = " or ".join(dict.fromkeys(kind(one) for one in parts))
        case {"type": "array", **rest}:
            words = f"list of {kind(rest.get('items', {}))}"
        case {"type": str(named), "format": str(form)}:
            words = f"{escape(named)} ({escape(form)})"
        case {"type": str(named)}:
            words = escape(named)
        case _:
            words = "any JSON"
    return words


def limits(schema: Json) -> str:
    """Return what is said of a value beside its type."""
    said = {**schema}
    for one in schema.get("anyOf", ()):
        said |= {name: value for name, value in one.items() if name != "description"}
    words = [
        escape(form.format(said[name]))
        for name, form in _LIMITS
        if name in said and said[name] is not None
    ]
    return f'<p class="faint">{", ".join(words)}</p>' if words else ""


def sample(schema: Json, shapes: Json, *, name: str = "") -> Any:
    """Return an example of *schema*: a known one, else no more than is required."""
    if name in _SAMPLES:
        return _SAMPLES[name]
    example: Any = "…"
    match schema:
        case {"$ref": str(reference)}:
            shape = reference.rpartition("/")[2]
            example = BODIES.get(shape) or sample(shapes[shape], shapes, name=name)
        case {"default": value} | {"const": value} | {"enum": [value, *_]}:
            example = value
        case {"anyOf": [first, *_]} | {"oneOf": [first, *_]}:
            example = sample(first, shapes, name=name)
        case {"type": "object"}:
            required = schema.get("required", ())
            example = {
                key: sample(one, shapes, name=key)
                for key, one in schema.get("properties", {}).items()
                if key in required
            }
        case {"type": "array"}:
            example = [sample(schema.get("items", {}), shapes)]
        case {"type": "integer" | "number"}:
            example = max(1, schema.get("minimum", 1))
        case {"type": "boolean"}:
            example = True
    return example
