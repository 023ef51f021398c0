"""Requests and answers over real sockets, on both event loops: ours and Python's."""

import asyncio
import socket

import pytest

from libs.common.endpoints import Tls
from services.delivery.failures import BROKEN, CLOSED, MALFORMED, NoAnswer
from services.delivery.request import destination_of
from tests.support.eventloops import on_both_loops
from tests.support.exchanges import (
    ANSWER,
    AUTHORITY,
    OK,
    ask,
    exchanging,
    idle_in,
    open_in,
    why,
)
from tests.support.hostile import resetting
from tests.support.receivers import run_receiver, saying, saying_and_closing
from tests.support.waiting import until

LARGE = bytes(range(256)) * 4096


# --- what is written ---------------------------------------------------------------


@on_both_loops
async def test_a_request_is_written_as_it_should_be():
    async with exchanging() as exchange:
        async with run_receiver(saying(ANSWER)) as receiver:
            url = f"http://127.0.0.1:{receiver.port}/a%2Fb/../c?x=%0D%0A&y=~"
            answer = await ask(exchange, url, b"{}")

        assert (answer.status, answer.body) == (200, b"ok")
        assert receiver.heads == [
            b"POST /a%2Fb/../c?x=%0D%0A&y=~ HTTP/1.1\r\n"
            + b"Host: 127.0.0.1:%d\r\n" % receiver.port
            + b"X-A: a\r\nContent-Length: 2\r\n\r\n"
        ]


@on_both_loops
async def test_an_address_of_six_stands_in_brackets():
    said: list[bytes] = []

    async def talk(reader, writer):
        said.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(ANSWER)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "::1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, exchanging() as exchange:
        assert (await ask(exchange, f"http://[::1]:{port}/")).status == 200

    assert b"\r\nHost: [::1]:%d\r\n" % port in said[0]


@on_both_loops
@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 1024 * 1024])
@pytest.mark.parametrize("secure", [False, True])
async def test_bodies_of_any_size_arrive_whole(size, secure):
    async with exchanging() as exchange:
        body, got = LARGE[:size], []

        async def talk(reader, writer):
            got.append(await reader.readexactly(size))
            writer.write(ANSWER)

        tls = AUTHORITY.server() if secure else None
        context = await exchange.context(Tls(ca=AUTHORITY.pem))
        async with run_receiver(talk, tls=tls) as receiver:
            scheme, host = ("https", "localhost") if secure else ("http", "127.0.0.1")
            for _ in range(2):
                url = f"{scheme}://{host}:{receiver.port}/"
                assert (await ask(exchange, url, body, context=context)).status == 200

        assert got == [body, body]
        assert receiver.connections == 1


@on_both_loops
@pytest.mark.parametrize("secure", [False, True])
async def test_a_body_does_not_pile_up_before_a_receiver_that_does_not_read(secure):
    async with exchanging() as exchange:

        async def talk(_, writer):
            writer.transport.pause_reading()
            await asyncio.sleep(30)

        tls = AUTHORITY.server() if secure else None
        context = await exchange.context(Tls(ca=AUTHORITY.pem))
        body = bytes(8 * 1024 * 1024)
        async with run_receiver(talk, tls=tls) as receiver:
            scheme, host = ("https", "localhost") if secure else ("http", "127.0.0.1")
            asking = asyncio.create_task(
                ask(
                    exchange,
                    f"{scheme}://{host}:{receiver.port}/",
                    body,
                    context=context,
                    seconds=1.0,
                )
            )
            await until(lambda: receiver.heads)
            waiting = 0
            while not asking.done():
                for connection in exchange._connections._open:
                    transport = connection._transport
                    waiting = max(waiting, transport.get_write_buffer_size())
                await asyncio.sleep(0.02)
            with pytest.raises(TimeoutError):
                await asking
            assert 0 < waiting <= 256 * 1024
            await until(lambda: not open_in(exchange))


@on_both_loops
async def test_an_answer_before_the_whole_body_counts_and_ends_the_connection():
    async with exchanging() as exchange:
        early = b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"

        async def talk(reader, writer):
            writer.transport.pause_reading()
            writer.write(early)

        async with run_receiver(talk) as receiver:
            for n in (1, 2):
                answer = await ask(exchange, receiver.url, LARGE * 8)
                assert answer.status == 413
                assert idle_in(exchange) == 0
                assert receiver.connections == n


# --- in pieces ---------------------------------------------------------------------


@on_both_loops
async def test_an_answer_may_drip_over_the_wire():
    async with exchanging() as exchange:
        wire = (
            b"HTTP/1.1 103 Early\r\n\r\n" + OK + b"Transfer-Encoding: chunked\r\n\r\n"
        )
        wire += b"2\r\nok\r\n0\r\nX-T: t\r\n\r\n"

        async def talk(_, writer):
            writer.get_extra_info("socket").setsockopt(
                socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
            )
            for byte in wire:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0)

        async with run_receiver(talk) as receiver:
            for _ in range(3):
                answer = await ask(exchange, receiver.url)
                assert (answer.status, answer.body) == (200, b"ok")

        assert receiver.connections == 1


@on_both_loops
@pytest.mark.parametrize("more", [b"\r\n", b"x", OK, ANSWER], ids=repr)
async def test_what_comes_right_behind_an_answer_ends_the_connection(more):
    async with (
        run_receiver(saying(ANSWER + more)) as receiver,
        exchanging() as exchange,
    ):
        for n in (1, 2, 3):
            assert (await ask(exchange, receiver.url)).body == b"ok"
            assert receiver.connections == n
        assert idle_in(exchange) == 0


# --- how connections end -----------------------------------------------------------


@on_both_loops
async def test_a_receiver_that_only_stops_talking_has_answered():
    """It still listens; what it said goes on until it stopped."""
    async with exchanging() as exchange:

        async def talk(reader, writer):
            writer.write(OK + b"\r\nhello")
            writer.write_eof()
            await reader.read()
            raise ConnectionError

        async with run_receiver(talk) as receiver:
            for n in (1, 2):
                assert (await ask(exchange, receiver.url)).body == b"hello"
                assert receiver.connections == n


@on_both_loops
@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"", CLOSED),
        (b"H", CLOSED),
        (OK, CLOSED),
        (b"HTTP/1.1 100 Continue\r\n\r\n", CLOSED),
        (OK + b"Content-Length: 3\r\n\r\n", BROKEN),
        (OK + b"Content-Length: 3\r\n\r\nok", BROKEN),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", BROKEN),
    ],
    ids=ascii,
)
@pytest.mark.parametrize("how", [saying_and_closing, resetting])
async def test_a_connection_that_ends_without_a_whole_answer_is_a_failure(
    how, said, reason
):
    async with exchanging() as exchange:
        async with run_receiver(how(said)) as receiver:
            assert await why(exchange, receiver.url) in {reason, CLOSED}

        assert (receiver.connections, len(receiver.heads)) == (1, 1)
        assert open_in(exchange) == 0


@on_both_loops
async def test_an_answer_that_a_reset_cuts_off_is_none():
    """Of a body that goes on until the end nobody knows whether it was whole."""
    async with exchanging() as exchange:

        async def talk(reader, writer):
            writer.write(OK + b"\r\nhalf")
            await writer.drain()
            await asyncio.sleep(0.05)
            await resetting(b"")(reader, writer)

        async with run_receiver(talk) as receiver:
            assert await why(exchange, receiver.url) == BROKEN


@on_both_loops
async def test_a_receiver_that_goes_while_it_is_sent_to():
    async with exchanging() as exchange:

        async def talk(reader, writer):
            await reader.readexactly(100_000)
            await resetting(b"")(reader, writer)

        async with run_receiver(talk) as receiver:
            assert await why(exchange, receiver.url, LARGE * 8) == CLOSED


@on_both_loops
async def test_who_talks_before_being_asked_is_not_asked():
    talk = saying(ANSWER)
    async with run_receiver(talk, listens=False) as receiver, exchanging() as exchange:
        destination = destination_of(receiver.url)
        connection = await exchange._dial(destination, None, float("inf"))
        await until(lambda: not open_in(exchange))
        with pytest.raises(NoAnswer, match=MALFORMED):
            await connection.ask(b"", b"")


@on_both_loops
async def test_many_at_once_get_a_connection_each_and_their_own_answers():
    async with exchanging() as exchange:

        async def talk(reader, writer):
            body = await reader.readexactly(8)
            await asyncio.sleep(0.05)
            writer.write(OK + b"Content-Length: 8\r\n\r\n" + body)

        async with run_receiver(talk) as receiver:
            bodies = [b"%08d" % n for n in range(200)]
            for _ in range(2):
                answers = await asyncio.gather(
                    *(ask(exchange, receiver.url, body) for body in bodies)
                )
                assert [answer.body for answer in answers] == bodies
                assert idle_in(exchange) == 200

        assert receiver.connections == 200
