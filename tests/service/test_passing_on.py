"""Ingest passes event streams and WebSockets on: one base URL serves everything."""

import asyncio
import json
import socket
from contextlib import asynccontextmanager

import aiohttp
import pytest
import structlog
import websockets
from aiohttp import web
from aiohttp.test_utils import TestServer
from prometheus_client import REGISTRY
from websockets.exceptions import ConnectionClosed, InvalidStatus

from libs.cli.embedded.ports import free_port
from services.ingest.http import streams
from tests.support.house import run_house
from tests.support.waiting import until
from tests.support.watching import open_gallery, tenant


@pytest.fixture
async def acme(conn):
    return await tenant(conn, "acme")


def door_before(database_url, nats_url, port):
    """Run an ingest that passes on to a streamer on *port*."""
    return run_house(
        database_url,
        nats_url,
        services=("ingest",),
        streamer_url=f"http://127.0.0.1:{port}",
    )


@asynccontextmanager
async def one_door(database_url, nats_url, **knobs):
    """A streamer behind ingest; give both, and the one address."""
    port = free_port()
    async with (
        open_gallery(database_url, nats_url, http_port=port, **knobs) as gallery,
        door_before(database_url, nats_url, port) as house,
    ):
        gallery.url = house.base_url
        yield gallery


def answered(status):
    labels = {"method": "GET", "status": str(status)}
    return REGISTRY.get_sample_value("bellhop_api_requests_total", labels) or 0


def open_streams():
    return REGISTRY.get_sample_value("bellhop_streams_open") or 0


def socket_address(gallery, query=""):
    return f"{gallery.url.replace('http', 'ws')}/api/v1/ws{query}"


async def test_events_come_through_as_they_happen_and_can_be_resumed(
    database_url, nats_url, acme
):
    async with one_door(database_url, nats_url) as gallery:
        words = [acme.changed("completed", details={}) for _ in range(3)]
        async with gallery.stream(acme, queue="mail") as stream:
            await gallery.announce(words[0])
            first, _ = await stream.events(2)
            await gallery.announce(*words[1:])
            seen = await stream.events(4)
        async with gallery.stream(acme, path="/queues/mail", last=first[0]) as stream:
            assert (await stream.events(5))[1:] == seen
        assert (await gallery.refused("/jobs/x?events=%2A%2A", acme.headers))[0] == 400
        assert (await gallery.refused("/queues/mail"))[0] == 401


async def test_a_watcher_that_hangs_up_is_no_crash(database_url, nats_url, acme):
    async with one_door(database_url, nats_url, ping_seconds=0.2) as gallery:
        good, bad = answered(200), answered(500)
        with structlog.testing.capture_logs() as said:
            async with gallery.stream(acme) as stream:
                stream.response.close()

            await until(lambda: answered(200) + answered(500) > good + bad)
            await until(lambda: open_streams() == 0)

    assert answered(500) == bad
    assert [line for line in said if line["log_level"] == "error"] == []


async def test_a_websocket_comes_through_both_ways(database_url, nats_url, acme):
    async with one_door(database_url, nats_url) as gallery:
        async with websockets.connect(
            socket_address(gallery), additional_headers=acme.headers
        ) as client:
            assert json.loads(await client.recv())["type"] == "Ping"
            await client.send(json.dumps({"cmd": "Subscribe", "queue": "letters"}))
            await client.send(json.dumps({"cmd": "Ping"}))
            assert json.loads(await client.recv())["type"] == "Ping"
            words = [acme.changed(queue_name=name) for name in ("mail", "letters")]
            await gallery.announce(*words)
            assert json.loads(await client.recv())["id"] == words[1].position
            await (await client.ping())
        await until(lambda: open_streams() == 0)


async def test_a_websocket_that_is_refused_is_refused_in_json(database_url, nats_url):
    async with one_door(database_url, nats_url) as gallery:
        with pytest.raises(InvalidStatus) as refusal:
            async with websockets.connect(socket_address(gallery, "?token=nobody")):
                pass

    assert refusal.value.response.status_code == 401
    body = json.loads(refusal.value.response.body)
    assert (body["code"], body["message"]) == ("UNAUTHORIZED", "Invalid API key")


async def test_a_streamer_that_stops_closes_what_it_held(database_url, nats_url, acme):
    port = free_port()
    async with door_before(database_url, nats_url, port) as house:
        async with open_gallery(database_url, nats_url, http_port=port) as gallery:
            gallery.url = house.base_url
            client = await websockets.connect(
                socket_address(gallery), additional_headers=acme.headers
            )
            await client.recv()
        with pytest.raises(ConnectionClosed) as end:
            async with asyncio.timeout(5):
                await client.recv()
        assert end.value.rcvd is not None
        assert end.value.rcvd.code == 1001
        # And while it is away, that is what is said.
        async with (
            aiohttp.ClientSession() as http,
            http.get(
                f"{house.base_url}/api/v1/events", headers=acme.headers
            ) as response,
        ):
            assert response.status == 503
        with pytest.raises(InvalidStatus) as refusal:
            async with websockets.connect(
                socket_address(gallery), additional_headers=acme.headers
            ):
                pass
        assert refusal.value.response.status_code == 503


async def test_a_door_that_closes_waits_for_no_watcher(database_url, nats_url, acme):
    port = free_port()
    async with open_gallery(database_url, nats_url, http_port=port, ping_seconds=0.2):
        async with (
            door_before(database_url, nats_url, port) as house,
            aiohttp.ClientSession() as http,
            http.get(f"{house.base_url}/api/v1/events", headers=acme.headers) as stream,
            websockets.connect(
                f"ws{house.base_url[4:]}/api/v1/ws", additional_headers=acme.headers
            ) as socket,
        ):
            async with asyncio.timeout(5):
                await house.stop("ingest")
                assert (await stream.content.read()).startswith(b": connected")
                await socket.wait_closed()
            assert socket.close_code == 1001
        await until(lambda: open_streams() == 0)


async def test_who_comes_to_the_door_is_shown_the_documentation(database_url, nats_url):
    async with (
        run_house(database_url, nats_url, services=("ingest",)) as house,
        aiohttp.ClientSession() as http,
        http.get(f"{house.base_url}/", allow_redirects=False) as answer,
    ):
        assert (answer.status, answer.headers["Location"]) == (302, "/docs")


@pytest.mark.parametrize("said", [None, "identity", "br, gzip"])
async def test_what_a_client_can_unpack_is_passed_on_as_it_says(
    database_url, nats_url, said
):
    async def tell(request):
        return web.Response(text=str(request.headers.get("Accept-Encoding")))

    upstream = web.Application()
    upstream.router.add_get("/", tell)
    async with (
        TestServer(upstream) as server,
        door_before(database_url, nats_url, server.port) as house,
        aiohttp.ClientSession(skip_auto_headers=("Accept-Encoding",)) as client,
        client.get(
            house.base_url, headers={"Accept-Encoding": said} if said else {}
        ) as answer,
    ):
        assert await answer.text() == str(said)


async def test_a_streamer_that_does_not_begin_to_answer_is_away(
    database_url, nats_url, monkeypatch
):
    monkeypatch.setattr(streams, "_ANSWER_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        async with (
            door_before(database_url, nats_url, port) as house,
            aiohttp.ClientSession() as client,
            client.get(house.base_url) as answer,
        ):
            assert answer.status == 503
