"""Connections that wait for the next request, and how they end."""

import asyncio
import contextlib
import os
import resource
import time

import pytest

from libs.common.endpoints import Tls
from services.delivery.failures import CLOSED, NoAnswer, NoRoom
from tests.support.eventloops import on_both_loops
from tests.support.exchanges import (
    ANSWER,
    AUTHORITY,
    OK,
    ask,
    exchanging,
    idle_in,
    open_in,
)
from tests.support.receivers import run_receiver, saying
from tests.support.waiting import until


@contextlib.contextmanager
def no_more_descriptors():
    """Let this process open nothing before it has closed something."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# --- idle connections --------------------------------------------------------------


@on_both_loops
async def test_thousands_of_receivers_leave_few_connections():
    connections = 0

    async def talk(reader, writer):
        nonlocal connections
        connections += 1
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(ANSWER)
        writer.close()
        connections -= 1

    server = await asyncio.start_server(talk, "0.0.0.0", 0)
    port = server.sockets[0].getsockname()[1]
    urls = [f"http://127.0.{n // 250}.{n % 250 + 1}:{port}/" for n in range(3000)]
    async with (
        server,
        # Ends here share a loop and a busy machine: nobody is late.
        exchanging(
            delivery_idle_connections_max=64, delivery_connect_timeout_seconds=60
        ) as exchange,
        asyncio.timeout(60),
    ):
        for start in range(0, len(urls), 50):
            few = urls[start : start + 50]
            await asyncio.gather(*(ask(exchange, url, seconds=60) for url in few))
            assert idle_in(exchange) <= 64
            assert len(exchange._connections._idle_to) == idle_in(exchange)
        await until(lambda: (connections, open_in(exchange)) == (64, 64))
        # The last ones are there.
        before = exchange._connections._open.copy()
        await asyncio.gather(*(ask(exchange, url) for url in urls[-50:]))
        assert exchange._connections._open == before


@on_both_loops
async def test_one_receiver_has_at_most_half_of_the_places():
    everybody = asyncio.Barrier(20)

    async def talk(_, writer):
        await everybody.wait()
        writer.write(ANSWER)

    async with (
        run_receiver(talk) as crowd,
        run_receiver(saying(ANSWER)) as single,
        exchanging(delivery_idle_connections_max=8) as exchange,
    ):
        await ask(exchange, single.url)
        await asyncio.gather(*(ask(exchange, crowd.url) for _ in range(20)))
        assert idle_in(exchange) == 1 + 4
        await ask(exchange, single.url)

    assert single.connections == 1


@on_both_loops
async def test_idle_connections_make_room_where_there_is_none():
    everybody = asyncio.Barrier(20)

    async def talk(_, writer):
        await everybody.wait()
        writer.write(ANSWER)

    async with (
        run_receiver(talk) as crowd,
        run_receiver(saying(ANSWER)) as single,
        exchanging() as exchange,
    ):
        await asyncio.gather(*(ask(exchange, crowd.url) for _ in range(20)))
        assert idle_in(exchange) == 20
        with no_more_descriptors():
            with pytest.raises(NoRoom):
                await ask(exchange, single.url)
            await until(lambda: not open_in(exchange))
            assert (await ask(exchange, single.url)).status == 200


@on_both_loops
async def test_idle_connections_grow_old():
    async with (
        run_receiver(saying(ANSWER)) as receiver,
        exchanging(delivery_keepalive_seconds=0.2) as exchange,
    ):
        await ask(exchange, receiver.url)
        await ask(exchange, receiver.url)
        assert receiver.connections == 1
        # Too old, though nobody has come to close it yet.
        time.sleep(0.25)  # noqa: ASYNC251 - nothing may run meanwhile
        await ask(exchange, receiver.url)
        assert receiver.connections == 2
        await until(lambda: not open_in(exchange))


@on_both_loops
@pytest.mark.parametrize(("said", "connections"), [(b"1", 2), (b"0", 2), (b"60", 1)])
async def test_a_receiver_may_say_how_long_it_waits(said, connections):
    async with exchanging() as exchange:
        answer = OK + b"Keep-Alive: timeout=" + said + b"\r\nContent-Length: 0\r\n\r\n"
        async with run_receiver(saying(answer)) as receiver:
            await ask(exchange, receiver.url)
            await asyncio.sleep(0.6)
            await ask(exchange, receiver.url)

        assert receiver.connections == connections


@on_both_loops
@pytest.mark.parametrize(
    "answer",
    [
        OK + b"Connection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ],
    ids=ascii,
)
@pytest.mark.parametrize("secure", [False, True])
async def test_who_does_not_want_to_be_asked_again_is_not(answer, secure):
    async with exchanging() as exchange:
        tls = AUTHORITY.server() if secure else None
        context = await exchange.context(Tls(ca=AUTHORITY.pem))
        # It does not hang up by itself.
        async with run_receiver(saying(answer), tls=tls) as receiver:
            scheme, host = ("https", "localhost") if secure else ("http", "127.0.0.1")
            for n in (1, 2):
                url = f"{scheme}://{host}:{receiver.port}/"
                assert (await ask(exchange, url, context=context)).body == b"ok"
                assert receiver.connections == n
            await asyncio.wait_for(receiver.closed.wait(), 5)
            await until(lambda: not open_in(exchange))


# --- who gives up ------------------------------------------------------------------


@on_both_loops
async def test_who_is_cancelled_leaves_no_connection_behind():
    async with exchanging() as exchange:
        thinking = asyncio.Event()

        async def talk(_, writer):
            writer.write(OK + b"Content-Length: 3\r\n\r\no")
            thinking.set()
            await asyncio.sleep(0.1)
            writer.write(b"ne")

        async with run_receiver(talk) as receiver:
            asking = asyncio.create_task(ask(exchange, receiver.url))
            await thinking.wait()
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            assert idle_in(exchange) == 0
            await asyncio.wait_for(receiver.closed.wait(), 5)
            await until(lambda: not open_in(exchange))
            # What came too late is nobody's answer.
            assert (await ask(exchange, receiver.url)).body == b"one"
            assert receiver.connections == 2


@on_both_loops
@pytest.mark.parametrize("secure", [False, True])
async def test_who_is_cancelled_before_there_is_a_connection(secure):
    async def talk(reader, _):
        await reader.read()
        raise ConnectionError

    async with (
        run_receiver(talk, listens=False) as receiver,
        exchanging() as exchange,
    ):
        scheme = "https" if secure else "http"
        url = f"{scheme}://127.0.0.1:{receiver.port}/"
        asking = asyncio.create_task(ask(exchange, url))
        await until(lambda: receiver.connections)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await asyncio.wait_for(receiver.closed.wait(), 5)
        assert open_in(exchange) == 0


@on_both_loops
async def test_a_deadline_that_has_passed_is_kept():
    async with exchanging() as exchange:
        async with run_receiver(saying(ANSWER)) as receiver:
            await ask(exchange, receiver.url)
            with pytest.raises(TimeoutError):
                await ask(
                    exchange, receiver.url.replace("127.0.0.1", "127.0.0.2"), seconds=0
                )
            assert (await ask(exchange, receiver.url)).status == 200

        assert receiver.connections == 1


@on_both_loops
async def test_when_it_closes_everything_is_closed():
    async def talk(_, writer):
        if not hanging.is_set():
            writer.write(ANSWER)

    hanging = asyncio.Event()
    context_of = Tls(ca=AUTHORITY.pem)
    async with (
        run_receiver(talk) as plain,
        run_receiver(talk, tls=AUTHORITY.server()) as secure,
    ):
        async with exchanging() as exchange:
            context = await exchange.context(context_of)
            url = f"https://localhost:{secure.port}/"
            await ask(exchange, url, context=context)
            await ask(exchange, plain.url)
            hanging.set()
            asking = asyncio.create_task(ask(exchange, plain.url))
            await until(lambda: len(plain.heads) == 2)
        assert open_in(exchange) == 0
        with pytest.raises(NoAnswer, match=CLOSED):
            await asking
        for receiver in (plain, secure):
            await asyncio.wait_for(receiver.closed.wait(), 5)
