"""Signatures on webhooks that come in, checked as Standard Webhooks 1.0 asks (pure).

Signed are ``id.timestamp.body``, the body being the exact bytes that came: they are
never decoded here, for what is signed need not be text.  Whoever sent them may have
written anything into the headers: whatever cannot be right is an `Unverified`, and
nothing else is ever raised.
"""

import hmac
import re
import time
from base64 import b64decode
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final, NamedTuple, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from libs.common.errors import BellhopError
from libs.common.keys import read_public_key, read_secret

#: How far a timestamp may be off, either way.
TOLERANCE_SECONDS: Final = 300.0
#: How long somebody may try again with the same id: all retries of our schedule.
REPEATS_SECONDS: Final = 4 * 24 * 3600.0

#: How many signatures of one message are looked at.  A rotation makes two or three.
_SIGNATURES_MAX: Final = 32
_TIMESTAMP: Final = re.compile(r"[0-9]{1,15}", re.ASCII)


class Reason(StrEnum):
    """Why a message is not taken for genuine."""

    MISSING_HEADERS = "a header of the signature is missing"
    MALFORMED_TIMESTAMP = "the timestamp is not a number of seconds"
    TOO_OLD = "the timestamp is too old"
    TOO_NEW = "the timestamp is in the future"
    INVALID_SIGNATURE = "the signature is not valid"


class Unverified(BellhopError):  # noqa: N818
    """The message is not, or no longer, one that its sender signed."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class Verified(NamedTuple):
    """A message that is genuine: *id* is the same when it is sent again."""

    id: str
    timestamp: int


class _Key(Protocol):
    def fits(self, signed: bytes, signature: bytes) -> bool: ...


class _Symmetric:
    """Checks ``v1``: HMAC-SHA256."""

    def __init__(self, secret: bytes) -> None:
        self._code = hmac.new(secret, digestmod="sha256")

    def fits(self, signed: bytes, signature: bytes) -> bool:
        code = self._code.copy()
        code.update(signed)
        return hmac.compare_digest(code.digest(), signature)


class _Asymmetric:
    """Checks ``v1a``: ed25519."""

    def __init__(self, public_key: bytes) -> None:
        self._key = Ed25519PublicKey.from_public_bytes(public_key)

    def fits(self, signed: bytes, signature: bytes) -> bool:
        try:
            self._key.verify(signature, signed)
        except InvalidSignature:
            return False
        return True


class Verifier:
    """Checks messages of one sender, with any of its keys."""

    def __init__(
        self,
        keys: Iterable[str],
        *,
        tolerance_seconds: float = TOLERANCE_SECONDS,
        prefix: str = "webhook",
    ) -> None:
        """Take secrets (``whsec_…``, or bare base64) and public keys (``whpk_…``).

        *prefix* is what the names of the three headers begin with.  Raises
        `ValueError` for what is no key, an empty secret included.
        """
        self._keys: dict[str, list[_Key]] = {"v1": [], "v1a": []}
        for text in keys:
            if text.startswith("whpk_"):
                self._keys["v1a"].append(_Asymmetric(read_public_key(text)))
            else:
                self._keys["v1"].append(_Symmetric(read_secret(text)))
        if not any(self._keys.values()):
            raise ValueError("must have a key")
        self._tolerance_seconds = tolerance_seconds
        self._names = tuple(f"{prefix}-{n}" for n in ("id", "timestamp", "signature"))

    def verify(
        self, body: bytes, headers: Mapping[str, str], *, now: float | None = None
    ) -> Verified:
        """Return what *body* was sent as; raises `Unverified`.

        The names of *headers* may be spelled in any case.  *now* is in Unix seconds.
        """
        id_, timestamp, signatures = _values(headers, self._names)
        if not (id_ and timestamp and signatures):
            raise Unverified(Reason.MISSING_HEADERS)
        if _TIMESTAMP.fullmatch(timestamp) is None:
            raise Unverified(Reason.MALFORMED_TIMESTAMP)
        age = (time.time() if now is None else now) - int(timestamp)
        if age > self._tolerance_seconds:
            raise Unverified(Reason.TOO_OLD)
        if -age > self._tolerance_seconds:
            raise Unverified(Reason.TOO_NEW)
        try:
            # What HTTP could not decode stands there as surrogates: it becomes the
            # same bytes again.
            head = f"{id_}.{timestamp}.".encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            raise Unverified(Reason.INVALID_SIGNATURE) from None
        if not self._fits(head + body, signatures):
            raise Unverified(Reason.INVALID_SIGNATURE)
        return Verified(id_, int(timestamp))

    def _fits(self, signed: bytes, signatures: str) -> bool:
        for item in signatures.split(" ", _SIGNATURES_MAX)[:_SIGNATURES_MAX]:
            scheme, _, text = item.partition(",")
            try:
                signature = b64decode(text, validate=True)
            except ValueError:
                continue
            # An unknown scheme has no keys.
            for key in self._keys.get(scheme, ()):
                if key.fits(signed, signature):
                    return True
        return False


def _values(headers: Mapping[str, str], names: Iterable[str]) -> list[str]:
    values = {name.lower(): value for name, value in headers.items()}
    return [values.get(name, "") for name in names]


class Seen:
    """Remembers the ids of messages that were dealt with, to tell repeats.

    Each for *seconds*, and never more than *ids_max*: then the oldest is forgotten.
    """

    def __init__(
        self, *, seconds: float = REPEATS_SECONDS, ids_max: int = 100_000
    ) -> None:
        self._seconds = seconds
        self._ids_max = ids_max
        self._ids: OrderedDict[str, float] = OrderedDict()

    def before(self, id_: str, *, now: float | None = None) -> bool:
        """Tell whether *id_* was seen before, and remember it from now on."""
        now = time.time() if now is None else now
        seen = self._ids.pop(id_, float("-inf")) > now - self._seconds
        self._ids[id_] = now
        while len(self._ids) > self._ids_max or self._oldest() <= now - self._seconds:
            self._ids.popitem(last=False)
        return seen

    def _oldest(self) -> float:
        return next(iter(self._ids.values()), float("inf"))
