"""Signatures of others: theirs are believed, and nothing else is, whatever it says."""

import time
from base64 import b64encode

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from libs.common import event_types
from libs.common.errors import Malformed
from services.ingest.incoming import github, slack, standard
from services.ingest.incoming.proof import (
    Greeting,
    Unproven,
)
from services.ingest.incoming.providers import (
    PROVIDERS,
    fault_in,
    key_of,
    queue_of,
    type_of,
)
from services.ingest.requests.jobs import CreateJob
from tests.support import senders
from tests.support.senders import EXAMPLES, SECRET, STANDARD_SECRET, Headers, signed

NOW = 1_700_000_000.0
PROVIDED = sorted(PROVIDERS)


def secret_of(provider):
    return EXAMPLES[provider][1]


def reason(provider, headers, body, secrets, *, now=None):
    """Return why it is not believed, or None."""
    now = time.time() if now is None else now
    try:
        PROVIDERS[provider].prove(headers, body, secrets, now=now)
    except Unproven as error:
        return error.reason
    return None


# --- what they published --------------------------------------------------------------


def test_the_vector_of_github():
    signature = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    headers = Headers({"X-Hub-Signature-256": f"sha256={signature}"})

    github.prove(headers, b"Hello, World!", ["It's a Secret to Everybody"], now=NOW)


def test_the_vector_of_slack():
    body = (
        b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow"
        b"&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA"
        b"&user_name=roadrunner&command=%2Fwebhook-collect&text="
        b"&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J"
        b"%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN"
        b"&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
    )
    headers = Headers(
        {
            "X-Slack-Request-Timestamp": "1531420618",
            "X-Slack-Signature": "v0=a2114d57b48eac39b9ad189dd8316235"
            "a7b4a8d21a10bd27519666489c69b503",
        }
    )

    secrets = ["8f742231b10e8888abcd99yyyzzz85a5"]
    slack.prove(headers, body, secrets, now=1531420618.0)


@pytest.mark.parametrize(
    ("key", "signature"),
    [
        (STANDARD_SECRET, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
        (
            "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=",
            "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXw"
            "VLPo3mNl8EM+m7TBAg==",
        ),
    ],
)
def test_the_vectors_of_standard_webhooks(key, signature):
    headers = Headers(
        {
            "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "webhook-timestamp": "1614265330",
            "webhook-signature": f"v2,AAAA {signature}",
        }
    )

    standard.prove(headers, b'{"test": 2432232314}', [key], now=1614265330.0)


# --- what is believed -----------------------------------------------------------------


@pytest.mark.parametrize("provider", PROVIDED)
def test_what_one_of_the_secrets_signed_is_believed(provider):
    secret = secret_of(provider)
    other = "whsec_" + b64encode(b"another secret that is long").decode()
    headers, body = signed(provider)

    assert reason(provider, headers, body, [secret]) is None
    assert reason(provider, headers, body, [other, secret]) is None
    assert reason(provider, headers, body, [other]) == "forged"
    assert reason(provider, headers, body + b" ", [secret]) == "forged"


@pytest.mark.parametrize("provider", ["stripe", "slack", "standard"])
@pytest.mark.parametrize(
    ("off", "why"),
    [(-301, "stale"), (-299, None), (0, None), (299, None), (301, "stale")],
)
def test_clocks_may_differ_by_five_minutes_either_way(provider, off, why):
    headers, body = signed(provider, at=int(NOW) + off)

    assert reason(provider, headers, body, [secret_of(provider)], now=NOW) == why


@pytest.mark.parametrize("provider", ["stripe", "slack", "standard"])
def test_a_newer_time_under_an_old_signature_is_forged(provider):
    headers, body = signed(provider, at=int(NOW) - 1000)
    text = {
        name: value.replace("1699999000", "1700000000")
        for name, value in headers.items()
    }

    assert (
        reason(provider, Headers(text), body, [secret_of(provider)], now=NOW)
        == "forged"
    )


@pytest.mark.parametrize("provider", PROVIDED)
def test_without_a_header_of_the_proof_there_is_no_proof(provider):
    headers, body = signed(provider)
    proof = {
        "github": {"x-hub-signature-256"},
        "stripe": {"stripe-signature"},
        "shopify": {"x-shopify-hmac-sha256"},
        "slack": {"x-slack-signature", "x-slack-request-timestamp"},
        "standard": {"webhook-id", "webhook-timestamp", "webhook-signature"},
    }[provider]
    for name in proof:
        for rest in (
            {key: value for key, value in headers.items() if key != name},
            {**headers, name: ""},
        ):
            why = reason(provider, Headers(rest), body, [secret_of(provider)])
            assert why == "unsigned", name


def test_stripe_signs_with_each_secret_that_is_good_at_stripe():
    headers, body = signed("stripe", secrets=["new", "old"])

    assert reason("stripe", headers, body, ["old"]) is None
    assert reason("stripe", headers, body, ["new"]) is None
    assert reason("stripe", headers, body, ["other"]) == "forged"


@pytest.mark.parametrize(
    "signature",
    [
        "t=1700000000",
        "v1=00",
        "t=1700000000,t=1700000000,v1=00",
        "t=,v1=00",
        "t=1e9,v1=00",
        "t=-1700000000,v1=00",
        "t=\u0661\u0667\u0660\u0660\u0660\u0660\u0660\u0660\u0660\u0660,v1=00",
        "t=99999999999999999999999999,v1=00",
        "t,v1",
        ",,,",
        "====",
    ],
)
def test_a_signature_of_stripe_that_cannot_be_read_is_none(signature):
    headers = Headers({"Stripe-Signature": signature})

    assert reason("stripe", headers, b"{}", [SECRET], now=NOW) == "unsigned"


def test_the_spelling_of_stripes_time_is_signed_too():
    at = "0001700000000"[:12]
    code = senders.code(SECRET, at.encode() + b".{}").hexdigest()
    headers = Headers({"Stripe-Signature": f"t={at},v1={code}"})

    assert reason("stripe", headers, b"{}", [SECRET], now=float(int(at))) is None


def test_senders_by_svix_are_understood():
    body = EXAMPLES["standard"][2]
    headers = Headers(senders.standard(body, prefix="svix"))

    assert reason("standard", headers, body, [STANDARD_SECRET]) is None
    assert standard.read(headers, body).delivery_id == "msg_1"
    # What is signed is what is read, whatever else is there.
    both = Headers({**headers, "webhook-id": "another"})
    assert reason("standard", both, body, [STANDARD_SECRET]) == "unsigned"


def test_a_sender_that_signs_with_ed25519_is_believed_by_its_public_key():
    key = Ed25519PrivateKey.generate()
    public = "whpk_" + b64encode(key.public_key().public_bytes_raw()).decode()
    body, at = b'{"type": "a"}', int(time.time())
    signature = b64encode(key.sign(f"m.{at}.".encode() + body)).decode()
    headers = Headers(
        {
            "webhook-id": "m",
            "webhook-timestamp": str(at),
            "webhook-signature": f"v1a,{signature}",
        }
    )

    assert reason("standard", headers, body, [public]) is None
    assert reason("standard", headers, body + b" ", [public]) == "forged"
    assert reason("standard", headers, body, [STANDARD_SECRET]) == "forged"


@pytest.mark.parametrize(
    ("secret", "wrong"),
    [
        (STANDARD_SECRET, False),
        ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", False),
        ("whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=", False),
        ("whsec_", True),
        ("whsec_no base64", True),
        ("whpk_AAAA", True),
        ("whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbc=", True),
    ],
)
def test_a_key_of_standard_webhooks_is_one(secret, wrong):
    fault = fault_in("standard", secret)

    assert (fault is not None) == wrong
    assert fault is None or secret not in fault
    assert fault_in("github", secret) is None


# --- whatever it says -----------------------------------------------------------------

#: What stands in a header, as aiohttp gives it: bytes that are no UTF-8 as surrogates.
values = st.one_of(
    st.binary(max_size=80).map(lambda raw: raw.decode("utf-8", "surrogateescape")),
    st.text("v01a=,; t.\u0661\udcff0123456789abcdefABCDEF+/", max_size=80),
    st.sampled_from(["", "v1", "v1,", "v1,,", "t=1,v1=", "sha256=", "v0=", "=", ","]),
)
NAMES = sorted(
    {name.lower() for provider in PROVIDERS.values() for name in provider.HEADERS}
    | {"svix-id", "svix-timestamp", "svix-signature", "content-type"}
)


@given(
    st.sampled_from(PROVIDED),
    st.dictionaries(st.sampled_from(NAMES), values),
    st.binary(max_size=100),
)
def test_nothing_that_stands_in_headers_is_more_than_no_proof(provider, headers, body):
    assert reason(provider, Headers(headers), body, [secret_of(provider)], now=NOW)


@given(st.data(), st.sampled_from(PROVIDED))
def test_one_header_that_is_spoilt_spoils_the_proof_or_was_no_part_of_it(
    data, provider
):
    headers, body = signed(provider)
    name = data.draw(st.sampled_from(sorted(headers)))
    spoilt = Headers({**headers, name: data.draw(values)})

    why = reason(provider, spoilt, body, [secret_of(provider)])

    if "signature" in name or "hmac" in name or "timestamp" in name:
        assert why in {"unsigned", "stale", "forged"}
    else:
        assert why in {None, "unsigned", "forged"}


@given(
    st.sampled_from(PROVIDED),
    st.dictionaries(st.sampled_from(NAMES), values),
    st.one_of(
        st.binary(max_size=200),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=20),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(
                        ["type", "id", "event", "event_id", "challenge", "x"]
                    ),
                    inner,
                    max_size=4,
                )
            ),
            max_leaves=10,
        ).map(senders.spelled),
        st.dictionaries(
            st.sampled_from(["payload", "command", "ssl_check", "x"]),
            st.text(st.characters(codec="utf-8"), max_size=20),
        ).map(lambda fields: senders.form(**fields)),
    ),
    st.booleans(),
)
def test_what_is_believed_is_read_or_refused_in_words(provider, headers, body, as_form):
    """Whatever is read of it can be stored, and be a queue's, a job's and a key's."""
    if as_form:
        headers = {**headers, "content-type": senders.FORM}
    try:
        arrived = PROVIDERS[provider].read(Headers(headers), body)
    except Malformed:
        return

    if isinstance(arrived, Greeting):
        return
    CreateJob(
        queue_name=queue_of(provider, arrived.event),
        payload=None,
        tags={"event": arrived.event, **arrived.tags},
        idempotency_key=key_of(provider, arrived.delivery_id),
    )
    assert event_types.is_name(type_of(provider, arrived.event))
    arrived.payload.decode()


def test_a_refusal_does_not_tell_more_than_the_sender_knew():
    for provider in PROVIDED:
        headers, body = signed(provider)
        with pytest.raises(Unproven) as refused:
            PROVIDERS[provider].prove(
                headers,
                body,
                ["whsec_" + b64encode(b"x" * 24).decode()],
                now=time.time(),
            )
        assert str(refused.value) == "Authentication failed"
