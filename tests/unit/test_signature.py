"""Signatures: as the specification has them, and as a stranger checks them."""

import os
import time
from base64 import b64decode, b64encode

import pytest
import standardwebhooks
from hypothesis import given
from hypothesis import strategies as st

from libs.common.sealing import Sealer, Unsealable
from services.delivery.signature import KeyRing, Signer

#: The vector of Standard Webhooks.
SECRET = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
TIMESTAMP = 1614265330
BODY = b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="

ids = st.from_regex(r"[A-Za-z0-9_-]{1,128}", fullmatch=True)
secrets = st.binary(min_size=24, max_size=64)
json_bodies = st.text(max_size=200).map(str.encode)


def headers(id_, timestamp, signature):
    return {
        "webhook-id": id_,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature,
    }


def test_the_vector_of_the_specification():
    assert Signer([b64decode(SECRET)]).sign(ID, TIMESTAMP, BODY) == SIGNATURE


def test_a_signer_signs_again_and_again():
    signer = Signer([b64decode(SECRET)])

    signer.sign("another", 1, b"another")

    assert signer.sign(ID, TIMESTAMP, BODY) == SIGNATURE


@given(ids, json_bodies, st.lists(secrets, min_size=1, max_size=3, unique=True))
def test_whoever_knows_one_of_the_secrets_can_check(id_, body, known):
    now = int(time.time())
    signature = Signer(known).sign(id_, now, body)

    for secret in known:
        receiver = standardwebhooks.Webhook("whsec_" + b64encode(secret).decode())
        receiver.verify(body, headers(id_, now, signature), json_parse=False)


@given(ids, st.binary(max_size=200), secrets, st.integers(0, 199), st.integers(0, 7))
def test_one_bit_of_difference_is_another_signature(id_, body, secret, place, bit):
    other = bytearray(body or b"\0")
    other[place % len(other)] ^= 1 << bit
    signer = Signer([secret])

    assert signer.sign(id_, 1, body) != signer.sign(id_, 1, bytes(other))
    assert signer.sign(id_, 1, body) != signer.sign(id_, 2, body)


def test_the_newest_secret_signs_first():
    new, old = os.urandom(32), os.urandom(32)

    both = Signer([new, old]).sign(ID, TIMESTAMP, BODY)

    assert both.split(" ") == [
        Signer([new]).sign(ID, TIMESTAMP, BODY),
        Signer([old]).sign(ID, TIMESTAMP, BODY),
    ]


@pytest.fixture
def sealer():
    return Sealer(b64encode(os.urandom(32)).decode())


def test_a_key_ring_opens_what_was_sealed_for_an_organization(sealer):
    sealed = sealer.seal(b64decode(SECRET), owner="org-1")

    signer = KeyRing(sealer).signer("org-1", [sealed])

    assert signer.sign(ID, TIMESTAMP, BODY) == SIGNATURE


def test_a_key_ring_opens_the_same_secrets_once(sealer):
    keys = KeyRing(sealer)
    old, new = (sealer.seal(os.urandom(32), owner="org-1") for _ in range(2))

    assert keys.signer("org-1", [old]) is keys.signer("org-1", [old])
    assert keys.signer("org-1", [old]) is not keys.signer("org-1", [new, old])


def test_nothing_goes_out_unsigned(sealer):
    keys = KeyRing(sealer)
    sealed = sealer.seal(os.urandom(32), owner="org-1")
    foreign = Sealer(b64encode(os.urandom(32)).decode()).seal(b"x" * 32, owner="org-1")

    for organization, secrets_ in [
        ("org-1", []),
        ("org-2", [sealed]),
        ("org-1", [foreign]),
        ("org-1", [sealed, foreign]),
        ("org-1", [sealed[:-1]]),
        ("org-1", [b""]),
    ]:
        with pytest.raises(Unsealable):
            keys.signer(organization, secrets_)
