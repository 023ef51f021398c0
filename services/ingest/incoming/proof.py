"""What the proofs of all providers have in common (pure).

A signature is over the bytes that came, and is checked before anybody reads them.
Whatever stands in a header, however malformed, is at worst no proof: `Unproven`.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import parse_qsl

import orjson

from libs.common.errors import Fault, Malformed, Unauthorized

Headers = Mapping[str, str]

#: How far a signature's timestamp may be from now, before and after.
TOLERANCE_SECONDS: Final = 300

#: What is missing or unreadable; too old or too new; wrong.
Reason = Literal["unsigned", "stale", "forged"]

_WORDS: Final[Mapping[Reason, str]] = {
    "unsigned": "The headers that sign it are missing or cannot be read",
    "stale": f"It was signed more than {TOLERANCE_SECONDS} seconds from now",
    "forged": "Authentication failed",
}
_TIMESTAMP: Final = re.compile(r"[0-9]{1,12}", re.ASCII)
_UNPRINTABLE: Final = re.compile(r"[^\x20-\x7e]")
_EVENT_CHARACTERS_MAX: Final = 200
#: With room for the provider's name in an idempotency key of 255 characters.
_ID_CHARACTERS_MAX: Final = 200
_FORM: Final = "application/x-www-form-urlencoded"
_FORM_FIELDS_MAX: Final = 100


class Unproven(Unauthorized):
    """Nothing shows that it comes from whom it says it comes from."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(_WORDS[reason])
        self.reason: Reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """A webhook that was believed, as its provider means it."""

    #: What the provider calls this delivery and its repeats.
    delivery_id: str
    #: The provider's word for what happened.
    event: str
    #: JSON, the bytes that came wherever they were JSON already.
    payload: bytes
    tags: Mapping[str, str] = field(default_factory=dict)
    #: Whether an answer would be shown to somebody, so that there must be none.
    silent: bool = False


@dataclass(frozen=True, slots=True)
class Greeting:
    """Nothing happened: the provider asks whether we are there, and for an echo."""

    challenge: str | None = None


def header(headers: Headers, name: str) -> str:
    """Return a header that belongs to the proof; raises `Unproven` without it."""
    value = headers.get(name)
    if not value:
        raise Unproven("unsigned")
    return value


def octets(text: str) -> bytes:
    """Return a header's value as it came, whatever bytes it had."""
    return text.encode("utf-8", "surrogateescape")


def require_fresh(timestamp: str, *, now: float) -> None:
    """Raise `Unproven` unless *timestamp* (Unix seconds) is about *now*."""
    if not _TIMESTAMP.fullmatch(timestamp):
        raise Unproven("unsigned")
    if abs(now - int(timestamp)) > TOLERANCE_SECONDS:
        raise Unproven("stale")


def hmacs(secrets: Sequence[str], signed: Iterable[bytes]) -> list[bytes]:
    """Return the HMAC-SHA256 of the pieces of *signed* with each of the secrets."""
    pieces = tuple(signed)
    found = []
    for secret in secrets:
        code = hmac.new(secret.encode(), digestmod="sha256")
        for piece in pieces:
            code.update(piece)
        found.append(code.digest())
    return found


def require_match(expected: Iterable[bytes], given: Iterable[str]) -> None:
    """Raise `Unproven` unless one that is given is one that is expected.

    All are compared, each in a time that does not depend on where they differ.
    """
    theirs = [octets(one) for one in given]
    matches = [hmac.compare_digest(ours, one) for ours in expected for one in theirs]
    if not any(matches):
        raise Unproven("forged")


def require_named(name: str, value: object) -> str:
    """Return what a believed request must say; raises `Malformed` when it does not."""
    if not isinstance(value, str) or not value:
        raise Malformed(Fault(name, "is required", "missing"))
    return value


def named(value: str) -> str:
    """Return a delivery's name as it can be kept: itself, or a hash of it."""
    if len(value) <= _ID_CHARACTERS_MAX and not _UNPRINTABLE.search(value):
        return value
    return hashed(value.encode("utf-8", "surrogateescape"))


def hashed(*pieces: bytes) -> str:
    """Return a name for what has none: the same for the same pieces."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return f"sha256:{digest.hexdigest()}"


def plain(text: str) -> str:
    """Return a provider's word as it can be kept and shown anywhere."""
    return _UNPRINTABLE.sub("?", text[:_EVENT_CHARACTERS_MAX])


def read_json(text: bytes | str) -> Any:
    """Return what JSON says; raises `Malformed` when it is none."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise Malformed(
            Fault("body", f"the body is not valid JSON: {error}", "INVALID_JSON")
        ) from error


def read_object(text: bytes | str) -> dict[str, Any]:
    """Return a JSON object; raises `Malformed` when it is none."""
    found = read_json(text)
    if not isinstance(found, dict):
        raise Malformed(Fault("body", "must be a JSON object", "dict_type"))
    return found


def is_form(headers: Headers) -> bool:
    """Return whether the body is a form."""
    return headers.get("Content-Type", "").partition(";")[0].strip().lower() == _FORM


def read_form(body: bytes) -> dict[str, str]:
    """Return a form's fields, the last of a name; raises `Malformed`."""
    try:
        pairs = parse_qsl(
            body.decode(),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_FORM_FIELDS_MAX,
        )
    except ValueError as error:
        raise Malformed(Fault("body", "the form cannot be read", "form")) from error
    return dict(pairs)
