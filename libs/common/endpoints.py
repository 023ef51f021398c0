"""What the sealed parts of an endpoint hold, as JSON (pure).

*auth* is how an endpoint is shown who we are, *tls* with which certificate, and whose
word is taken for its own.  Who seals and who opens them agree here.  Nothing of them
is ever shown: not in an answer, a log, an error or a traceback.
"""

from typing import Final, TypeVar

import msgspec


class Secretive(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A part that does not tell what it holds when it is printed."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class _Auth(Secretive, frozen=True, kw_only=True, tag_field="kind"):
    pass


class Basic(_Auth, frozen=True, kw_only=True, tag="basic"):
    """A name and a password (RFC 7617)."""

    username: str
    password: str


class Bearer(_Auth, frozen=True, kw_only=True, tag="bearer"):
    """A token that does not change (RFC 6750)."""

    token: str


class ApiKey(_Auth, frozen=True, kw_only=True, tag="api_key"):
    """A key in a header of the endpoint's choice."""

    header: str
    value: str


class OAuth2(_Auth, frozen=True, kw_only=True, tag="oauth2"):
    """Client credentials, for which *token_url* gives tokens (RFC 6749, 4.4)."""

    token_url: str
    client_id: str
    client_secret: str
    scope: str | None = None
    audience: str | None = None


Auth = Basic | Bearer | ApiKey | OAuth2


class Tls(Secretive, frozen=True, kw_only=True):
    """Certificates, each as PEM.

    *client_certificate* (with those that lead up to its authority) and *client_key*
    show who we are; with *ca*, only certificates of these authorities are taken.
    """

    client_certificate: str | None = None
    client_key: str | None = None
    ca: str | None = None


P = TypeVar("P")

_ENCODER: Final = msgspec.json.Encoder()
_AUTH: Final[msgspec.json.Decoder[Auth]] = msgspec.json.Decoder(Auth)
_TLS: Final = msgspec.json.Decoder(Tls)


def encode(part: Auth | Tls) -> bytes:
    """Return *part* as it is sealed."""
    return _ENCODER.encode(part)


def decode_auth(data: bytes) -> Auth:
    """Read what was unsealed; raises `ValueError` that tells nothing of it."""
    return _decoded(_AUTH, data)


def decode_tls(data: bytes) -> Tls:
    """Read what was unsealed; raises `ValueError` that tells nothing of it."""
    return _decoded(_TLS, data)


def _decoded(decoder: msgspec.json.Decoder[P], data: bytes) -> P:
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # What the library says may quote the data.
        raise ValueError("a sealed part of an endpoint cannot be read") from None
