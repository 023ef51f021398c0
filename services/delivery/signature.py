"""Signatures as Standard Webhooks 1.0 has them (pure).

Signed are ``id.timestamp.body``, the body being the exact bytes that are sent.  Each
signature reads ``v1,`` and the base64 of HMAC-SHA256.  There is one for every secret
that is still good, newest first, with a space between them: a receiver that has not
yet heard of a rotation finds the one it can check.
"""

import hmac
from base64 import b64encode
from collections.abc import Sequence
from functools import lru_cache

from libs.common.sealing import Sealer, Unsealable


class Signer:
    """Signs with all the secrets an organization has, newest first."""

    def __init__(self, secrets: Sequence[bytes]) -> None:
        # Hashing the key is half the work for a small body: it is done once.
        self._keys = [hmac.new(secret, digestmod="sha256") for secret in secrets]

    def sign(self, id_: str, timestamp: int, body: bytes) -> str:
        """Return the ``webhook-signature`` of *body*, sent at *timestamp* (Unix)."""
        head = f"{id_}.{timestamp}.".encode()
        return " ".join([_signature(key, head, body) for key in self._keys])


def _signature(key: hmac.HMAC, head: bytes, body: bytes) -> str:
    code = key.copy()
    code.update(head)
    code.update(body)
    return "v1," + b64encode(code.digest()).decode()


class KeyRing:
    """Opens sealed secrets, and remembers the signers it made of them."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer
        self._signer = lru_cache(maxsize=4096)(self._open)

    def signer(self, organization_id: str, sealed: Sequence[bytes]) -> Signer:
        """Return who signs for an organization with these secrets, newest first.

        Raises `Unsealable` when one of them cannot be opened, or there is none: an
        attempt is never made unsigned.
        """
        return self._signer(organization_id, tuple(sealed))

    def _open(self, organization_id: str, sealed: tuple[bytes, ...]) -> Signer:
        if not sealed:
            raise Unsealable("an organization without a signing secret")
        return Signer(
            [self._sealer.unseal(secret, owner=organization_id) for secret in sealed]
        )
