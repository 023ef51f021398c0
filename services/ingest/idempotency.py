"""The ``Idempotency-Key`` header: the key of a body, and strict about its use."""

import hashlib
from typing import Final

import orjson
from pydantic import BaseModel

from libs.common.errors import Fault, Malformed

HEADER: Final = "Idempotency-Key"


def key_in_header(key: str | None, in_body: str | None) -> str | None:
    """Return the header's key: a structured-field string, or bare; None without one.

    Raises `Malformed` when the body has another.
    """
    if key is None:
        return None
    if len(key) > 1 and key[0] == key[-1] == '"':
        key = key[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    if in_body not in (None, key):
        raise Malformed(Fault("idempotency_key", f"differs from the {HEADER} header"))
    return key


def reused() -> Malformed:
    """Return what is wrong with a key in the header that came with another request."""
    return Malformed(
        Fault(HEADER, "was used with another request", "IDEMPOTENCY_KEY_REUSED"),
        unreadable=True,
    )


def fingerprint_of(request: BaseModel) -> bytes:
    """Return a hash that two requests share when they ask for the same."""
    same = request.model_dump(mode="json", exclude={"idempotency_key"})
    return hashlib.sha256(orjson.dumps(same, option=orjson.OPT_SORT_KEYS)).digest()
