"""Secrets at rest and in transit: AES-256-GCM, with the key's id in the sealed text.

Signing secrets stand sealed in Postgres and travel sealed on the bus; only the
delivery service opens them.  Layout of a sealed secret: ``1`` (version), 4 bytes of
key id, 12 bytes of nonce (random, NIST SP 800-38D section 8.2.2), ciphertext + tag.
"""

import hashlib
import os
from base64 import b64decode
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from libs.common.errors import BellhopError

_VERSION: Final = b"1"
_KEY_BYTES: Final = 32
_ID_BYTES: Final = 4
_NONCE_BYTES: Final = 12


class Unsealable(BellhopError):  # noqa: N818
    """The secret was sealed with a key that is not here, or was altered."""


class Sealer:
    """Seals with the first of its keys, opens with any of them."""

    def __init__(self, keys_base64: str) -> None:
        """Take a comma-separated list of base64 keys of 32 bytes, newest first.

        Raises `ValueError` when a key is not that.
        """
        self._keys: dict[bytes, AESGCM] = {}
        for text in keys_base64.split(","):
            key = b64decode(text.strip(), validate=True)
            if len(key) != _KEY_BYTES:
                raise ValueError("a secret key is 32 bytes in base64")
            self._keys[hashlib.sha256(key).digest()[:_ID_BYTES]] = AESGCM(key)
        self._newest: Final = next(iter(self._keys))

    @property
    def newest_id(self) -> bytes:
        """The id of the key that seals, as it stands in what it sealed."""
        return self._newest

    def seal(self, secret: bytes, *, owner: str) -> bytes:
        """Seal *secret* for *owner*; it opens for nobody else."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._keys[self._newest].encrypt(nonce, secret, owner.encode())
        return _VERSION + self._newest + nonce + sealed

    def unseal(self, sealed: bytes, *, owner: str) -> bytes:
        """Open what was sealed for *owner*; raises `Unsealable`."""
        if len(sealed) < len(_VERSION) + _ID_BYTES + _NONCE_BYTES:
            raise Unsealable("a sealed secret was cut off")
        version, rest = sealed[:1], sealed[1:]
        key_id, rest = rest[:_ID_BYTES], rest[_ID_BYTES:]
        nonce, text = rest[:_NONCE_BYTES], rest[_NONCE_BYTES:]
        key = self._keys.get(key_id)
        if version != _VERSION or key is None:
            raise Unsealable(f"no key {key_id.hex()} for a sealed secret")
        try:
            return key.decrypt(nonce, text, owner.encode())
        except InvalidTag as error:
            raise Unsealable("a sealed secret was altered") from error
