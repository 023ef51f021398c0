"""One request is one request: what two readers could take for two is refused.

Written to the sockets of ingest and streamer byte by byte, as no client would and a
proxy in front might pass on.  A request that hides in another must never be answered.
"""

import asyncio
import re
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from tests.support.house import run_house
from tests.support.watching import open_gallery

HIDDEN = b"GET /health/live HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
CHUNKED = b"0\r\n\r\n"


@pytest.fixture(params=["ingest", "streamer"])
async def address(request, database_url, nats_url):
    async with open_one(request.param, database_url, nats_url) as url:
        yield urlsplit(url).hostname, urlsplit(url).port


@asynccontextmanager
async def open_one(service, database_url, nats_url):
    if service == "ingest":
        async with run_house(database_url, nats_url, services=("ingest",)) as house:
            yield house.base_url
    else:
        async with open_gallery(database_url, nats_url) as gallery:
            yield gallery.url


async def statuses(address, data, *, silent_seconds=2.0):
    """Say *data*; return the statuses that come until the end, or until silence.

    Whoever is silent waits for more of one request, and has answered none.
    """
    reader, writer = await asyncio.open_connection(*address)
    answer = b""
    try:
        writer.write(data)
        while more := await asyncio.wait_for(reader.read(65_536), silent_seconds):
            answer += more
    except (ConnectionError, TimeoutError):
        pass
    finally:
        writer.close()
    return [int(one) for one in re.findall(rb"HTTP/1\.[01] (\d{3})", answer)]


def post(*lines, body=b""):
    return b"\r\n".join([b"POST /health/live HTTP/1.1", b"Host: x", *lines, b"", body])


AMBIGUOUS = {
    "both lengths": post(
        b"Content-Length: 5", b"Transfer-Encoding: chunked", body=CHUNKED + HIDDEN
    ),
    "both lengths, the other first": post(
        b"Transfer-Encoding: chunked", b"Content-Length: 5", body=CHUNKED + HIDDEN
    ),
    "two lengths": post(b"Content-Length: 0", b"Content-Length: 44", body=HIDDEN),
    "two lengths in one line": post(b"Content-Length: 0, 44", body=HIDDEN),
    "a signed length": post(b"Content-Length: +0", body=HIDDEN),
    "a negative length": post(b"Content-Length: -1", body=HIDDEN),
    "a length in hex": post(b"Content-Length: 0x0", body=HIDDEN),
    "a length with a space": post(b"Content-Length: 0 0", body=HIDDEN),
    "a coding with another name": post(b"Transfer-Encoding: xchunked", body=HIDDEN),
    "chunked twice": post(
        b"Transfer-Encoding: chunked, chunked", body=CHUNKED + HIDDEN
    ),
    "chunked, but not last": post(
        b"Transfer-Encoding: chunked, identity", body=CHUNKED + HIDDEN
    ),
    "a space before the colon": post(b"Content-Length : 0", body=HIDDEN),
    "a folded line": post(b"X-One: a", b" Content-Length: 44", body=HIDDEN),
    "a folded coding": post(b"Transfer-Encoding:", b" chunked", body=CHUNKED + HIDDEN),
    "a tab as coding": post(b"Transfer-Encoding:\x0bchunked", body=CHUNKED + HIDDEN),
    "a line feed alone": b"POST /health/live HTTP/1.1\nHost: x\nContent-Length: 0\n\n"
    + HIDDEN,
    "a return alone": post(b"X-One: a\rContent-Length: 44", body=HIDDEN),
    "a NUL in a value": post(b"X-One: a\x00b", body=HIDDEN),
    "a NUL in a name": post(b"X\x00One: a", body=HIDDEN),
    "a name of no letters": post(b": a", body=HIDDEN),
    "a chunk longer than 64 bits": post(
        b"Transfer-Encoding: chunked", body=b"1" + b"0" * 17 + b"\r\n" + HIDDEN
    ),
    "a negative chunk": post(b"Transfer-Encoding: chunked", body=b"-1\r\n" + HIDDEN),
    "a chunk in 0x": post(b"Transfer-Encoding: chunked", body=b"0x0\r\n\r\n" + HIDDEN),
    "a chunk that goes on": post(
        b"Transfer-Encoding: chunked", body=b"1\r\nXX" + CHUNKED + HIDDEN
    ),
    "a chunk ended by a line feed": post(
        b"Transfer-Encoding: chunked", body=b"1\nX\n0\n\n" + HIDDEN
    ),
    "an extension with a line feed": post(
        b"Transfer-Encoding: chunked", body=b"0;a\nb\r\n\r\n" + HIDDEN
    ),
    "another version": b"POST / HTTP/1.2\r\nHost: x\r\n\r\n" + HIDDEN,
    "no version": b"POST /\r\nHost: x\r\n\r\n" + HIDDEN,
    "two hosts": b"GET /health/live HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n" + HIDDEN,
}
OVERSIZED = {
    "a long path": b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "a long name": post(b"x" * 100_000 + b": 1"),
    "a long value": post(b"x: " + b"x" * 100_000),
    "many headers": post(*[b"x%d: 1" % number for number in range(50_000)]),
    "many cookies": post(*[b"Cookie: a%d=1" % number for number in range(50_000)]),
    "a long method": b"X" * 100_000 + b" / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a long extension": post(
        b"Transfer-Encoding: chunked", body=b"0;" + b"x" * 1_000_000 + b"\r\n\r\n"
    ),
    "no end of empty lines": b"\r\n" * 100_000,
}


async def test_what_could_be_two_requests_is_none(address):
    found = {name: await statuses(address, data) for name, data in AMBIGUOUS.items()}

    assert found == {name: [400] for name in AMBIGUOUS}
    assert await statuses(address, HIDDEN, silent_seconds=30) == [200]


async def test_what_is_larger_than_any_request_is_refused(address):
    found = {name: await statuses(address, data) for name, data in OVERSIZED.items()}

    assert {
        name: seen
        for name, seen in found.items()
        if len(seen) > 1 or not all(400 <= one < 500 for one in seen)
    } == {}
    assert await statuses(address, HIDDEN, silent_seconds=30) == [200]


async def test_an_extension_of_a_chunk_is_passed_over(address):
    body = b"2;a=b\r\n{}\r\n0;c\r\n\r\n"

    found = await statuses(
        address,
        post(b"Transfer-Encoding: chunked", body=body) + HIDDEN,
        silent_seconds=30,
    )

    # The method is not allowed there; what comes behind it is a request of its own.
    assert found == [405, 200]


@pytest.mark.parametrize("service", ["ingest", "streamer"])
async def test_a_head_that_never_ends_is_not_waited_for(
    database_url, nats_url, monkeypatch, service
):
    """However slowly it goes on: a byte now and then keeps no connection open."""
    monkeypatch.setattr("libs.common.health._IDLE_SECONDS", 1.0)
    async with open_one(service, database_url, nats_url) as url:
        where = urlsplit(url)
        reader, writer = await asyncio.open_connection(where.hostname, where.port)
        writer.write(b"GET /health/live HTTP/1.1\r\nX-Slow: ")

        async def drip():
            while not reader.at_eof():
                writer.write(b"x")
                await asyncio.sleep(0.1)

        dripping = asyncio.create_task(drip())
        try:
            assert await asyncio.wait_for(reader.read(), 20) == b""
        finally:
            dripping.cancel()
            await asyncio.gather(dripping, return_exceptions=True)
            writer.close()
