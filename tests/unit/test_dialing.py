"""From a name to a connection: who is asked, which addresses are tried."""

import asyncio
import errno
import os
import socket
from types import SimpleNamespace

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from libs.common.endpoints import Tls
from services.delivery.connection import Connection
from services.delivery.failures import LATE, UNKNOWN, NoRoom
from tests.support.eventloops import on_both_loops
from tests.support.exchanges import (
    ANSWER,
    AUTHORITY,
    OK,
    ask,
    exchanging,
    idle_in,
    why,
)
from tests.support.receivers import run_receiver, saying


class Names(AbstractResolver):
    """A name server that takes its time, or does not know."""

    def __init__(self, *addresses: str, fails: int = 0) -> None:
        self._addresses = addresses
        self._fails = fails
        self.asked = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked += 1
        await asyncio.sleep(0.05)
        if self._fails:
            self._fails -= 1
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=family,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self._addresses
        ]

    async def close(self) -> None:
        pass


@on_both_loops
async def test_a_name_is_looked_up_once_for_all_who_want_it():
    names = Names("127.0.0.1")
    async with run_receiver(saying(ANSWER)) as receiver, exchanging(names=names) as ex:
        url = f"http://a.example:{receiver.port}/"
        asking = [asyncio.create_task(ask(ex, url)) for _ in range(20)]
        await asyncio.sleep(0.02)
        # The one who asked first goes; the others wait for the same answer.
        asking[0].cancel()
        answers = await asyncio.gather(*asking, return_exceptions=True)
        assert isinstance(answers[0], asyncio.CancelledError)
        assert all(not isinstance(answer, BaseException) for answer in answers[1:])

    assert names.asked == 1


@on_both_loops
async def test_a_name_that_was_not_found_is_asked_for_again():
    names = Names("127.0.0.1", fails=1)
    async with run_receiver(saying(ANSWER)) as receiver, exchanging(names=names) as ex:
        url = f"http://a.example:{receiver.port}/"
        assert await why(ex, url) == UNKNOWN
        assert (await ask(ex, url)).status == 200


@on_both_loops
async def test_a_look_up_that_nobody_waits_for_ends_with_the_service():
    names = Names("127.0.0.1")
    async with exchanging(names=names) as exchange:
        with pytest.raises(TimeoutError):
            await ask(exchange, "http://a.example/", seconds=0.01)
        assert exchange._dialer._asked
    assert not exchange._dialer._asked


@on_both_loops
async def test_the_addresses_of_a_name_take_turns_and_those_that_refuse_are_passed_by():
    with socket.create_server(("127.0.0.9", 0)) as server:
        closed = server.getsockname()[1]
    names = Names("127.0.0.1", "127.0.0.9", "127.0.0.8")
    async with exchanging(names=names, delivery_keepalive_seconds=0) as exchange:
        infos = [await exchange._dialer._infos("a.example", closed) for _ in range(4)]
        firsts = [info[0][4][0] for info in infos]
        assert sorted(firsts[:3]) == ["127.0.0.1", "127.0.0.8", "127.0.0.9"]
        assert firsts[3] == firsts[0]
        async with run_receiver(saying(ANSWER)) as receiver:
            for _ in range(4):
                url = f"http://a.example:{receiver.port}/"
                assert (await ask(exchange, url)).status == 200
        assert (
            await why(exchange, f"http://a.example:{closed}/") == "connection refused"
        )

    assert receiver.connections == 4


@on_both_loops
async def test_an_address_that_does_not_speak_tls_is_passed_by():
    async def babble(_, writer):
        writer.write(b"what?")
        await writer.drain()
        writer.close()

    async def talk(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK + b"Connection: close\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    wrong = await asyncio.start_server(babble, "127.0.0.1", 0)
    port = wrong.sockets[0].getsockname()[1]
    tls = AUTHORITY.server("a.example")
    right = await asyncio.start_server(talk, "127.0.0.2", port, ssl=tls)
    names = Names("127.0.0.1", "127.0.0.2")
    async with wrong, right, exchanging(names=names) as exchange:
        context = await exchange.context(Tls(ca=AUTHORITY.pem))
        for _ in range(2):
            answer = await ask(exchange, f"https://a.example:{port}/", context=context)
            assert answer.status == 200


@on_both_loops
async def test_no_connection_in_time_is_not_the_attempts_time():
    names = Names("127.0.0.1")
    async with exchanging(
        names=names, delivery_connect_timeout_seconds=0.01
    ) as exchange:
        assert await why(exchange, "http://a.example/") == LATE
        with pytest.raises(TimeoutError):
            await ask(exchange, "http://a.example/", seconds=0.005)


@on_both_loops
@pytest.mark.parametrize("secure", [False, True])
async def test_who_gives_up_in_the_moment_of_success_leaves_nothing(secure):
    """That is when uvloop closes a connection without a word to it."""
    there: set[Connection] = set()

    def opened(connection: Connection) -> None:
        there.add(connection)
        dialing.cancel()

    def made() -> Connection:
        loop = asyncio.get_running_loop()
        return Connection(loop, opened=opened, lost=there.discard)

    tls = AUTHORITY.server() if secure else None
    async with run_receiver(saying(ANSWER), tls=tls) as receiver, exchanging() as ex:
        context = await ex.context(Tls(ca=AUTHORITY.pem)) if secure else None
        dialing = asyncio.create_task(
            ex._dialer.dial("localhost", receiver.port, context, made)
        )
        with pytest.raises(asyncio.CancelledError):
            await dialing
        assert not there
        await asyncio.wait_for(receiver.closed.wait(), 5)


@on_both_loops
async def test_a_machine_without_ipv6_has_no_way_there_and_lacks_nothing():
    """It has no address to connect from; in IPv4 that means that no port is left."""

    def open_socket(_):
        raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))

    async with run_receiver(saying(ANSWER)) as receiver, exchanging() as ex:
        await ask(ex, receiver.url)
        ex._dialer._guard = SimpleNamespace(open_socket=open_socket)

        assert await why(ex, "http://[2600::1]/") == "no route to the receiver"
        with pytest.raises(NoRoom):
            await ask(ex, "http://192.0.2.1/")
        # Nobody else's connection is closed for it.
        assert idle_in(ex) == 1
