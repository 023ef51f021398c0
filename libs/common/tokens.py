"""Tokens of who has signed in: JWTs (RFC 7519), signed with HS256 and nothing else.

The signing keys are ``BELLHOP_TOKEN_KEY`` or, without that, derived from
``BELLHOP_SECRET_KEY`` (HKDF, RFC 5869), one for each purpose, so that what is signed
for one cannot pass for another, and who only knows tokens by theirs can open nothing
that is sealed.  The newest key signs, all of them verify: keys are changed by putting
a new one in front.

A token says who it was made for; whether that still holds is asked of Postgres
(`libs.common.access`).
"""

import time
from base64 import b64decode, b64encode
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal
from uuid import UUID

import jwt
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from libs.common.errors import Unauthorized
from libs.common.ids import new_id, parse_id

Kind = Literal["access", "refresh", "signup"]

#: How every JWT begins: ``{"`` in base64.
JWT_PREFIX: Final = "eyJ"
SIGNUP_SECONDS: Final = 900
#: A refresh token lives this many times as long as an access token (contract 1.2).
_REFRESH_FACTOR: Final = 24
#: How far the clocks of two replicas may be apart.
_LEEWAY_SECONDS: Final = 5
_ALGORITHM: Final = "HS256"
_KEY_BYTES: Final = 32
#: How many tokens to know again without their signature.
_VERIFIED_MAX: Final = 5_000
_REQUIRED: Final = ["sub", "iat", "exp", "nbf", "jti", "token_type"]


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token of a session says; *spelled* is all of it, as it was signed."""

    kind: str
    organization_id: UUID
    api_key_id: UUID
    session_id: UUID
    issued_at: datetime
    expires_at: datetime
    email: str | None
    spelled: dict[str, Any]


def read_keys(token_key: str) -> tuple[bytes, ...]:
    """Return the keys of ``BELLHOP_TOKEN_KEY``: base64, commas between, newest first.

    Raises `ValueError` when one is not 32 bytes.
    """
    keys = tuple(
        b64decode(text.strip(), validate=True) for text in token_key.split(",")
    )
    if any(len(key) != _KEY_BYTES for key in keys):
        raise ValueError("a token key is 32 bytes in base64")
    return keys


def token_keys(secret_key: str) -> tuple[bytes, ...]:
    """Return what signs tokens where there is no ``BELLHOP_TOKEN_KEY``."""
    return derived_keys(secret_key, "tokens")


def spelled_keys(keys: Sequence[bytes]) -> str:
    """Return *keys* as ``BELLHOP_TOKEN_KEY`` spells them."""
    return ",".join(b64encode(key).decode() for key in keys)


def derived_keys(secret_key: str, purpose: str) -> tuple[bytes, ...]:
    """Return a key for *purpose* from each key of ``BELLHOP_SECRET_KEY``, in order."""
    return tuple(
        HKDF(
            algorithm=SHA256(),
            length=_KEY_BYTES,
            salt=None,
            info=f"bellhop/{purpose}".encode(),
        ).derive(b64decode(text.strip(), validate=True))
        for text in secret_key.split(",")
    )


class Tokens:
    """Signs and reads tokens; *keys* are newest first."""

    def __init__(self, keys: Sequence[bytes], *, access_hours: int = 24) -> None:
        self._keys: Final = tuple(keys)
        #: What was verified: a signature does not become wrong, it only ends.
        self._verified: OrderedDict[str, Claims] = OrderedDict()
        self.access_seconds: Final = access_hours * 3600
        self.refresh_seconds: Final = self.access_seconds * _REFRESH_FACTOR

    def sign(
        self,
        kind: Literal["access", "refresh"],
        *,
        organization_id: UUID,
        api_key_id: UUID,
        session_id: UUID,
        queues: tuple[str, ...] = (),
        email: str | None = None,
    ) -> str:
        """Return a token of a session (contract 1.2)."""
        claims: dict[str, Any] = {
            "sub": str(organization_id),
            "org_id": str(organization_id),
            "api_key_id": str(api_key_id),
            "sid": str(session_id),
            "queues": list(queues),
        }
        if email is not None:
            claims["email"] = email
        seconds = self.access_seconds if kind == "access" else self.refresh_seconds
        return self._sign(kind, claims, seconds)

    def sign_signup(self, email: str) -> str:
        """Return a token that lets who has this address found an organization."""
        return self._sign("signup", {"sub": email}, SIGNUP_SECONDS)

    def read(self, token: str) -> Claims:
        """Return what a token of a session says; raises `Unauthorized`."""
        claims = self._verified.get(token)
        if claims is None or claims.spelled["exp"] <= time.time() - _LEEWAY_SECONDS:
            self._verified.pop(token, None)
            self._verified[token] = claims = self._claims(token)
            while len(self._verified) > _VERIFIED_MAX:
                self._verified.popitem(last=False)
        return claims

    def read_signup(self, token: str) -> str:
        """Return whose address it is; raises `Unauthorized`."""
        spelled = self._verify(token)
        if spelled["token_type"] != "signup":  # noqa: S105 - a kind, no secret
            raise Unauthorized("Invalid token type")
        return str(spelled["sub"])

    def _claims(self, token: str) -> Claims:
        spelled = self._verify(token)
        ids = [
            parse_id(str(spelled.get(name))) for name in ("sub", "api_key_id", "sid")
        ]
        organization_id, api_key_id, session_id = ids
        if organization_id is None or api_key_id is None or session_id is None:
            other = spelled["token_type"] == "signup"  # noqa: S105 - a kind
            raise Unauthorized("Invalid token type" if other else "Invalid token")
        return Claims(
            kind=spelled["token_type"],
            organization_id=organization_id,
            api_key_id=api_key_id,
            session_id=session_id,
            issued_at=datetime.fromtimestamp(spelled["iat"], UTC),
            expires_at=datetime.fromtimestamp(spelled["exp"], UTC),
            email=spelled.get("email"),
            spelled=spelled,
        )

    def _sign(self, kind: Kind, claims: dict[str, Any], seconds: int) -> str:
        now = int(time.time())
        said = {
            **claims,
            "token_type": kind,
            "iat": now,
            "nbf": now,
            "exp": now + seconds,
            "jti": str(new_id()),
        }
        return jwt.encode(said, self._keys[0], algorithm=_ALGORITHM)

    def _verify(self, token: str) -> dict[str, Any]:
        if not token.isascii():
            raise Unauthorized("Invalid token")
        for key in self._keys:
            try:
                found: dict[str, Any] = jwt.decode(
                    token,
                    key,
                    # Never what the token itself asks for: "none" is an algorithm too.
                    algorithms=[_ALGORITHM],
                    leeway=_LEEWAY_SECONDS,
                    options={"require": _REQUIRED},
                )
            except jwt.InvalidSignatureError:
                continue
            except jwt.InvalidTokenError as error:
                raise Unauthorized("Invalid token") from error
            return found
        raise Unauthorized("Invalid token")
