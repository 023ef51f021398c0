"""Standard Webhooks 1.0, sender: what goes out, and what an answer means.

SW-01 to SW-04, SW-13, SW-18 and SW-19, as a pod does them against real servers.
"""

import asyncio
import re
import time

import pytest
import svix.webhooks

from libs.common.addresses import checked_url
from libs.common.endpoints import Tls
from libs.common.errors import Malformed
from libs.common.ids import new_id
from libs.common.messages import Verdict
from services.delivery.manners import Manners, plain
from services.delivery.sender import Sender, open_sender
from services.delivery.settings import Settings
from services.dispatcher.judgement import is_delivered
from services.ingest.requests.jobs import Target
from tests.support.certificates import Authority
from tests.support.delivery import SEALER, SECRET, SECRET_KEY, WHSEC, job, receiver
from tests.support.endpoint import DROP, HANG, Answer
from tests.support.receivers import run_receiver, saying

MANNER = plain([SECRET])


def settings(**knobs):
    return Settings(secret_key=SECRET_KEY, **{"environment": "development", **knobs})


@pytest.fixture
async def sender():
    async with open_sender(settings()) as sender:
        yield sender


async def attempt(sender: Sender, url: str, body: bytes = b"{}", **fields) -> Verdict:
    return await sender.attempt(
        job(url, body, **fields), body, MANNER, lease_id="lease-1"
    )


@pytest.mark.parametrize("kind", [None, "text/plain", "application/cloudevents+json"])
async def test_sw_01_a_post_with_the_payload_as_its_body(sender, endpoint, kind):
    body = b'{"type": "a.b",\n "data": {"n": 1.0}}'
    headers = {} if kind is None else {"Content-Type": kind}

    await attempt(sender, endpoint.url, body, headers=headers)

    (request,) = endpoint.requests
    assert (request.method, request.body) == ("POST", body)
    assert request.headers["Content-Type"] == (kind or "application/json")


async def test_sw_02_three_headers_of_exactly_these_names():
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    async with run_receiver(saying(answer)) as receiver, open_sender(settings()) as s:
        await attempt(s, receiver.url)

    names = re.findall(rb"\r\n(webhook-[^:]*):", receiver.heads[0], re.IGNORECASE)
    assert sorted(names) == [b"webhook-id", b"webhook-signature", b"webhook-timestamp"]


async def test_sw_03_every_attempt_of_a_message_has_its_id(sender, endpoint):
    one = job(endpoint.url, b"{}", webhook_id=str(new_id()))
    resent = job(endpoint.url, b"{}", webhook_id=one.webhook_id)

    for each in (one, one, resent):
        await sender.attempt(each, b"{}", MANNER, lease_id="l")

    assert set(endpoint.ids) == {one.webhook_id}
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,128}", str(one.webhook_id))


@pytest.mark.parametrize("id_", ["a.1", "a\r\nb: c", "a b", "", "x" * 129])
async def test_sw_03_no_id_can_be_read_in_two_ways(sender, endpoint, id_):
    verdict = await attempt(sender, endpoint.url, webhook_id=id_)

    # An empty id is none: then it is the job's.
    if id_:
        assert verdict.error == "request cannot be sent as it is"
        assert endpoint.requests == []
    else:
        assert endpoint.ids == [verdict.job_id]


async def test_sw_04_the_timestamp_is_that_of_the_attempt(sender, endpoint):
    one = job(endpoint.url, b"{}")

    before = int(time.time())
    await sender.attempt(one, b"{}", MANNER, lease_id="l")
    first = endpoint.requests[0].headers["webhook-timestamp"]
    while int(time.time()) == int(first):
        await asyncio.sleep(0.01)
    await sender.attempt(one, b"{}", MANNER, lease_id="l")
    second = endpoint.requests[1].headers["webhook-timestamp"]

    assert re.fullmatch(r"[0-9]{10}", first)
    assert before <= int(first) < int(second) <= int(time.time())
    for request in endpoint.requests:
        svix.webhooks.Webhook(WHSEC).verify(request.body, dict(request.headers))


@pytest.mark.parametrize("status", [200, 201, 202, 204, 206, 226, 299])
async def test_sw_13_success_is_any_2xx(sender, endpoint, status):
    endpoint.otherwise = status

    assert is_delivered(await attempt(sender, endpoint.url))


@pytest.mark.parametrize(
    "answer",
    [
        *[300, 301, 302, 303, 304, 307, 308, 400, 401, 404, 409, 410, 429],
        *[500, 502, 503, 504, 599, DROP, HANG],
    ],
    ids=str,
)
async def test_sw_13_everything_else_is_not_and_no_redirect_is_followed(
    sender, endpoint, answer
):
    there = {"Location": endpoint.url_of("/there")}
    endpoint.otherwise = (
        Answer(answer, b"", there) if isinstance(answer, int) else answer
    )

    verdict = await attempt(sender, endpoint.url, timeout_seconds=0.3)

    assert verdict.sent
    assert not is_delivered(verdict)
    assert len(endpoint.requests) == 1


async def test_sw_18_there_are_15_seconds_unless_somebody_says_otherwise(
    sender, endpoint
):
    assert Target(url="https://a.example/").timeout_seconds == 15
    assert Target(url="https://a.example/", timeout_seconds=30).timeout_seconds == 30
    endpoint.otherwise = HANG

    verdict = await attempt(sender, endpoint.url, timeout_seconds=0.2)

    assert verdict.error == "timeout after 0.2 s"


def test_sw_19_https_only_in_production():
    with pytest.raises(Malformed, match="https"):
        checked_url("http://a.example/", development=False, field="url")
    assert checked_url("https://a.example/", development=False, field="url")


async def test_sw_19_production_connects_over_https_only_and_not_to_this_house():
    async with run_receiver(saying(b"")) as server:
        for url in (server.url, f"https://localhost:{server.port}/"):
            async with open_sender(settings(environment="production")) as sender:
                verdict = await attempt(sender, url)
            assert verdict.error == "address not allowed"

    assert server.connections == 0


async def test_sw_19_a_certificate_is_always_verified(sender):
    authority = Authority()
    ok = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    id_ = str(new_id())
    trusting = Manners(SEALER).of_receiver(
        id_, receiver(id_, tls=Tls(ca=authority.pem))
    )
    async with run_receiver(saying(ok), tls=authority.server()) as server:
        url = f"https://localhost:{server.port}/"
        verdict = await attempt(sender, url)
        assert verdict.error is not None
        assert verdict.error.startswith("TLS: ")
        assert server.heads == []
        one = job(url)
        assert is_delivered(
            await sender.attempt(one, b"{}", trusting, lease_id="lease-1")
        )
