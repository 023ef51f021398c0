"""GitHub: ``X-Hub-Signature-256`` is the HMAC of the body, in hexadecimal (pure).

Neither the time nor the delivery's id is signed: who has caught a request can repeat
it, so it must come over https.  A repeat by GitHub itself keeps its id.
"""

from collections.abc import Sequence
from typing import Final

from services.ingest.incoming.proof import (
    Arrived,
    Headers,
    header,
    hmacs,
    is_form,
    named,
    plain,
    read_form,
    read_json,
    require_match,
    require_named,
)

_SIGNATURE: Final = "X-Hub-Signature-256"
_EVENT: Final = "X-GitHub-Event"
_DELIVERY: Final = "X-GitHub-Delivery"
HEADERS: Final = {
    _SIGNATURE: "`sha256=` and the HMAC-SHA256 of the body, in hexadecimal.",
    _EVENT: "What happened, such as `push`.",
    _DELIVERY: "The delivery's id: what came already is not taken twice.",
}
FORMS: Final = True


def prove(headers: Headers, body: bytes, secrets: Sequence[str], *, now: float) -> None:
    """Raise `Unproven` unless one of the secrets signed the body."""
    del now
    given = header(headers, _SIGNATURE)
    expected = [f"sha256={code.hex()}".encode() for code in hmacs(secrets, [body])]
    require_match(expected, [given])


def read(headers: Headers, body: bytes) -> Arrived:
    """Return what came, as JSON or in the ``payload`` of a form."""
    payload = body
    if is_form(headers):
        payload = require_named("payload", read_form(body).get("payload")).encode()
    read_json(payload)
    return Arrived(
        delivery_id=named(require_named(_DELIVERY, headers.get(_DELIVERY))),
        event=plain(require_named(_EVENT, headers.get(_EVENT))),
        payload=payload,
    )
