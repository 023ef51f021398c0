"""The published client's event streams and WebSockets, used as its users use them."""

import asyncio
from contextlib import asynccontextmanager
from functools import partial

import pytest
import websockets.sync.client
from spooled.errors import AuthenticationError
from spooled.realtime import (
    AsyncSSEClient,
    AsyncWebSocketClient,
    SpooledRealtime,
    SpooledRealtimeOptions,
    SSEClient,
    SubscriptionFilter,
    UnifiedSubscriptionFilter,
    WebSocketClient,
    WebSocketConnectionOptions,
)

from libs.common.store import settlement
from tests.support import stock
from tests.support.house import run_house
from tests.support.waiting import until
from tests.support.watching import open_gallery, tenant


@pytest.fixture
async def acme(conn):
    return await tenant(conn, "acme")


@pytest.fixture
async def line(conn, acme):
    return await stock.open_line(conn, organization_id=acme.organization_id)


@pytest.fixture
async def gallery(database_url, nats_url):
    async with (
        run_house(database_url, nats_url, services=("scheduler",)),
        open_gallery(database_url, nats_url) as gallery,
    ):
        yield gallery


async def live(conn, line):
    """Let a job live its life."""
    [job] = await stock.create(conn, line)
    [claimed] = await stock.claim(conn, line)
    await settlement.settle(conn, attempts=[stock.ended(claimed)], actor="pod")
    return str(job)


LIFE = [
    "job.created",
    "job.status_changed",
    "job.status_changed",
    "job.completed",
]


async def of(events, job, count=4):
    """Return what an iterator of events says of a job, as far as *count*."""
    told: list[str] = []
    async with asyncio.timeout(20):
        async for event in events:
            assert event.timestamp is not None
            if isinstance(event.data, dict) and event.data.get("job_id") == job:
                told.append(event.type)
            if len(told) == count:
                return told
    return told


def options(gallery, acme, **more):
    return WebSocketConnectionOptions(
        ws_url=gallery.url.replace("http", "ws"), token=acme.key, **more
    )


async def test_the_async_event_stream(gallery, conn, acme, line):
    async with AsyncSSEClient(gallery.url, acme.key) as sse:
        job = await live(conn, line)
        assert await of(sse.events(), job) == LIFE
    async with AsyncSSEClient(gallery.url, acme.key, queue="mail") as sse:
        job = await live(conn, line)
        assert await of(sse.events(), job) == LIFE


async def test_the_async_event_stream_of_a_job_ends_with_it(gallery, conn, acme, line):
    [job] = await stock.create(conn, line)
    async with AsyncSSEClient(gallery.url, acme.key, job_id=str(job)) as sse:
        [claimed] = await stock.claim(conn, line)
        await settlement.settle(conn, attempts=[stock.ended(claimed)], actor="pod")
        told = await of(sse.events(), str(job), count=100)

    assert told[-3:] == ["job.status_changed", "job.status_changed", "job.completed"]
    async with AsyncSSEClient(gallery.url, acme.key, job_id=str(job)) as sse:
        assert await of(sse.events(), str(job), count=100) == ["job.status_changed"]


async def test_a_wrong_key_is_an_error_of_its_own(gallery):
    sse = AsyncSSEClient(gallery.url, "sk_live_nobody", auto_reconnect=False)
    with pytest.raises(AuthenticationError):
        await sse.connect()


async def test_the_blocking_event_stream(gallery, conn, acme, line):
    sse = SSEClient(gallery.url, acme.key)
    await asyncio.to_thread(sse.connect)
    events = sse.events()
    told: list[str] = []

    def read():
        for event in events:
            if isinstance(event.data, dict) and event.data.get("job_id") == job:
                told.append(event.type)
            if len(told) == len(LIFE):
                return

    job = await live(conn, line)
    async with asyncio.timeout(20):
        await asyncio.to_thread(read)
    await asyncio.to_thread(sse.close)

    assert told == LIFE


async def test_the_async_websocket(gallery, conn, acme, line):
    async with AsyncWebSocketClient(options(gallery, acme)) as ws:
        job = await live(conn, line)
        assert await of(ws.events(), job) == LIFE


async def test_subscriptions_of_the_async_websocket(gallery, conn, acme, line):
    mine = {"organization_id": acme.organization_id}
    letters = await stock.open_line(conn, queue_name="letters", **mine)
    async with AsyncWebSocketClient(options(gallery, acme)) as ws:
        await ws.subscribe(SubscriptionFilter(queue="letters"))
        await ws.ping()
        events = ws.events()
        # The first comes by itself, the second is the answer.
        assert [(await anext(events)).type for _ in range(2)] == ["ping", "ping"]
        await live(conn, line)
        [job] = await stock.create(conn, letters)

        event = await anext(events)

    assert (event.type, event.data["job_id"]) == ("job.created", str(job))


@pytest.fixture
def old_ways(monkeypatch):
    """The blocking client asks for a WebSocket as one did before websockets 17."""
    monkeypatch.setattr(
        "websockets.sync.client.connect",
        partial(websockets.sync.client.connect, legacy=True),
    )


@asynccontextmanager
async def connected(client):
    await asyncio.to_thread(client.connect)
    try:
        yield client
    finally:
        close = getattr(client, "disconnect", None) or client.close
        await asyncio.to_thread(close)


async def test_the_blocking_websocket(old_ways, gallery, conn, acme, line):
    told = []
    ws = WebSocketClient(options(gallery, acme))
    ws.on_event(lambda event: told.append((event.type, event.data)))
    async with connected(ws):
        await until(lambda: "ping" in [kind for kind, _ in told])
        job = await live(conn, line)

        def seen():
            return [kind for kind, data in told if data.get("job_id") == job] == LIFE

        await until(seen)


@pytest.mark.parametrize("kind", ["websocket", "sse"])
async def test_the_unified_client(old_ways, gallery, conn, acme, line, kind):
    told = []
    realtime = SpooledRealtime(
        SpooledRealtimeOptions(
            base_url=gallery.url,
            ws_url=gallery.url.replace("http", "ws"),
            token=acme.key,
            type=kind,
        )
    )
    realtime.on_event(lambda event: told.append((event.type, event.data)))
    await asyncio.to_thread(realtime.connect, UnifiedSubscriptionFilter(queue="mail"))
    try:
        await until(lambda: realtime.state.value == "connected")

        async def seen():
            job = await live(conn, line)
            await asyncio.sleep(0.5)
            return [k for k, data in told if data.get("job_id") == job] == LIFE

        await until(seen)
    finally:
        await asyncio.to_thread(realtime.disconnect)
