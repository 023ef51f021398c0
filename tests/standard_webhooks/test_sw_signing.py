"""Standard Webhooks 1.0, sender: keys and signatures (SW-05 to SW-11, SW-23).

Every signature is checked by the packages ``standardwebhooks`` and ``svix``, or is a
vector of the specification; those of ed25519 by the bare primitive, for neither of the
packages knows them.
"""

import hmac
import json
import os
import re
import time
from base64 import b64decode, b64encode
from datetime import UTC, datetime

import pytest
import standardwebhooks
import svix.webhooks
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from libs.common.ids import new_id
from libs.common.keys import (
    new_secret,
    public_key_of,
    read_public_key,
    read_seed,
    read_signing_secret,
    spelled_private_key,
    spelled_public_key,
    spelled_secret,
)
from libs.common.messages import Receiver, SealedKey
from services.delivery.manners import Manners
from services.delivery.signature import Asymmetric, Signer, Symmetric
from tests.standard_webhooks.vectors import (
    BODY,
    ID,
    TIMESTAMP,
    V1,
    V1A,
    WHPK,
    WHSEC,
    WHSK,
)
from tests.support.delivery import SEALER, headers_in, job

ENDPOINT = str(new_id())
STRANGERS = [standardwebhooks.Webhook, svix.webhooks.Webhook]


def signed_headers(*keys, body=b"{}", timestamp=None, **fields):
    """Return the headers that a pod sends to an endpoint with these keys."""
    receiver = Receiver(
        keys=[
            SealedKey(scheme=scheme, sealed=SEALER.seal(key, owner=ENDPOINT))
            for scheme, key in keys
        ],
        style=fields.pop("style", "standard"),
    )
    one = job("https://a.example/", body, endpoint_id=ENDPOINT, **fields)
    manner = Manners(SEALER).of_receiver(ENDPOINT, receiver)
    at = timestamp or int(time.time())
    return headers_in(manner.lines(one, body, timestamp=at))


def items(headers):
    return [item.split(",") for item in headers["webhook-signature"].split(" ")]


def test_the_vectors():
    secret, seed = read_signing_secret(WHSEC), read_seed(WHSK)

    assert Signer([Symmetric(secret)]).sign(ID, TIMESTAMP, BODY) == V1
    assert Signer([Asymmetric(seed)]).sign(ID, TIMESTAMP, BODY) == V1A
    headers = signed_headers(
        ("v1", secret), ("v1a", seed), body=BODY, timestamp=TIMESTAMP, webhook_id=ID
    )
    assert headers["webhook-signature"] == f"{V1} {V1A}"


@given(st.binary(max_size=300))
def test_sw_05_signed_are_the_bytes_that_are_sent(body):
    secret = os.urandom(32)

    headers = signed_headers(("v1", secret), body=body, webhook_id="msg_1")

    signed = b".".join([b"msg_1", headers["webhook-timestamp"].encode(), body])
    code = b64encode(hmac.digest(secret, signed, "sha256")).decode()
    assert headers["webhook-signature"] == f"v1,{code}"


@pytest.mark.parametrize("stranger", STRANGERS)
@given(st.text(max_size=100), st.binary(min_size=24, max_size=64))
def test_sw_06_v1_is_hmac_sha256_in_padded_standard_base64(stranger, text, secret):
    headers = signed_headers(("v1", secret), body=json.dumps(text).encode())

    ((version, code),) = items(headers)
    assert version == "v1"
    assert re.fullmatch(r"[A-Za-z0-9+/]{43}=", code)
    # It reads what it has verified as JSON: this is.
    stranger(spelled_secret(secret)).verify(json.dumps(text).encode(), dict(headers))


@pytest.mark.parametrize("stranger", STRANGERS)
def test_sw_06_a_stranger_signs_as_we_do(stranger):
    now = datetime.now(UTC).replace(microsecond=0)

    theirs = stranger(WHSEC).sign(ID, now, BODY.decode())

    ours = Signer([Symmetric(read_signing_secret(WHSEC))])
    assert ours.sign(ID, int(now.timestamp()), BODY) == theirs


@given(st.binary(max_size=300), st.binary(min_size=32, max_size=32))
def test_sw_07_v1a_is_ed25519_over_the_same_bytes(body, seed):
    headers = signed_headers(("v1a", seed), body=body, webhook_id="msg_1")

    ((version, code),) = items(headers)
    assert version == "v1a"
    signed = b".".join([b"msg_1", headers["webhook-timestamp"].encode(), body])
    key = Ed25519PublicKey.from_public_bytes(public_key_of(seed))
    key.verify(b64decode(code, validate=True), signed)
    with pytest.raises(InvalidSignature):
        key.verify(b64decode(code), signed + b" ")


def test_sw_08_the_header_is_a_list_with_spaces_the_current_key_first():
    current, old, seed = os.urandom(32), os.urandom(24), os.urandom(32)

    headers = signed_headers(("v1", current), ("v1a", seed), ("v1", old))

    assert headers["webhook-signature"].count(" ") == 2
    assert [version for version, _ in items(headers)] == ["v1", "v1a", "v1"]
    alone = signed_headers(
        ("v1", current),
        timestamp=int(headers["webhook-timestamp"]),
        webhook_id=headers["webhook-id"],
    )
    assert headers["webhook-signature"].startswith(alone["webhook-signature"] + " ")


@pytest.mark.parametrize("stranger", STRANGERS)
def test_sw_09_while_a_key_takes_over_both_of_them_are_good(stranger):
    new, old, seed = os.urandom(32), os.urandom(32), os.urandom(32)

    headers = dict(signed_headers(("v1a", seed), ("v1", new), ("v1", old)))

    for secret in (new, old):
        stranger(spelled_secret(secret)).verify(b"{}", headers)
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        stranger(spelled_secret(os.urandom(32))).verify(b"{}", headers)
    # And when the overlap is over, only the new one is.
    headers = dict(signed_headers(("v1", new)))
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        stranger(spelled_secret(old)).verify(b"{}", headers)


def test_sw_10_a_secret_is_random_of_32_bytes_and_spelled_whsec():
    secrets = {new_secret() for _ in range(1000)}

    assert len(secrets) == 1000
    assert {len(secret) for secret in secrets} == {32}
    text = spelled_secret(secrets.pop())
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=", text)
    assert len(standardwebhooks.Webhook(text)._whsecret) == 32
    for length in (24, 64):
        assert read_signing_secret(spelled_secret(b"x" * length))
    for length in (0, 23, 65):
        with pytest.raises(ValueError, match=r"^must"):
            read_signing_secret(spelled_secret(b"x" * length))


def test_sw_11_ed25519_keys_are_spelled_whsk_and_whpk():
    seed = read_seed(WHSK)

    assert spelled_private_key(seed) == WHSK
    assert spelled_public_key(public_key_of(seed)) == WHPK
    assert b64decode(WHSK.removeprefix("whsk_")) == seed + read_public_key(WHPK)


@pytest.mark.parametrize("stranger", STRANGERS)
def test_sw_23_yesterdays_headers_go_beside_those_of_the_standard(stranger):
    secret = os.urandom(32)

    headers = signed_headers(
        ("v1", secret),
        ("contract", b"yesterday's"),
        style="contract",
        headers={"X-Spooled-Event": "job.completed"},
    )

    stranger(spelled_secret(secret)).verify(b"{}", dict(headers))
    signed = f"{headers['X-Spooled-Timestamp']}.{{}}".encode()
    code = hmac.digest(b"yesterday's", signed, "sha256").hex()
    assert headers["X-Spooled-Signature"] == f"sha256={code}"
    assert headers["X-Spooled-Event"] == "job.completed"


def test_sw_23_a_secret_of_yesterday_may_sign_on():
    yesterday = "whsec_" + b64encode(b"a secret that somebody already has").decode()

    headers = signed_headers(("v1", read_signing_secret(yesterday)))

    standardwebhooks.Webhook(yesterday).verify(b"{}", dict(headers))
