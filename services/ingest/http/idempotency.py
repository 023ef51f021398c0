"""The ``Idempotency-Key`` header: the key of a body, and strict about its use."""

from typing import Final

from aiohttp import web

from libs.common.errors import Fault, Malformed
from services.ingest.http.errors import refusal

HEADER: Final = "Idempotency-Key"


def key_in_header(request: web.Request, in_body: str | None) -> str | None:
    """Return the key: a structured-field string, or bare; None when there is none.

    Raises `Malformed` when the body has another.
    """
    key = request.headers.get(HEADER)
    if key is None:
        return None
    if len(key) > 1 and key[0] == key[-1] == '"':
        key = key[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    if in_body not in (None, key):
        raise Malformed(Fault("idempotency_key", f"differs from the {HEADER} header"))
    return key


def reused() -> web.Response:
    """Return what is said of a key in the header that came with another request."""
    return refusal(
        422, "IDEMPOTENCY_KEY_REUSED", f"{HEADER}: was used with another request"
    )
