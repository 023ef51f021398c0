"""The sender against well-behaved receivers: what goes out, and what is kept."""

import asyncio
import gzip
import hmac
import socket
import time
from base64 import b64encode

import pytest

from libs.common.messages import Verdict
from services.delivery.answer import KEPT_BYTES_MAX
from services.delivery.manners import plain
from services.delivery.sender import (
    KEPT_HEADER_CHARS_MAX,
    KEPT_HEADERS_MAX,
    Sender,
    open_sender,
)
from services.delivery.settings import Settings
from tests.support.delivery import SECRET, SECRET_KEY, WHSEC, job
from tests.support.endpoint import Answer
from tests.support.receivers import run_receiver, saying

MANNER = plain([SECRET])


def settings(**knobs):
    return Settings(**{"secret_key": SECRET_KEY, "environment": "development", **knobs})


@pytest.fixture
async def sender():
    async with open_sender(settings()) as sender:
        yield sender


async def attempt(sender: Sender, url: str, body: bytes = b"{}", **fields) -> Verdict:
    return await sender.attempt(
        job(url, body, **fields), body, MANNER, lease_id="lease-1"
    )


async def test_a_request_is_signed_and_says_what_it_is(sender, endpoint):
    target = job(endpoint.url, b'{"a": 1}')

    verdict = await sender.attempt(target, b'{"a": 1}', MANNER, lease_id="lease-1")

    (request,) = endpoint.requests
    request.verify(WHSEC)
    assert request.method == "POST"
    assert request.id == target.job_id
    assert abs(int(request.headers["webhook-timestamp"]) - time.time()) <= 2
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["Content-Length"] == "8"
    assert request.headers["Accept-Encoding"] == "identity"
    assert request.headers["User-Agent"].startswith("Bellhop")
    assert verdict == Verdict(
        job_id=target.job_id,
        lease_id="lease-1",
        status=200,
        duration_ms=verdict.duration_ms,
    )
    assert 0 < verdict.duration_ms < 5000


@pytest.mark.parametrize(
    "body",
    [b"", b'{ "a" :\t1.0 }\n', "ü☃".encode(), b"\xff\x00\xfe", b"x" * 1024 * 1024],
)
async def test_the_bytes_that_are_signed_are_the_bytes_that_are_sent(
    sender, endpoint, body
):
    await attempt(sender, endpoint.url, body)

    (request,) = endpoint.requests
    signed = f"{request.id}.{request.headers['webhook-timestamp']}.".encode() + body
    code = b64encode(hmac.digest(SECRET, signed, "sha256")).decode()
    assert request.body == body
    assert request.headers["webhook-signature"] == f"v1,{code}"


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
async def test_the_method_and_the_query_are_the_targets(sender, endpoint, method):
    await attempt(sender, endpoint.url_of("/a%2Fb/../c?x=%7E~+%20&y"), method=method)

    (request,) = endpoint.requests
    assert request.method == method
    assert request.path == "/a%2Fb/../c?x=%7E~+%20&y"


async def test_a_targets_headers_are_sent_but_for_those_that_are_ours(sender, endpoint):
    await attempt(
        sender,
        endpoint.url,
        headers={
            "content-type": "text/plain",
            "user-agent": "Somebody/1",
            "Authorization": "Bearer x",
            "X-Name": "ü",
            "Host": "evil.example",
            "Content-Length": "99",
            "Transfer-Encoding": "chunked",
            "Connection": "close",
            "Accept-Encoding": "gzip",
            "Expect": "100-continue",
            "Proxy-Authorization": "x",
            "Webhook-Id": "forged",
            "webhook-signature": "v1,forged",
        },
    )

    (request,) = endpoint.requests
    request.verify(WHSEC)
    assert request.headers.getall("Content-Type") == ["text/plain"]
    assert request.headers.getall("User-Agent") == ["Somebody/1"]
    assert request.headers["Authorization"] == "Bearer x"
    assert request.headers["X-Name"] == "ü"
    assert request.headers["Host"] == f"127.0.0.1:{endpoint.port}"
    assert request.headers["Content-Length"] == "2"
    assert request.headers["Accept-Encoding"] == "identity"
    assert not {"Transfer-Encoding", "Connection", "Expect"} & set(request.headers)
    assert not [name for name in request.headers if name.startswith("Proxy-")]


@pytest.mark.parametrize(
    "fields",
    [
        {"headers": {"X-A": "a\r\nX-B: b"}},
        {"headers": {"X-A\r\nX-B": "a"}},
        {"headers": {"X-A": "a\x00"}},
        {"headers": {"": "a"}},
        {"headers": {"X-A": "\ud800"}},
        {"method": "GET / HTTP/1.1\r\nX: "},
        {"method": ""},
    ],
    ids=repr,
)
async def test_nothing_can_be_slipped_into_a_request(sender, endpoint, fields):
    verdict = await attempt(sender, endpoint.url, **fields)

    assert verdict.sent
    assert verdict.status is None
    assert verdict.error == "request cannot be sent as it is"
    assert endpoint.requests == []


async def test_a_bad_status_is_told_with_its_headers_and_body(sender, endpoint):
    endpoint.otherwise = Answer(
        503, b"later", {"Retry-After": "7", "X-Why": "busy", "Set-Cookie": "a=b"}
    )

    verdict = await attempt(sender, endpoint.url)

    assert verdict.status == 503
    assert verdict.error is None
    assert verdict.body == b"later"
    assert verdict.retry_after == "7"
    assert verdict.headers is not None
    assert verdict.headers["x-why"] == "busy"
    assert "set-cookie" not in verdict.headers


async def test_a_good_status_is_told_with_its_body_only(sender, endpoint):
    endpoint.otherwise = Answer(202, b"ok", {"Retry-After": "7", "X-Why": "ok"})

    verdict = await attempt(sender, endpoint.url)

    assert (verdict.status, verdict.body) == (202, b"ok")
    assert verdict.headers is None
    assert verdict.retry_after is None


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_an_answer_like_any_other(sender, endpoint, status):
    endpoint.otherwise = Answer(status, b"", {"Location": endpoint.url_of("/other")})

    verdict = await attempt(sender, endpoint.url)

    assert verdict.status == status
    assert len(endpoint.requests) == 1


async def test_no_cookie_comes_back(sender, endpoint):
    endpoint.otherwise = Answer(200, b"", {"Set-Cookie": "a=b"})

    await attempt(sender, endpoint.url)
    await attempt(sender, endpoint.url)

    assert not [r for r in endpoint.requests if "Cookie" in r.headers]


async def test_nothing_is_inflated(sender, endpoint):
    packed = gzip.compress(b"0" * 10_000_000)
    endpoint.otherwise = Answer(200, packed, {"Content-Encoding": "gzip"})

    verdict = await attempt(sender, endpoint.url)

    assert verdict.status == 200
    assert verdict.body == packed[:KEPT_BYTES_MAX]


async def test_the_beginning_of_a_long_answer_is_kept(sender, endpoint):
    body = bytes(range(256)) * 128
    endpoint.otherwise = Answer(200, body)

    verdict = await attempt(sender, endpoint.url)

    assert verdict.body == body[:KEPT_BYTES_MAX]


async def test_headers_are_kept_within_measure(sender):
    many = b"".join(b"X-%d: %s\r\n" % (i, b"v" * 1000) for i in range(60))
    answer = b"HTTP/1.1 400 No\r\n" + many + b"Content-Length: 0\r\n\r\n"

    async with run_receiver(saying(answer)) as receiver:
        verdict = await attempt(sender, receiver.url)

    assert verdict.headers is not None
    assert len(verdict.headers) == KEPT_HEADERS_MAX
    assert set(verdict.headers.values()) == {"v" * KEPT_HEADER_CHARS_MAX}


async def test_what_is_kept_of_headers_can_be_written_down_everywhere(sender):
    answer = (
        b"HTTP/1.1 400 No\r\nX-A: \xff\xfe\xc3\xbc\tb\r\nRetry-After: \xff\r\n"
        b"Content-Length: 0\r\n\r\n"
    )

    async with run_receiver(saying(answer)) as receiver:
        verdict = await attempt(sender, receiver.url)

    assert verdict.headers is not None
    assert verdict.headers["x-a"] == "\ufffd\ufffdü\ufffdb"
    assert verdict.retry_after == "\ufffd"


async def test_a_connection_is_used_again_after_a_whole_answer(sender):
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

    async with run_receiver(saying(answer)) as receiver:
        for _ in range(3):
            verdict = await attempt(sender, receiver.url, b"", method="GET")
            assert verdict.body == b"ok"

    assert receiver.connections == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/",
        "https://127.0.0.1:{port}/",
        "https://localhost:{port}/",
        "https://[::ffff:7f00:1]:{port}/",
        "nonsense",
    ],
)
async def test_production_does_not_knock_at_its_own_door(url):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        port = server.getsockname()[1]
        async with open_sender(settings(environment="production")) as sender:
            verdict = await attempt(sender, url.format(port=port))

        with pytest.raises(BlockingIOError):
            server.accept()

    assert (verdict.sent, verdict.status) == (True, None)
    assert verdict.error == "address not allowed"


async def test_attempts_do_not_wait_for_one_another(sender, endpoint):
    endpoint.answers = [Answer(200, delay_seconds=5)]
    slow = asyncio.create_task(attempt(sender, endpoint.url, timeout_seconds=1))
    await endpoint.received(1)

    verdict = await attempt(sender, endpoint.url)

    assert verdict.status == 200
    assert not slow.done()
    assert (await slow).error == "timeout after 1 s"
