"""The ``Idempotency-Key`` header: the key of a body, and strict about its use."""

from typing import Final

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
