"""A connection that a receiver gives up just when it is used again."""

import asyncio
import socket
import struct

import pytest

from services.delivery.manners import plain
from services.delivery.sender import open_sender
from services.delivery.settings import Settings
from tests.support.delivery import SECRET, SECRET_KEY, job
from tests.support.receivers import run_receiver
from tests.support.waiting import until

MANNER = plain([SECRET])
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture
async def attempt():
    knobs = Settings(secret_key=SECRET_KEY, environment="development")
    async with open_sender(knobs) as sender:

        async def attempt(url, **fields):
            return await sender.attempt(
                job(url, b"", **fields), b"", MANNER, lease_id="lease-1"
            )

        yield attempt


def reset(writer):
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class Fickle:
    """Answers the first request on a connection; what then, the test says."""

    def __init__(self, then) -> None:
        self._then = then
        self._known: set[asyncio.StreamWriter] = set()

    async def talk(self, _, writer):
        if writer in self._known:
            await self._then(writer)
        else:
            self._known.add(writer)
            writer.write(OK)


async def hanging_up(writer):
    writer.close()
    raise ConnectionError


async def resetting(writer):
    reset(writer)
    raise ConnectionError


@pytest.mark.parametrize("then", [hanging_up, resetting])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "GET"])
async def test_a_request_that_may_have_been_read_is_not_made_again(
    attempt, method, then
):
    async with run_receiver(Fickle(then).talk) as receiver:
        for n in range(1, 5):
            verdict = await attempt(receiver.url, method=method)
            assert (verdict.status is None) == (n % 2 == 0)
            assert len(receiver.heads) == n

    assert receiver.connections == 2


async def test_many_connections_that_are_given_up_get_one_request_each(attempt):
    everybody = asyncio.Barrier(10)
    known = set()

    async def talk(_, writer):
        if writer in known:
            await hanging_up(writer)
        known.add(writer)
        await everybody.wait()
        writer.write(OK)

    async with run_receiver(talk) as receiver:
        verdicts = await asyncio.gather(*(attempt(receiver.url) for _ in range(10)))
        assert {verdict.status for verdict in verdicts} == {200}
        assert receiver.connections == 10
        for n in range(11, 21):
            verdict = await attempt(receiver.url)
            assert verdict.error == "connection closed before the answer"
            assert len(receiver.heads) == n

    assert receiver.connections == 10


async def test_what_the_loop_has_not_heard_yet_is_looked_for(attempt):
    """Nothing is written to a connection whose end is there already."""
    sockets = []

    async def talk(_, writer):
        sockets.append(writer.get_extra_info("socket"))
        writer.write(OK)

    async with run_receiver(talk) as receiver:
        assert (await attempt(receiver.url)).status == 200
        # From here to the request nothing lets the loop run.
        sockets[0].shutdown(socket.SHUT_RDWR)
        assert (await attempt(receiver.url)).status == 200

    assert receiver.connections == 2
    assert len(receiver.heads) == 2


async def test_a_new_connection_that_is_given_up_is_a_failure(attempt):
    async with run_receiver(lambda _, writer: hanging_up(writer)) as receiver:
        verdict = await attempt(receiver.url)

    assert verdict.error == "connection closed before the answer"
    assert receiver.connections == 1


async def test_an_answer_that_has_begun_is_not_asked_for_again(attempt):
    async def breaking_off(writer):
        writer.write(b"HTTP/1.1 2")
        await writer.drain()
        await hanging_up(writer)

    async with run_receiver(Fickle(breaking_off).talk) as receiver:
        assert (await attempt(receiver.url)).status == 200
        verdict = await attempt(receiver.url)

    assert verdict.status is None
    assert len(receiver.heads) == 2


async def test_a_connection_that_was_given_up_before_is_not_used(attempt):
    async def leaving(_, writer):
        writer.write(OK)
        await writer.drain()
        writer.close()

    async with run_receiver(leaving) as receiver:
        for n in range(1, 4):
            assert (await attempt(receiver.url)).status == 200
            await until(receiver.closed.is_set)
            assert len(receiver.heads) == n
