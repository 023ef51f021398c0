"""Standard Webhooks: ``v1`` (HMAC) and ``v1a`` (ed25519), as in its version 1.0 (pure).

Senders that spell the three headers ``svix-…`` are understood as well.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

from libs.common.verification import Reason as Wrong
from libs.common.verification import Unverified, Verifier
from services.ingest.incoming.proof import (
    Arrived,
    Headers,
    Reason,
    Unproven,
    named,
    plain,
    read_json,
    require_named,
)

_PREFIXES: Final = ("webhook", "svix")
HEADERS: Final = {
    "webhook-id": "The message's id: what came already is not taken twice.",
    "webhook-timestamp": "When it was signed, in Unix seconds.",
    "webhook-signature": "`v1,…` or `v1a,…`; several have a space between them.",
}
FORMS: Final = False

_REASONS: Final[Mapping[Wrong, Reason]] = {
    Wrong.MISSING_HEADERS: "unsigned",
    Wrong.MALFORMED_TIMESTAMP: "unsigned",
    Wrong.TOO_OLD: "stale",
    Wrong.TOO_NEW: "stale",
    Wrong.INVALID_SIGNATURE: "forged",
}
#: What happened, where the payload does not say it.
_NAMELESS: Final = "message"


def prove(headers: Headers, body: bytes, secrets: Sequence[str], *, now: float) -> None:
    """Raise `Unproven` unless one of the keys signed the body just now."""
    verifier = _verifier(tuple(secrets), _prefix(headers))
    try:
        verifier.verify(body, headers, now=now)
    except Unverified as error:
        raise Unproven(_REASONS[error.reason]) from error


def read(headers: Headers, body: bytes) -> Arrived:
    """Return the message that came; its ``type`` says what happened."""
    name = f"{_prefix(headers)}-id"
    said = read_json(body)
    kind = said.get("type") if isinstance(said, dict) else None
    return Arrived(
        delivery_id=named(require_named(name, headers.get(name))),
        event=plain(kind) if isinstance(kind, str) and kind else _NAMELESS,
        payload=body,
    )


def fault_in(secret: str) -> str | None:
    """Return what is wrong with a secret (``whsec_…``) or public key (``whpk_…``)."""
    try:
        Verifier([secret])
    except ValueError as error:
        return str(error)
    return None


@lru_cache(maxsize=1024)
def _verifier(secrets: tuple[str, ...], prefix: str) -> Verifier:
    return Verifier(secrets, prefix=prefix)


def _prefix(headers: Headers) -> str:
    """Return how the sender's three headers begin; the standard's if there are none."""
    for prefix in _PREFIXES:
        if f"{prefix}-id" in headers:
            return prefix
    return _PREFIXES[0]
