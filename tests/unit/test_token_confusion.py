"""A token says nothing about how it is to be believed: our algorithm, our keys.

Written by hand, because no library makes what is wrong in just this way.
"""

import hashlib
import hmac
import json
import time
from base64 import b64encode, urlsafe_b64encode
from uuid import UUID

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from libs.common.errors import Unauthorized
from libs.common.tokens import Tokens, derived_keys, token_keys

SECRET_KEY = b64encode(b"0123456789abcdef0123456789abcdef").decode()
OURS = derived_keys(SECRET_KEY, "tokens")[0]
THEIRS = rsa.generate_private_key(public_exponent=65537, key_size=2048)
CURVE = ec.generate_private_key(ec.SECP256R1())
PUBLIC = THEIRS.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)


def coded(data):
    data = data if isinstance(data, bytes) else json.dumps(data).encode()
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def claims(**changes):
    now = int(time.time())
    return {
        "sub": str(UUID(int=1)),
        "api_key_id": str(UUID(int=2)),
        "sid": str(UUID(int=3)),
        "token_type": "access",
        "iat": now,
        "nbf": now,
        "exp": now + 60,
        "jti": "1",
        **changes,
    }


def token(head, sign, *, body=None):
    said = (
        f"{coded({'typ': 'JWT', **head})}.{coded(claims() if body is None else body)}"
    )
    return f"{said}.{coded(sign(said.encode()))}"


def with_key(key, algorithm="sha256"):
    return lambda said: hmac.new(key, said, getattr(hashlib, algorithm)).digest()


def rsa_signed(said):
    return THEIRS.sign(said, padding.PKCS1v15(), SHA256())


@pytest.fixture
def tokens():
    return Tokens(token_keys(SECRET_KEY))


def test_what_is_made_by_hand_as_ours_are_is_read(tokens):
    """Else nothing below would show anything."""
    assert tokens.read(token({"alg": "HS256"}, with_key(OURS))).session_id


JWK = {"kty": "oct", "k": coded(b"k" * 32)}
FORGED = {
    **{
        f"alg {name!r}": token({"alg": name}, lambda _: b"")
        for name in (
            "none",
            "None",
            "NONE",
            "nOnE",
            "",
            "HS256",
            "hs256",
            None,
            256,
            ["none"],
        )
    },
    "no alg": token({}, lambda _: b""),
    "none, signed": token({"alg": "none"}, with_key(OURS)),
    "RS256 by others": token({"alg": "RS256"}, rsa_signed),
    "HS256 by a public key": token({"alg": "HS256"}, with_key(PUBLIC)),
    "HS256 called RS256": token({"alg": "RS256"}, with_key(OURS)),
    "ES256 of nothing": token({"alg": "ES256"}, lambda _: bytes(64)),
    "ES256 by others": token(
        {"alg": "ES256"}, lambda said: CURVE.sign(said, ec.ECDSA(SHA256()))
    ),
    "HS384 by our key": token({"alg": "HS384"}, with_key(OURS, "sha384")),
    "HS512 by our key": token({"alg": "HS512"}, with_key(OURS, "sha512")),
    "a key of its own": token({"alg": "HS256", "jwk": JWK}, with_key(b"k" * 32)),
    "a set of keys of its own": token(
        {"alg": "HS256", "jku": "http://127.0.0.1:9/"}, with_key(b"k" * 32)
    ),
    "a certificate of its own": token(
        {"alg": "HS256", "x5u": "http://127.0.0.1:9/"}, with_key(b"k" * 32)
    ),
    **{
        f"the key {kid!r}": token({"alg": "HS256", "kid": kid}, with_key(b""))
        for kid in ("/dev/null", "../../../../dev/null", "' UNION SELECT ''", "", "0")
    },
    "the empty key": token({"alg": "HS256"}, with_key(b"")),
    "the secret key itself": token({"alg": "HS256"}, with_key(SECRET_KEY.encode())),
    "half a signature": token({"alg": "HS256"}, lambda s: with_key(OURS)(s)[:16]),
    "an extension that must be known": token(
        {"alg": "HS256", "crit": ["x"], "x": 1}, with_key(OURS)
    ),
    "a body that is a list": token({"alg": "HS256"}, with_key(OURS), body=b"[]"),
    "a body that is text": token({"alg": "HS256"}, with_key(OURS), body=b"no JSON"),
    "a time that is text": token(
        {"alg": "HS256"}, with_key(OURS), body=claims(exp="never")
    ),
    "an audience of others": token(
        {"alg": "HS256"}, with_key(OURS), body=claims(aud="others")
    ),
    "over": token({"alg": "HS256"}, with_key(OURS), body=claims(exp=1)),
    "not yet": token({"alg": "HS256"}, with_key(OURS), body=claims(nbf=2**33)),
    "two signatures": token({"alg": "HS256"}, with_key(OURS)) + ".e30",
    "a signature with a space": token({"alg": "HS256"}, with_key(OURS)) + " ",
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
def test_no_token_chooses_how_it_is_believed(tokens, forged):
    with pytest.raises(Unauthorized, match=r"^Invalid token$"):
        tokens.read(forged)


def test_a_token_without_what_is_asked_for_is_none(tokens):
    for name in ("sub", "api_key_id", "sid", "token_type", "iat", "nbf", "exp", "jti"):
        body = claims()
        del body[name]
        with pytest.raises(Unauthorized):
            tokens.read(token({"alg": "HS256"}, with_key(OURS), body=body))
