"""What is poured into a stream is all there, in order, whatever happens meanwhile."""

import asyncio
from urllib.parse import urlsplit

import nats
import pytest

from libs.common import streams
from libs.common.bus import open_bus
from libs.common.errors import Unavailable
from libs.common.messages import EVENTS, Stream
from libs.common.streams import Message
from tests.support.waiting import until
from tests.support.wire import wire_to


def numbered(first, last, *, size=10):
    return [
        Message(
            "bellhop.events.o.q.j.created",
            str(number),
            "",
            str(number).encode().ljust(size),
        )
        for number in range(first, last + 1)
    ]


@pytest.fixture
async def bus(nats_url):
    async with open_bus(nats_url, service="test") as bus:
        await until(lambda: bus.connected)
        yield bus


@pytest.fixture
async def client(nats_url):
    client = await nats.connect(nats_url)
    yield client
    await client.close()


async def stored(client):
    """Return the numbers in the stream, in its order."""
    jetstream = client.jetstream()
    state = (await jetstream.stream_info(EVENTS.name)).state
    found = []
    for seq in range(state.first_seq, state.last_seq + 1):
        message = await jetstream.get_msg(EVENTS.name, seq)
        found.append(int(message.data))
    return found


async def poured(bus, messages, stream=EVENTS):
    """Pour until it is known that they are there, as the announcer does."""
    async with asyncio.timeout(20):
        while True:
            try:
                await streams.pour(bus, stream, messages)
            except Unavailable:
                await asyncio.sleep(0.05)
            else:
                return


@pytest.mark.parametrize("count", [1, 2, 3, 500])
async def test_they_are_stored_in_order(bus, client, count):
    await poured(bus, numbered(1, count))

    assert await stored(client) == list(range(1, count + 1))


async def test_the_subject_headers_and_data_are_what_was_given(bus, client):
    message = Message("bellhop.events.a.b", "1", "ce-id: a b: c\r\n", b"{}")
    other = Message("bellhop.events.a.c", "2", "ce-id: 2\r\n", b"")

    await poured(bus, [message, other, *numbered(3, 3)])

    jetstream = client.jetstream()
    first, second = [await jetstream.get_msg(EVENTS.name, seq) for seq in (1, 2)]
    assert (first.subject, first.data) == ("bellhop.events.a.b", b"{}")
    assert first.headers == {"Nats-Msg-Id": "1", "ce-id": "a b: c"}
    assert (second.subject, second.data or b"") == ("bellhop.events.a.c", b"")
    assert second.headers["ce-id"] == "2"


async def test_what_was_poured_before_is_not_there_twice(bus, client):
    await poured(bus, numbered(1, 10))
    await poured(bus, numbered(1, 10))
    await poured(bus, numbered(5, 15))

    assert await stored(client) == list(range(1, 16))


async def test_two_who_pour_the_same_are_one(bus, client, nats_url):
    async with open_bus(nats_url, service="test") as other:
        await until(lambda: other.connected)
        await asyncio.gather(
            poured(bus, numbered(1, 300)),
            poured(other, numbered(1, 200)),
            poured(other, numbered(1, 300)),
        )

    assert await stored(client) == list(range(1, 301))


async def test_behind_a_hole_nothing_is_stored(bus, client):
    await poured(bus, numbered(1, 3))
    *_, six = streams._chained(numbered(4, 6))

    with pytest.raises(Unavailable):
        await streams._send(bus, six)
    await streams.pour(bus, EVENTS, numbered(4, 4))
    with pytest.raises(Unavailable):
        await streams._send(bus, six)

    assert await stored(client) == [1, 2, 3, 4]


async def test_a_cut_in_the_middle_loses_nothing_and_changes_no_order(nats_url, client):
    """Sixteen cuts, wherever they happen to be."""
    place = urlsplit(nats_url)
    async with wire_to(place.hostname, place.port) as wire:
        through = place._replace(
            netloc=f"{place.username}:{place.password}@127.0.0.1:{wire.port}"
        ).geturl()
        async with open_bus(through, service="test") as bus:
            await until(lambda: bus.connected)
            for turn in range(16):
                pouring = asyncio.create_task(
                    poured(bus, numbered(turn * 200 + 1, turn * 200 + 200, size=2000))
                )
                await asyncio.sleep(0.0005 * turn)
                wire.cut()
                await asyncio.sleep(0.05)
                wire.mend()
                await pouring

    assert await stored(client) == list(range(1, 3201))


async def test_a_stream_that_is_missing_is_made(bus, client):
    await poured(bus, numbered(1, 5))
    await client.jetstream().delete_stream(EVENTS.name)
    await poured(bus, numbered(6, 10))

    assert await stored(client) == [6, 7, 8, 9, 10]


async def test_a_server_that_lost_its_disk_gets_what_comes_next(nats_server):
    async with open_bus(nats_server.url, service="test") as bus:
        await until(lambda: bus.connected)
        await poured(bus, numbered(1, 5))
        await nats_server.kill()
        nats_server.wipe()
        await nats_server.start()
        await poured(bus, numbered(6, 10))

    client = await nats.connect(nats_server.url)
    try:
        assert await stored(client) == [6, 7, 8, 9, 10]
    finally:
        await client.close()


async def test_a_server_that_was_killed_has_a_beginning_and_the_rest_in_order(
    nats_server,
):
    """What it had acknowledged it may have lost: it comes again where it stood."""
    async with open_bus(nats_server.url, service="test") as bus:
        await until(lambda: bus.connected)
        await poured(bus, numbered(1, 50))
        await nats_server.kill()
        await nats_server.start()
        await poured(bus, numbered(1, 80))

    client = await nats.connect(nats_server.url)
    try:
        assert await stored(client) == list(range(1, 81))
    finally:
        await client.close()


async def test_a_full_stream_loses_its_oldest_and_takes_the_new(bus, client):
    small = Stream(
        name=EVENTS.name,
        subjects=EVENTS.subjects,
        durable=True,
        work_queue=False,
        age_max=EVENTS.age_max,
        bytes_max=100_000,
        duplicate_window=EVENTS.duplicate_window,
    )
    await streams.ensure(bus, small)

    for turn in range(4):
        await poured(bus, numbered(turn * 100 + 1, turn * 100 + 100, size=900), small)

    found = await stored(client)
    assert found == list(range(found[0], 401))
    assert 50 < len(found) < 150
