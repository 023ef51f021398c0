"""Standard Webhooks 1.0, receiver: SW-30 to SW-35, as our own verifier has them.

What it takes for genuine is signed by the packages ``standardwebhooks`` and ``svix``,
or is a vector of the specification.
"""

import hmac
import os
from base64 import b64encode
from datetime import UTC, datetime

import pytest
import standardwebhooks
import svix.webhooks
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import example, given
from hypothesis import strategies as st
from multidict import CIMultiDict

from libs.common.keys import read_seed, spelled_secret
from libs.common.verification import Reason, Seen, Unverified, Verified, Verifier
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

GENUINE = Verified(ID, TIMESTAMP)


def headers_of(signature=V1, *, id_=ID, timestamp=TIMESTAMP, prefix="webhook"):
    return {
        f"{prefix}-id": id_,
        f"{prefix}-timestamp": str(timestamp),
        f"{prefix}-signature": signature,
    }


def verified(verifier, headers, body=BODY, *, now=float(TIMESTAMP)):
    return verifier.verify(body, headers, now=now)


def why_not(verifier, headers, body=BODY, *, now=float(TIMESTAMP)):
    with pytest.raises(Unverified) as caught:
        verifier.verify(body, headers, now=now)
    return caught.value.reason


def signed(secret, body, *, id_="m", timestamp=1):
    code = hmac.digest(secret, f"{id_}.{timestamp}.".encode() + body, "sha256")
    return f"v1,{b64encode(code).decode()}"


SYMMETRIC = Verifier([WHSEC])
ASYMMETRIC = Verifier([WHPK])


def test_the_vectors_of_the_specification_are_genuine():
    assert verified(SYMMETRIC, headers_of(V1)) == GENUINE
    assert verified(ASYMMETRIC, headers_of(V1A)) == GENUINE


@pytest.mark.parametrize("webhook", [standardwebhooks.Webhook, svix.webhooks.Webhook])
def test_what_strangers_sign_is_genuine(webhook):
    now, body = datetime.now(UTC), '{"a": "ü"}'
    headers = headers_of(
        webhook(WHSEC).sign(ID, now, body), timestamp=int(now.timestamp())
    )

    assert SYMMETRIC.verify(body.encode(), headers).id == ID
    for changed in (b"", b'{"a":"\xc3\xbc"}', body.encode() + b"\n"):
        with pytest.raises(Unverified):
            SYMMETRIC.verify(changed, headers)


# --- SW-30 ---------------------------------------------------------------------------


def test_sw_30_all_three_headers_are_needed_in_whatever_case():
    assert verified(SYMMETRIC, {k.upper(): v for k, v in headers_of().items()})
    assert verified(SYMMETRIC, {k.title(): v for k, v in headers_of().items()})
    assert verified(SYMMETRIC, CIMultiDict(headers_of()))
    assert verified(Verifier([WHSEC], prefix="svix"), headers_of(prefix="svix"))

    for missing in headers_of():
        without = {k: v for k, v in headers_of().items() if k != missing}
        assert why_not(SYMMETRIC, without) is Reason.MISSING_HEADERS
        empty = {**headers_of(), missing: ""}
        assert why_not(SYMMETRIC, empty) is Reason.MISSING_HEADERS
    assert why_not(SYMMETRIC, {}) is Reason.MISSING_HEADERS
    assert why_not(SYMMETRIC, headers_of(prefix="svix")) is Reason.MISSING_HEADERS


# --- SW-31 ---------------------------------------------------------------------------


@given(st.binary(min_size=1, max_size=80), st.binary(max_size=50))
def test_sw_31_a_secret_may_lack_its_prefix_and_its_padding(secret, body):
    headers = headers_of(signed(secret, body), id_="m", timestamp=1)
    whole = spelled_secret(secret)

    for text in (whole, whole.removeprefix("whsec_"), whole.rstrip("=")):
        assert Verifier([text]).verify(body, headers, now=1) == Verified("m", 1)


@pytest.mark.parametrize("keys", [[""], ["whsec_"], ["whpk_"], [], [WHSEC, ""], ["!"]])
def test_sw_31_nothing_is_verified_with_an_empty_secret(keys):
    with pytest.raises(ValueError, match=r"^must "):
        Verifier(keys)


# --- SW-32 ---------------------------------------------------------------------------


@pytest.mark.parametrize("tolerance", [None, 0, 10, 86_400])
def test_sw_32_the_timestamp_may_be_off_five_minutes_or_as_told(tolerance):
    knobs = {} if tolerance is None else {"tolerance_seconds": tolerance}
    verifier = Verifier([WHSEC, WHPK], **knobs)
    most = 300 if tolerance is None else tolerance

    for off in (-most, 0, most):
        assert verified(verifier, headers_of(), now=TIMESTAMP + off) == GENUINE
    late, early = TIMESTAMP + most + 1, TIMESTAMP - most - 1
    assert why_not(verifier, headers_of(), now=late) is Reason.TOO_OLD
    assert why_not(verifier, headers_of(V1A), now=early) is Reason.TOO_NEW


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "-1",
        "+1",
        "1.5",
        "1e3",
        " 1",
        "1_0",
        "\N{FULLWIDTH DIGIT ONE}",
        "٣",
        "0x1",
        "nan",
        "9" * 16,
    ],
)
def test_sw_32_a_timestamp_is_a_number_of_seconds(text):
    headers = headers_of(timestamp=text)

    assert why_not(SYMMETRIC, headers) is Reason.MALFORMED_TIMESTAMP


# --- SW-33 ---------------------------------------------------------------------------


def test_sw_33_any_match_wins_and_unknown_versions_are_skipped():
    wrong = "v1," + b64encode(bytes(32)).decode()
    wrong_a = "v1a," + b64encode(bytes(64)).decode()
    both = Verifier(["whsec_" + b64encode(os.urandom(32)).decode(), WHSEC, WHPK])

    for items in (
        [wrong, V1],
        [V1, wrong],
        ["v2,xyz", "v1b,", wrong, wrong_a, V1],
        [wrong_a, V1A],
        [V1A, V1],
    ):
        assert verified(both, headers_of(" ".join(items))) == GENUINE

    digest = V1.removeprefix("v1,")
    for items in (
        [wrong],
        ["v2," + digest],
        ["v1a," + digest],
        [digest],
        ["V1," + digest],
    ):
        assert why_not(both, headers_of(" ".join(items))) is Reason.INVALID_SIGNATURE


def test_sw_33_a_key_of_one_scheme_checks_nothing_of_another():
    assert why_not(SYMMETRIC, headers_of(V1A)) is Reason.INVALID_SIGNATURE
    assert why_not(ASYMMETRIC, headers_of(V1)) is Reason.INVALID_SIGNATURE
    # Whoever knows the public key could sign with it, were it taken for a secret.
    forged = signed(
        Ed25519PrivateKey.from_private_bytes(read_seed(WHSK))
        .public_key()
        .public_bytes_raw(),
        BODY,
        id_=ID,
        timestamp=TIMESTAMP,
    )
    assert why_not(ASYMMETRIC, headers_of(forged)) is Reason.INVALID_SIGNATURE


@given(st.integers(0, 255), st.integers(0, 7), st.sampled_from(["id", "body", "time"]))
def test_sw_33_one_bit_of_difference_is_another_message(place, bit, part):
    body, id_, timestamp = bytearray(BODY), ID, TIMESTAMP
    if part == "body":
        body[place % len(body)] ^= 1 << bit
    elif part == "id":
        id_ = f"{id_[: place % len(id_)]}{chr(33 + bit)}{id_[place % len(id_) + 1 :]}"
    else:
        timestamp += 1 + bit
    for verifier, signature in ((SYMMETRIC, V1), (ASYMMETRIC, V1A)):
        headers = headers_of(signature, id_=id_, timestamp=timestamp)
        assert why_not(verifier, headers, bytes(body)) is Reason.INVALID_SIGNATURE


# --- SW-34 ---------------------------------------------------------------------------

MALFORMED = [
    "v1",
    "v1,",
    ",",
    " ",
    "v1,a,b",
    V1 + ",",
    V1.replace(",", ",,"),
    V1.replace(",", " "),
    V1[:-1],
    V1[:-2],
    "v1,%%%%",
    "v1,g0hM9SsE-OTPJTGt_tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    "v1,ü",
    "v1,\udcff",
    "v1a,AAAA",
    "v1a," + b64encode(bytes(63)).decode(),
    "v1a," + b64encode(bytes(65)).decode(),
    V1 + "\n",
    "\x00",
    "v1," * 10_000,
    "v1,x " * 10_000,
    # Of so many, one that is good and stands last is not looked for.
    f"{'v1,AAAA ' * 100}{V1}",
]


@pytest.mark.parametrize("signature", MALFORMED, ids=lambda text: ascii(text[:20]))
def test_sw_34_a_malformed_item_is_an_invalid_signature(signature):
    both = Verifier([WHSEC, WHPK])

    assert why_not(both, headers_of(signature)) is Reason.INVALID_SIGNATURE
    if len(signature) < 200:
        assert verified(both, headers_of(f"{signature} {V1}")) == GENUINE
        assert verified(both, headers_of(f"{V1A} {signature}")) == GENUINE


@given(st.text(max_size=40), st.text(max_size=20), st.text(max_size=40), st.binary())
@example("\ud800", "1", "v1,AAAA", b"")
@example("a", "1", "v1a,", b"\xff")
def test_sw_34_whatever_comes_is_no_exception_but_unverified(
    id_, timestamp, signature, body
):
    with pytest.raises(Unverified):
        Verifier([WHSEC, WHPK]).verify(
            body, headers_of(signature, id_=id_, timestamp=timestamp)
        )


@pytest.mark.parametrize("body", [b"\xff\x00\xfe", b"", "ü".encode("latin-1")])
def test_sw_34_bytes_are_verified_and_need_not_be_text(body):
    secret = os.urandom(32)
    headers = headers_of(signed(secret, body), id_="m", timestamp=1)

    assert Verifier([spelled_secret(secret)]).verify(body, headers, now=1)


def test_sw_34_an_id_that_is_no_text_is_verified_as_it_came():
    secret, raw = os.urandom(32), b"m\xff"
    code = hmac.digest(secret, raw + b".1.", "sha256")
    id_ = raw.decode("utf-8", "surrogateescape")
    headers = headers_of(f"v1,{b64encode(code).decode()}", id_=id_, timestamp=1)

    assert Verifier([spelled_secret(secret)]).verify(b"", headers, now=1).id == id_


# --- SW-35 ---------------------------------------------------------------------------


def test_sw_35_a_message_that_was_seen_is_told_by_its_id():
    seen = Seen(seconds=100)

    assert not seen.before("a", now=0)
    assert not seen.before("b", now=50)
    assert seen.before("a", now=99)
    # It was there a moment ago, and is remembered anew.
    assert seen.before("a", now=198)
    assert not seen.before("b", now=198)
    assert not seen.before("a", now=299)


def test_sw_35_by_default_ids_are_remembered_longer_than_retries_last():
    seen, retries_seconds = Seen(), 75 * 3600 + 35 * 60 + 5

    assert not seen.before("a", now=0)
    assert seen.before("a", now=retries_seconds * 1.1)


def test_sw_35_no_more_ids_are_remembered_than_was_said():
    seen = Seen(ids_max=3)

    assert [seen.before(id_, now=0) for id_ in "abcd"] == [False] * 4
    assert [seen.before(id_, now=0) for id_ in "dcba"] == [True, True, True, False]
