"""Slack: ``X-Slack-Signature`` is the HMAC of version, time and body (pure).

Events are JSON; slash commands and interactions are forms.  What is answered to a form
is shown to whoever typed or clicked, so that nothing is.
"""

from collections.abc import Sequence
from typing import Final

import orjson

from services.ingest.incoming.proof import (
    Arrived,
    Greeting,
    Headers,
    hashed,
    header,
    hmacs,
    is_form,
    named,
    octets,
    plain,
    read_form,
    read_object,
    require_fresh,
    require_match,
    require_named,
)

_SIGNATURE: Final = "X-Slack-Signature"
_TIMESTAMP: Final = "X-Slack-Request-Timestamp"
HEADERS: Final = {
    _SIGNATURE: "`v0=` and the HMAC-SHA256 of `v0:timestamp:body`, in hexadecimal.",
    _TIMESTAMP: "When it was signed, in Unix seconds.",
}
FORMS: Final = True


def prove(headers: Headers, body: bytes, secrets: Sequence[str], *, now: float) -> None:
    """Raise `Unproven` unless one of the secrets signed the body just now."""
    given = header(headers, _SIGNATURE)
    timestamp = header(headers, _TIMESTAMP)
    require_fresh(timestamp, now=now)
    codes = hmacs(secrets, [b"v0:", octets(timestamp), b":", body])
    require_match([f"v0={code.hex()}".encode() for code in codes], [given])


def read(headers: Headers, body: bytes) -> Arrived | Greeting:
    """Return what came: an event, a command, an interaction, or only a question."""
    if is_form(headers):
        return _read_form(headers, body)
    said = read_object(body)
    kind = require_named("type", said.get("type"))
    if kind == "url_verification":
        return Greeting(require_named("challenge", said.get("challenge")))
    event = said.get("event")
    inner = event.get("type") if isinstance(event, dict) else None
    id_ = said.get("event_id")
    return Arrived(
        delivery_id=(
            named(id_) if isinstance(id_, str) and id_ else _nameless(headers, body)
        ),
        event=plain(inner if isinstance(inner, str) and inner else kind),
        payload=body,
    )


def _read_form(headers: Headers, body: bytes) -> Arrived | Greeting:
    form = read_form(body)
    if "ssl_check" in form:
        return Greeting()
    if "payload" in form:
        payload = form["payload"].encode()
        event = require_named("payload.type", read_object(payload).get("type"))
    else:
        require_named("command", form.get("command"))
        payload, event = orjson.dumps(form), "slash_command"
    return Arrived(
        delivery_id=_nameless(headers, body),
        event=plain(event),
        payload=payload,
        silent=True,
    )


def _nameless(headers: Headers, body: bytes) -> str:
    """Return a name for what has none: of one second, and the same to the byte."""
    return hashed(octets(headers.get(_TIMESTAMP, "")), b":", body)
