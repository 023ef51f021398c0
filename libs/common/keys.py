"""Signing keys, and how Standard Webhooks spells them (pure).

``whsec_``
    The base64 of a secret, known to both sides (scheme v1, HMAC-SHA256).
``whsk_`` and ``whpk_``
    The base64 of an ed25519 key (scheme v1a): of its seed of 32 bytes followed by the
    public key, and of the public key alone, which is what a receiver gets.
"""

import secrets
from base64 import b64decode, b64encode
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

#: What the specification asks for, and what we make.
SECRET_BYTES_MIN: Final = 24
SECRET_BYTES_MAX: Final = 64
_SECRET_BYTES: Final = 32
_SEED_BYTES: Final = 32
_PUBLIC_KEY_BYTES: Final = 32

_SECRET: Final = "whsec_"  # noqa: S105 - a prefix
_PRIVATE_KEY: Final = "whsk_"
_PUBLIC_KEY: Final = "whpk_"


def new_secret() -> bytes:
    """Return a new secret, or a new seed: they are as long."""
    return secrets.token_bytes(_SECRET_BYTES)


def public_key_of(seed: bytes) -> bytes:
    """Return the public half of the key that *seed* makes."""
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def spelled_secret(secret: bytes) -> str:
    """Return ``whsec_…``."""
    return _SECRET + b64encode(secret).decode()


def spelled_private_key(seed: bytes) -> str:
    """Return ``whsk_…``."""
    return _PRIVATE_KEY + b64encode(seed + public_key_of(seed)).decode()


def spelled_public_key(public_key: bytes) -> str:
    """Return ``whpk_…``."""
    return _PUBLIC_KEY + b64encode(public_key).decode()


def read_secret(text: str) -> bytes:
    """Read a secret as a receiver writes it down: prefix and padding may be missing.

    Raises `ValueError` when it is not base64, or empty.
    """
    secret = _bytes_of(text.removeprefix(_SECRET))
    if not secret:
        raise ValueError("must not be empty")
    return secret


def read_signing_secret(text: str) -> bytes:
    """Read a secret that is to sign from now on: of the length the standard asks for.

    Raises `ValueError`.
    """
    secret = read_secret(text)
    if not SECRET_BYTES_MIN <= len(secret) <= SECRET_BYTES_MAX:
        raise ValueError(
            f"must be the base64 of {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes"
        )
    return secret


def read_seed(text: str) -> bytes:
    """Read ``whsk_…`` and return its seed; raises `ValueError`."""
    key = _bytes_of(text.removeprefix(_PRIVATE_KEY))
    seed, public_key = key[:_SEED_BYTES], key[_SEED_BYTES:]
    if len(seed) != _SEED_BYTES or public_key not in {b"", public_key_of(seed)}:
        raise ValueError(
            "must be an ed25519 key, with the public key that belongs to it"
        )
    return seed


def read_public_key(text: str) -> bytes:
    """Read ``whpk_…``; raises `ValueError`."""
    public_key = _bytes_of(text.removeprefix(_PUBLIC_KEY))
    if len(public_key) != _PUBLIC_KEY_BYTES:
        raise ValueError("must be an ed25519 public key")
    return public_key


def _bytes_of(text: str) -> bytes:
    try:
        return b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        # What the library says may quote the text.
        raise ValueError("must be base64") from None
