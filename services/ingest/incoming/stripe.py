"""Stripe: ``Stripe-Signature`` has a time and HMACs of time and body (pure).

``t=1492774577,v1=…,v1=…,v0=…``: one ``v1`` for each secret that is good at Stripe;
other schemes prove nothing.
"""

from collections.abc import Sequence
from typing import Final

from services.ingest.incoming.proof import (
    Arrived,
    Headers,
    Unproven,
    header,
    hmacs,
    named,
    octets,
    plain,
    read_object,
    require_fresh,
    require_match,
    require_named,
)

_SIGNATURE: Final = "Stripe-Signature"
HEADERS: Final = {_SIGNATURE: "`t=…,v1=…`, as Stripe signs it."}
FORMS: Final = False


def prove(headers: Headers, body: bytes, secrets: Sequence[str], *, now: float) -> None:
    """Raise `Unproven` unless one of the secrets signed the body just now."""
    said = [
        part.strip().partition("=") for part in header(headers, _SIGNATURE).split(",")
    ]
    times = [value for name, _, value in said if name == "t"]
    given = [value for name, _, value in said if name == "v1"]
    if len(times) != 1 or not given:
        raise Unproven("unsigned")
    require_fresh(times[0], now=now)
    codes = hmacs(secrets, [octets(times[0]), b".", body])
    require_match([code.hex().encode() for code in codes], given)


def read(headers: Headers, body: bytes) -> Arrived:
    """Return the event that came."""
    del headers
    event = read_object(body)
    return Arrived(
        delivery_id=named(require_named("id", event.get("id"))),
        event=plain(require_named("type", event.get("type"))),
        payload=body,
    )
