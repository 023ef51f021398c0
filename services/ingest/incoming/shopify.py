"""Shopify: ``X-Shopify-Hmac-Sha256`` is the HMAC of the body, in base64 (pure).

Neither the time nor what the other headers say is signed: it must come over https.
"""

from base64 import b64encode
from collections.abc import Sequence
from typing import Final

from services.ingest.incoming.proof import (
    Arrived,
    Headers,
    header,
    hmacs,
    named,
    plain,
    read_json,
    require_match,
    require_named,
)

_SIGNATURE: Final = "X-Shopify-Hmac-Sha256"
_TOPIC: Final = "X-Shopify-Topic"
_ID: Final = "X-Shopify-Webhook-Id"
_SHOP: Final = "X-Shopify-Shop-Domain"
HEADERS: Final = {
    _SIGNATURE: "The HMAC-SHA256 of the body, in base64.",
    _TOPIC: "What happened, such as `orders/create`.",
    _ID: "The delivery's id: what came already is not taken twice.",
    _SHOP: "Whose shop it is: it becomes the tag `shop`.",
}
FORMS: Final = False


def prove(headers: Headers, body: bytes, secrets: Sequence[str], *, now: float) -> None:
    """Raise `Unproven` unless one of the secrets signed the body."""
    del now
    given = header(headers, _SIGNATURE)
    require_match([b64encode(code) for code in hmacs(secrets, [body])], [given])


def read(headers: Headers, body: bytes) -> Arrived:
    """Return what came, with the shop it came from."""
    read_json(body)
    shop = headers.get(_SHOP)
    return Arrived(
        delivery_id=named(require_named(_ID, headers.get(_ID))),
        event=plain(require_named(_TOPIC, headers.get(_TOPIC))),
        payload=body,
        tags={"shop": plain(shop)} if shop else {},
    )
