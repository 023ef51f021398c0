"""Signatures: as the specification has them, and as a stranger checks them."""

import os
import time
from base64 import b64decode, b64encode

import standardwebhooks
from hypothesis import given
from hypothesis import strategies as st

from libs.common.keys import read_seed
from services.delivery.signature import (
    Asymmetric,
    ContractSigner,
    Signer,
    Symmetric,
)

#: The vector of Standard Webhooks.
SECRET = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
TIMESTAMP = 1614265330
BODY = b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
SEED = (
    "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9l"
    "MicMFs6Kvg=="
)
ASYMMETRIC_SIGNATURE = (
    "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8E"
    "M+m7TBAg=="
)

ids = st.from_regex(r"[A-Za-z0-9_-]{1,128}", fullmatch=True)
secrets = st.binary(min_size=24, max_size=64)
json_bodies = st.text(max_size=200).map(str.encode)


def headers(id_, timestamp, signature):
    return {
        "webhook-id": id_,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature,
    }


def test_the_vectors_of_the_specification():
    symmetric, asymmetric = Symmetric(b64decode(SECRET)), Asymmetric(read_seed(SEED))

    assert Signer([symmetric]).sign(ID, TIMESTAMP, BODY) == SIGNATURE
    assert Signer([asymmetric]).sign(ID, TIMESTAMP, BODY) == ASYMMETRIC_SIGNATURE


def test_keys_of_both_schemes_sign_in_the_order_they_are_given():
    symmetric, asymmetric = Symmetric(b64decode(SECRET)), Asymmetric(read_seed(SEED))

    both = Signer([asymmetric, symmetric]).sign(ID, TIMESTAMP, BODY)

    assert both == f"{ASYMMETRIC_SIGNATURE} {SIGNATURE}"


def test_the_signature_of_an_outgoing_webhook():
    # printf '1700000000.{}' | openssl dgst -sha256 -hmac s3cret
    signature = ContractSigner(b"s3cret").sign(1700000000, b"{}")

    assert signature == (
        "sha256=97926816e98fbb41ccb1673225ff29a2f35369099990e1b1561651e7bd097ebf"
    )


def test_a_signer_signs_again_and_again():
    signer = Signer([Symmetric(b64decode(SECRET))])

    signer.sign("another", 1, b"another")

    assert signer.sign(ID, TIMESTAMP, BODY) == SIGNATURE


@given(ids, json_bodies, st.lists(secrets, min_size=1, max_size=3, unique=True))
def test_whoever_knows_one_of_the_secrets_can_check(id_, body, known):
    now = int(time.time())
    signature = Signer([Symmetric(secret) for secret in known]).sign(id_, now, body)

    for secret in known:
        receiver = standardwebhooks.Webhook("whsec_" + b64encode(secret).decode())
        receiver.verify(body, headers(id_, now, signature), json_parse=False)


@given(ids, st.binary(max_size=200), secrets, st.integers(0, 199), st.integers(0, 7))
def test_one_bit_of_difference_is_another_signature(id_, body, secret, place, bit):
    other = bytearray(body or b"\0")
    other[place % len(other)] ^= 1 << bit
    signer = Signer([Symmetric(secret)])

    assert signer.sign(id_, 1, body) != signer.sign(id_, 1, bytes(other))
    assert signer.sign(id_, 1, body) != signer.sign(id_, 2, body)


def test_the_newest_secret_signs_first():
    new, old = os.urandom(32), os.urandom(32)

    both = Signer([Symmetric(new), Symmetric(old)]).sign(ID, TIMESTAMP, BODY)

    assert both.split(" ") == [
        Signer([Symmetric(new)]).sign(ID, TIMESTAMP, BODY),
        Signer([Symmetric(old)]).sign(ID, TIMESTAMP, BODY),
    ]
