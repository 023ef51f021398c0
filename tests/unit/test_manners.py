"""How requests to one receiver are made: what is opened, and what goes out."""

import hmac
import os
import time
from base64 import b64encode

import pytest
import standardwebhooks

from libs.common.endpoints import (
    ApiKey,
    Basic,
    Bearer,
    OAuth2,
    Tls,
    encode,
)
from libs.common.ids import new_id
from libs.common.keys import public_key_of, spelled_public_key, spelled_secret
from libs.common.messages import Receiver, SealedKey
from libs.common.sealing import Sealer, Unsealable
from libs.common.verification import Verifier
from services.delivery.manners import Manner, Manners, key_of
from tests.support.delivery import headers_in, job

SEALER = Sealer(b64encode(os.urandom(32)).decode())
ENDPOINT = str(new_id())
SECRET, OLD, SEED = (os.urandom(32) for _ in range(3))
NOW = 1_700_000_000
URL = "https://receiver.test/"


def key(secret, scheme="v1", *, owner=ENDPOINT):
    return SealedKey(scheme=scheme, sealed=SEALER.seal(secret, owner=owner))


def sealed(part, *, owner=ENDPOINT):
    return SEALER.seal(encode(part), owner=owner)


def receiver(*keys, **parts):
    return Receiver(keys=list(keys or [key(SECRET)]), **parts)


def manner_of(*keys, **parts) -> Manner:
    return Manners(SEALER).of_receiver(ENDPOINT, receiver(*keys, **parts))


def headers_of(manner, body=b"{}", **fields):
    one = job(URL, body, endpoint_id=ENDPOINT, **fields)
    return headers_in(manner.lines(one, body, timestamp=NOW))


# --- what is opened ------------------------------------------------------------------


def test_what_is_the_same_is_opened_once():
    manners, theirs = Manners(SEALER), receiver(auth=sealed(Bearer(token="t")))
    secrets = [SEALER.seal(SECRET, owner="org-1")]

    assert manners.of_receiver(ENDPOINT, theirs) is manners.of_receiver(
        ENDPOINT, Receiver(keys=theirs.keys, auth=theirs.auth)
    )
    assert manners.of_organization("org-1", secrets) is manners.of_organization(
        "org-1", list(secrets)
    )
    for changed in (
        receiver(*theirs.keys, auth=theirs.auth, headers={"X-A": "1"}),
        receiver(*theirs.keys, auth=theirs.auth, style="contract"),
        receiver(*theirs.keys),
        receiver(*theirs.keys, key(OLD), auth=theirs.auth),
    ):
        one = manners.of_receiver(ENDPOINT, changed)
        assert one is not manners.of_receiver(ENDPOINT, theirs)


def test_nothing_goes_out_unsigned():
    manners = Manners(SEALER)
    mine = SEALER.seal(SECRET, owner="org-1")
    foreign = Sealer(b64encode(os.urandom(32)).decode()).seal(SECRET, owner="org-1")

    for organization, secrets in [
        ("org-1", []),
        ("org-2", [mine]),
        ("org-1", [foreign]),
        ("org-1", [mine, foreign]),
        ("org-1", [mine[:-1]]),
        ("org-1", [b""]),
    ]:
        with pytest.raises(Unsealable):
            manners.of_organization(organization, secrets)
    for theirs in (
        None,
        Receiver(keys=[]),
        receiver(key(SECRET, owner="somebody else")),
        receiver(key(SECRET), key(SECRET, owner="somebody else")),
        receiver(key(b"short", "v1a")),
        # The text of a contract's secret signs no standard webhook.
        receiver(key(SECRET, "contract")),
        receiver(auth=SEALER.seal(b"{}", owner=ENDPOINT)),
        receiver(auth=sealed(Bearer(token="t"), owner="somebody else")),
        receiver(tls=SEALER.seal(b"[]", owner=ENDPOINT)),
    ):
        with pytest.raises(Unsealable):
            manners.of_receiver(ENDPOINT, theirs)


def test_a_job_for_an_endpoint_is_never_signed_by_its_organization():
    manners = Manners(SEALER)
    own = job(URL)
    theirs = job(URL, endpoint_id=ENDPOINT)
    secrets = [SEALER.seal(OLD, owner=own.organization_id)]

    assert key_of(own) == own.organization_id
    assert key_of(theirs) == ENDPOINT
    assert manners.of_job(own, secrets=secrets, receiver=None) is not None
    assert manners.of_job(own, secrets=[], receiver=receiver()) is None
    assert manners.of_job(theirs, secrets=secrets, receiver=None) is None
    manner = manners.of_job(theirs, secrets=secrets, receiver=receiver())
    assert manner is not None
    headers = headers_of(manner)
    Verifier([spelled_secret(SECRET)]).verify(b"{}", headers, now=NOW)


def test_no_secret_is_told_of_in_a_complaint():
    auth = SEALER.seal(b'{"kind":"bearer","token":["hunter2"]}', owner=ENDPOINT)

    with pytest.raises(Unsealable) as caught:
        manner_of(key(SECRET), auth=auth)

    assert "hunter2" not in str(caught.value)
    assert caught.value.__suppress_context__


# --- what goes out -------------------------------------------------------------------


def test_keys_of_both_schemes_sign_in_one_header_the_current_one_first():
    manner = manner_of(key(SEED, "v1a"), key(SECRET), key(OLD))

    headers = headers_of(manner, b"body")

    signatures = headers["webhook-signature"].split(" ")
    assert [one.partition(",")[0] for one in signatures] == ["v1a", "v1", "v1"]
    for known in (
        spelled_secret(SECRET),
        spelled_secret(OLD),
        spelled_public_key(public_key_of(SEED)),
    ):
        Verifier([known]).verify(b"body", headers, now=NOW)


def test_it_is_sent_under_the_id_of_its_message_else_of_its_job():
    def sent_under(one):
        lines = manner_of().lines(one, b"", timestamp=NOW)
        return headers_in(lines)["webhook-id"]

    one = job(URL, webhook_id="msg_1")

    assert sent_under(one) == "msg_1"
    one = job(URL)
    assert sent_under(one) == one.job_id


@pytest.mark.parametrize("id_", ["a.b", "a b", "a\r\nb", "ü", "x" * 129])
def test_an_id_that_could_be_read_in_two_ways_is_not_sent(id_):
    with pytest.raises(ValueError, match="not a header"):
        headers_of(manner_of(), webhook_id=id_)


def test_a_receivers_headers_go_with_every_request_and_a_jobs_replace_them():
    manner = manner_of(
        headers={
            "X-A": "endpoint",
            "x-b": "endpoint",
            "User-Agent": "Theirs/1",
            "Webhook-Id": "forged",
            "traceparent": "forged",
        }
    )

    headers = headers_of(manner, headers={"X-B": "job", "ce-type": "a"})

    assert headers["X-A"] == "endpoint"
    assert headers.getall("X-B") == ["job"]
    assert headers["ce-type"] == "a"
    assert headers["User-Agent"] == "Theirs/1"
    assert headers["webhook-id"] != "forged"
    assert "traceparent" not in headers
    # A delivery says how often it came before, an endpoint does not.
    assert "webhook-hops" not in headers
    assert headers_of(manner, headers={"webhook-hops": "2"})["webhook-hops"] == "2"
    assert "webhook-hops" not in headers_of(manner_of(headers={"Webhook-Hops": "0"}))
    # What one job brought is not the next one's.
    assert headers_of(manner)["X-B"] == "endpoint"


@pytest.mark.parametrize("headers", [{"X A": "a"}, {"X": "a\r\nb: c"}, {"": ""}])
def test_a_receivers_headers_cannot_begin_another(headers):
    with pytest.raises(ValueError, match="not a header"):
        headers_of(manner_of(headers=headers))
    with pytest.raises(ValueError, match="not a header"):
        headers_of(manner_of(), headers=headers)


@pytest.mark.parametrize(
    ("auth", "name", "value"),
    [
        (
            Basic(username="us er", password="pä:ss"),
            "Authorization",
            "Basic " + b64encode("us er:pä:ss".encode()).decode(),
        ),
        (Bearer(token="t0k"), "Authorization", "Bearer t0k"),
        (ApiKey(header="X-Key", value="k"), "X-Key", "k"),
    ],
)
def test_who_we_are_is_shown_whatever_else_is_said(auth, name, value):
    manner = manner_of(auth=sealed(auth), headers={name: "theirs"})

    headers = headers_of(manner, headers={name.lower(): "the job's"})

    assert headers.getall(name) == [value]
    assert manner.account is None


def test_an_account_for_tokens_outlives_a_change_of_headers_only():
    manners = Manners(SEALER)
    auth = OAuth2(token_url=URL, client_id="c", client_secret="s")
    other = OAuth2(token_url=URL, client_id="c", client_secret="another")

    def account(endpoint_id=ENDPOINT, auth=auth, **parts):
        manner = manners.of_receiver(
            endpoint_id,
            receiver(
                key(SECRET, owner=endpoint_id),
                auth=sealed(auth, owner=endpoint_id),
                **parts,
            ),
        )
        assert manner.account is not None
        return manner.account

    assert account() is account(headers={"X-A": "1"})
    assert account() is not account(auth=other)
    assert account() is not account(endpoint_id=str(new_id()))


def test_certificates_are_the_receivers():
    assert manner_of().tls is None
    assert manner_of(tls=sealed(Tls(ca="pem"))).tls == Tls(ca="pem")


# --- outgoing webhooks (contract 5.7) ------------------------------------------------


def test_an_outgoing_webhook_is_signed_as_the_contract_has_it():
    manner = manner_of(
        key(b"current", "contract"), key(b"old", "contract"), style="contract"
    )

    headers = headers_of(
        manner, b'{"a":1}', attempt=3, headers={"X-Spooled-Event": "job.completed"}
    )

    code = hmac.digest(b"current", b'1700000000.{"a":1}', "sha256").hex()
    assert headers["X-Spooled-Signature"] == f"sha256={code}"
    assert headers["X-Spooled-Timestamp"] == str(NOW)
    assert headers["X-Spooled-Delivery-Attempt"] == "3"
    assert headers["X-Spooled-Event"] == "job.completed"
    assert headers["User-Agent"] == "Spooled-OutgoingWebhook/1.0"
    assert headers["Content-Type"] == "application/json"
    # To tell repeats by, as everywhere.
    assert headers["webhook-timestamp"] == str(NOW)
    assert "webhook-id" in headers
    assert "webhook-signature" not in headers


def test_an_outgoing_webhook_without_a_secret_is_not_signed():
    manner = Manners(SEALER).of_receiver(
        ENDPOINT, Receiver(keys=[], style="contract", headers={"X-A": "1"})
    )

    headers = headers_of(manner, headers={"X-Spooled-Signature": "forged"})

    assert headers["X-Spooled-Timestamp"] == str(NOW)
    assert headers["X-A"] == "1"
    assert not [name for name in headers if name.lower().endswith("signature")]


def test_nobody_else_says_when_or_how_often_an_outgoing_webhook_was_sent():
    names = ["timestamp", "SIGNATURE", "delivery-attempt"]
    said = {f"x-spooled-{name}": "forged" for name in names}
    manner = manner_of(key(b"s", "contract"), style="contract", headers=said)

    assert "forged" not in headers_of(manner, headers=said).values()


def test_an_outgoing_webhook_may_be_signed_in_both_ways():
    """SW-23: the headers of yesterday beside those of the standard."""
    manner = manner_of(key(SECRET), key(b"s", "contract"), style="contract")

    headers = headers_of(manner, b"{}")

    Verifier([spelled_secret(SECRET)]).verify(b"{}", headers, now=NOW)
    assert headers["X-Spooled-Signature"].startswith("sha256=")


def test_a_stranger_checks_what_a_receiver_gets():
    manner = manner_of(key(OLD), key(SECRET))
    one = job(URL)

    headers = dict(headers_in(manner.lines(one, b"{}", timestamp=int(time.time()))))

    standardwebhooks.Webhook(spelled_secret(SECRET)).verify(b"{}", headers)
