"""Signatures as Standard Webhooks 1.0 has them, and the contract's own (pure).

Signed are ``id.timestamp.body``, the body being the exact bytes that are sent.  Each
signature reads ``v1,`` and the base64 of HMAC-SHA256, or ``v1a,`` and that of ed25519.
There is one for every key that is still good, the current one first, with a space
between them: a receiver that has not yet heard of a rotation, or of another scheme,
finds the one it can check.

Outgoing webhooks have a signature beside it that knows no id (contract 5.7).
"""

import hmac
from base64 import b64encode
from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


class Symmetric:
    """Signs as ``v1``."""

    def __init__(self, secret: bytes) -> None:
        # Hashing the key is half the work for a small body: it is done once.
        self._code = hmac.new(secret, digestmod="sha256")

    def sign(self, head: bytes, body: bytes) -> str:
        """Return the signature of *head* followed by *body*."""
        code = self._code.copy()
        code.update(head)
        code.update(body)
        return "v1," + b64encode(code.digest()).decode()


class Asymmetric:
    """Signs as ``v1a``."""

    def __init__(self, seed: bytes) -> None:
        """Raise `ValueError` unless *seed* has 32 bytes."""
        self._key = Ed25519PrivateKey.from_private_bytes(seed)

    def sign(self, head: bytes, body: bytes) -> str:
        """Return the signature of *head* followed by *body*."""
        return "v1a," + b64encode(self._key.sign(head + body)).decode()


class Signer:
    """Signs with all the keys there are, the current one first."""

    def __init__(self, keys: Sequence[Symmetric | Asymmetric]) -> None:
        self._keys = tuple(keys)

    def sign(self, id_: str, timestamp: int, body: bytes) -> str:
        """Return the ``webhook-signature`` of *body*, sent at *timestamp* (Unix)."""
        head = f"{id_}.{timestamp}.".encode()
        return " ".join([key.sign(head, body) for key in self._keys])


class ContractSigner:
    """Signs ``timestamp.body`` with the text of a secret, in hex (contract 5.7)."""

    def __init__(self, secret: bytes) -> None:
        self._code = hmac.new(secret, digestmod="sha256")

    def sign(self, timestamp: int, body: bytes) -> str:
        """Return the ``X-Spooled-Signature`` of *body*, sent at *timestamp* (Unix)."""
        code = self._code.copy()
        code.update(f"{timestamp}.".encode())
        code.update(body)
        return f"sha256={code.hexdigest()}"
