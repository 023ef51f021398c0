"""The sender against receivers that hang, lie, drip, or never end."""

import asyncio
import errno
import os
import socket
import ssl

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from libs.common.messages import Verdict
from services.delivery.answer import KEPT_BYTES_MAX, READ_BYTES_MAX
from services.delivery.manners import plain
from services.delivery.sender import Sender, open_sender
from services.delivery.settings import Settings
from tests.support.certificates import write_certificate
from tests.support.delivery import SECRET, SECRET_KEY, job
from tests.support.endpoint import DROP, HANG
from tests.support.receivers import run_receiver, saying, saying_and_closing
from tests.support.waiting import until

MANNER = plain([SECRET])
OK = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture
async def sender():
    knobs = Settings(
        secret_key=SECRET_KEY,
        environment="development",
        delivery_connect_timeout_seconds=0.3,
    )
    async with open_sender(knobs) as sender:
        yield sender


async def attempt(sender: Sender, url: str, body: bytes = b"{}", **fields) -> Verdict:
    return await sender.attempt(
        job(url, body, **fields), body, MANNER, lease_id="lease-1"
    )


def failed(verdict: Verdict) -> str:
    """Check that there was no answer, and return why."""
    assert verdict.sent
    assert verdict.status is None
    assert verdict.headers is None
    assert verdict.body == b""
    assert verdict.error is not None
    assert "127.0.0.1" not in verdict.error
    return verdict.error


# --- time ----------------------------------------------------------------------------


async def test_a_receiver_that_hangs_costs_the_time_out(sender, endpoint):
    endpoint.otherwise = HANG

    verdict = await attempt(sender, endpoint.url, timeout_seconds=0.2)

    assert failed(verdict) == "timeout after 0.2 s"
    assert 190 <= verdict.duration_ms < 2000


async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(OK + b"Content-Length: 60000\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.01)


async def drip_headers(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(OK)
    while True:
        writer.write(b"X-A: a\r\n")
        await writer.drain()
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("talk", [drip, drip_headers])
async def test_one_deadline_stands_over_the_whole_attempt(sender, talk):
    async with run_receiver(talk) as receiver:
        verdict = await attempt(sender, receiver.url, timeout_seconds=0.3)

        await asyncio.wait_for(receiver.closed.wait(), 5)

    assert failed(verdict) == "timeout after 0.3 s"


async def test_a_receiver_that_does_not_take_the_body_costs_the_time_out(sender):
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"

        verdict = await attempt(sender, url, b"x" * 1024 * 1024, timeout_seconds=0.3)

    assert failed(verdict) == "timeout after 0.3 s"


async def test_an_answer_before_the_end_of_the_body_is_an_answer(sender):
    answer = b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"

    async with run_receiver(saying(answer)) as receiver:
        verdict = await attempt(sender, receiver.url, b"x" * 1024 * 1024)

    assert verdict.status == 413


# --- size ----------------------------------------------------------------------------


@pytest.mark.parametrize("length", [b"Content-Length: 1000000000\r\n\r\n", b"\r\n"])
async def test_an_answer_without_end_is_cut(sender, length):
    said = 0

    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal said
        writer.write(OK + length)
        while True:
            writer.write(b"x" * 1024)
            await writer.drain()
            said += 1024

    async with run_receiver(talk) as receiver:
        verdict = await attempt(sender, receiver.url)
        await asyncio.wait_for(receiver.closed.wait(), 5)
        again = await attempt(sender, receiver.url)

    assert (verdict.status, verdict.body) == (200, b"x" * KEPT_BYTES_MAX)
    assert again.status == 200
    assert receiver.connections == 2
    # What the kernel's buffers took is not what was read, but it is bounded as well.
    assert READ_BYTES_MAX <= said < 50 * 1024 * 1024


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"X-A: " + b"a" * 9000 + b"\r\n\r\n",
        OK + b"X-A: a\r\n" * 200 + b"Content-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 " + b"a" * 9000 + b"\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"\x16\x03\x01\x00\xa5\x01",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/9.9 200 OK\r\n\r\n",
        OK + b"Content-Length: -1\r\n\r\n",
        OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        OK + b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n",
    ],
    ids=lambda answer: ascii(answer[:24]),
)
async def test_what_is_not_http_is_no_answer(sender, answer):
    async with run_receiver(saying_and_closing(answer)) as receiver:
        verdict = await attempt(sender, receiver.url)

    assert failed(verdict) == "answer is malformed or its headers are too large"


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"Content-Length: 100\r\n\r\nhalf",
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel",
    ],
)
async def test_an_answer_that_breaks_off_is_no_answer(sender, answer):
    async with run_receiver(saying_and_closing(answer)) as receiver:
        verdict = await attempt(sender, receiver.url)

    assert failed(verdict) == "answer broke off or is malformed"


# --- no connection -------------------------------------------------------------------


async def test_a_closed_door(sender):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

    for host in ("127.0.0.1", "localhost"):
        verdict = await attempt(sender, f"http://{host}:{port}/")
        assert failed(verdict) == "connection refused"


async def test_a_receiver_that_hangs_up(sender, endpoint):
    endpoint.otherwise = DROP

    verdict = await attempt(sender, endpoint.url)

    assert failed(verdict) == "connection closed before the answer"


async def test_a_door_that_nobody_opens(sender):
    # A backlog that is full: the handshake is never finished.
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        address = server.getsockname()
        callers = [socket.socket() for _ in range(8)]
        for caller in callers:
            caller.settimeout(0)
            caller.connect_ex(address)

        verdict = await attempt(sender, f"http://127.0.0.1:{address[1]}/")

        for caller in callers:
            caller.close()

    assert failed(verdict) == "no connection in time"


class Names(AbstractResolver):
    """A name server that answers every question in the same way."""

    def __init__(self, answer: OSError | None) -> None:
        self._answer = answer

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        if self._answer is not None:
            raise self._answer
        await asyncio.Event().wait()
        raise AssertionError(host, port, family)

    async def close(self) -> None:
        pass


async def attempt_with(names: Names) -> Verdict:
    knobs = Settings(secret_key=SECRET_KEY, environment="development")
    async with open_sender(knobs, names=names) as sender:
        return await attempt(sender, "http://a.example/", timeout_seconds=0.2)


async def test_a_name_that_nobody_knows():
    unknown = socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    assert failed(await attempt_with(Names(unknown))) == "name not resolved"


async def test_a_name_server_that_hangs():
    assert failed(await attempt_with(Names(None))) == "timeout after 0.2 s"


async def test_when_this_machine_is_out_of_something_nothing_was_sent():
    full = OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    verdict = await attempt_with(Names(full))

    assert not verdict.sent
    assert verdict.error is None


# --- TLS -----------------------------------------------------------------------------


@pytest.fixture
def self_signed(tmp_path):
    """A TLS server's context that has only its own word for it."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*write_certificate(tmp_path, "localhost"))
    return context


async def test_a_certificate_that_nobody_signed(sender, self_signed):
    async with run_receiver(saying(OK + b"\r\n"), tls=self_signed) as receiver:
        verdict = await attempt(sender, f"https://localhost:{receiver.port}/")

    assert failed(verdict).startswith("TLS: self")
    assert receiver.heads == []


async def test_a_receiver_that_does_not_speak_tls(sender):
    async with run_receiver(saying(OK + b"\r\n")) as receiver:
        greeting = asyncio.create_task(
            attempt(sender, f"https://127.0.0.1:{receiver.port}/", timeout_seconds=5)
        )
        await until(lambda: receiver.connections)
        verdict = await greeting

    assert failed(verdict) == "no connection in time"


async def test_a_receiver_that_answers_tls_with_something_else(sender):
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with run_receiver(talk, listens=False) as receiver:
        verdict = await attempt(sender, f"https://127.0.0.1:{receiver.port}/")

    assert failed(verdict) == "TLS: wrong version number"
