"""Tokens are good when we signed them for this, and at no other time."""

import time
from base64 import b64encode, urlsafe_b64encode
from datetime import timedelta
from typing import Any
from uuid import UUID

import jwt
import pytest

from libs.common.errors import Unauthorized
from libs.common.ids import new_id
from libs.common.sealing import Sealer, Unsealable
from libs.common.tokens import (
    JWT_PREFIX,
    Tokens,
    derived_keys,
    read_keys,
    spelled_keys,
    token_keys,
)
from tests.support.waiting import until

KEY = b64encode(b"0123456789abcdef0123456789abcdef").decode()
OTHER_KEY = b64encode(b"fedcba9876543210fedcba9876543210").decode()
SESSION: dict[str, Any] = {
    "organization_id": UUID(int=1),
    "api_key_id": UUID(int=2),
    "session_id": UUID(int=3),
}


@pytest.fixture
def tokens():
    return Tokens(token_keys(KEY))


def forged(*, key=None, algorithm="HS256", **changes):
    """Return a token with claims of a session, changed, signed as said.

    A change that is a timedelta is that long after now.
    """
    now = int(time.time())
    claims = {
        "sub": str(UUID(int=1)),
        "api_key_id": str(UUID(int=2)),
        "sid": str(UUID(int=3)),
        "token_type": "access",
        "iat": now,
        "nbf": now,
        "exp": now + 60,
        "jti": str(new_id()),
        **changes,
    }
    claims = {
        name: now + int(value.total_seconds())
        if isinstance(value, timedelta)
        else value
        for name, value in claims.items()
        if value is not None
    }
    return jwt.encode(claims, key or derived_keys(KEY, "tokens")[0], algorithm)


def test_a_token_says_what_the_contract_has_in_it(tokens):
    token = tokens.sign("access", **SESSION, queues=("mail",), email="a@b.example")
    claims = tokens.read(token)

    assert token.startswith(JWT_PREFIX)
    assert claims.organization_id == UUID(int=1)
    assert claims.api_key_id == UUID(int=2)
    assert claims.session_id == UUID(int=3)
    assert claims.email == "a@b.example"
    assert set(claims.spelled) == {
        *("sub", "org_id", "api_key_id", "iat", "exp", "nbf", "jti"),
        *("queues", "token_type", "sid", "email"),
    }
    assert claims.spelled["queues"] == ["mail"]
    assert claims.spelled["exp"] - claims.spelled["iat"] == 24 * 3600


def test_a_refresh_token_lives_24_times_as_long():
    tokens = Tokens(token_keys(KEY), access_hours=2)
    claims = tokens.read(tokens.sign("refresh", **SESSION))

    assert claims.kind == "refresh"
    assert claims.spelled["exp"] - claims.spelled["iat"] == 48 * 3600


def test_a_forged_token_that_is_as_ours_is_read(tokens):
    assert tokens.read(forged()).session_id == UUID(int=3)


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": timedelta(minutes=-1)},
        {"nbf": timedelta(days=1)},
        {"iat": timedelta(days=1)},
        {"exp": None},
        {"jti": None},
        {"token_type": None},
        {"sub": None},
        {"sid": None},
        {"sid": "nobody"},
        {"api_key_id": "' OR 1=1"},
        {"key": derived_keys(OTHER_KEY, "tokens")[0]},
        {"key": derived_keys(KEY, "login codes")[0]},
        {"key": b"0123456789abcdef0123456789abcdef"},
        {"algorithm": "HS384"},
        {"algorithm": "HS512"},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
def test_what_is_not_ours_is_no_token(tokens, changes):
    with pytest.raises(Unauthorized, match=r"^Invalid token$"):
        tokens.read(forged(**changes))


def test_a_token_that_nobody_signed_is_no_token(tokens):
    head = urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
    body = forged().split(".")[1]

    for token in (
        f"{head}.{body}.",
        f"{head}.{body}",
        "eyJ",
        "",
        "a.b.c",
        "eyJ\x00..",
        "eyJ\udc80",
    ):
        with pytest.raises(Unauthorized, match=r"^Invalid token$"):
            tokens.read(token)


async def test_a_token_that_is_known_already_ends_all_the_same(tokens):
    token = forged(exp=int(time.time()) - 4)
    assert tokens.read(token) is tokens.read(token)

    def is_over():
        try:
            tokens.read(token)
        except Unauthorized:
            return True
        return False

    await until(is_over, at_most=5)


def test_all_keys_verify_and_the_newest_signs():
    old, both, new = (
        Tokens(token_keys(keys)) for keys in (KEY, f"{OTHER_KEY},{KEY}", OTHER_KEY)
    )

    assert both.read(old.sign("access", **SESSION))
    assert new.read(both.sign("access", **SESSION))
    with pytest.raises(Unauthorized):
        old.read(both.sign("access", **SESSION))


def test_a_signup_token_founds_and_does_nothing_else(tokens):
    token = tokens.sign_signup("a@b.example")

    assert tokens.read_signup(token) == "a@b.example"
    with pytest.raises(Unauthorized, match="Invalid token type"):
        tokens.read(token)
    with pytest.raises(Unauthorized, match="Invalid token type"):
        tokens.read_signup(tokens.sign("access", **SESSION))


def test_a_token_key_of_its_own_signs_and_opens_nothing_that_is_sealed():
    derived = token_keys(KEY)

    assert read_keys(spelled_keys(derived)) == derived
    assert read_keys(f" {KEY}, {OTHER_KEY}") == (
        b"0123456789abcdef0123456789abcdef",
        b"fedcba9876543210fedcba9876543210",
    )
    sealed = Sealer(KEY).seal(b"secret", owner="acme")
    with pytest.raises(Unsealable):
        Sealer(spelled_keys(derived)).unseal(sealed, owner="acme")


@pytest.mark.parametrize("text", ["", "not base64!", "c2hvcnQ=", f"{KEY},", "é"])
def test_what_is_no_token_key_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        read_keys(text)
