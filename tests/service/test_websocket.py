"""The WebSocket keeps the contract, for clients that are not ours."""

import asyncio
import json
from contextlib import asynccontextmanager

import aiohttp
import pytest
import websockets
from websockets import Origin
from websockets.exceptions import ConnectionClosed, InvalidStatus

from libs.common.ids import new_id
from libs.common.store import api_keys
from tests.support.watching import open_gallery, tenant


@pytest.fixture
async def gallery(database_url, nats_url):
    async with open_gallery(database_url, nats_url) as gallery:
        yield gallery


@pytest.fixture
async def acme(conn):
    return await tenant(conn, "acme")


class Socket:
    """An open WebSocket, and what it says."""

    def __init__(self, client):
        self.client = client
        self.first = {}

    async def message(self):
        async with asyncio.timeout(10):
            return json.loads(await self.client.recv())

    async def ids(self, count):
        return [(await self.message())["id"] for _ in range(count)]

    async def say(self, **command):
        await self.client.send(json.dumps(command))

    async def settle(self):
        """Return when what was said before was heard."""
        await self.say(cmd="Ping")
        assert (await self.message())["type"] == "Ping"


def address(gallery, query=""):
    return f"{gallery.url.replace('http', 'ws')}/api/v1/ws{query}"


@asynccontextmanager
async def opened(gallery, whose, query=""):
    async with websockets.connect(
        address(gallery, query), additional_headers=whose.headers
    ) as client:
        socket = Socket(client)
        socket.first = await socket.message()
        assert socket.first["type"] == "Ping"
        yield socket


async def refused(gallery, query="", headers=None):
    with pytest.raises(InvalidStatus) as refusal:
        async with websockets.connect(
            address(gallery, query), additional_headers=headers or {}
        ):
            pass
    response = refusal.value.response
    return response.status_code, json.loads(response.body)


async def test_the_frames_of_the_stream_come_as_messages(gallery, acme):
    job = str(new_id())
    words = [
        acme.changed("created", job_id=job, attempt=0, priority=7),
        acme.changed("started", job_id=job),
        acme.changed("completed", job_id=job, details={"duration_ms": 12.4}),
    ]
    async with opened(gallery, acme) as socket:
        await gallery.announce(*words)
        messages = [await socket.message() for _ in range(4)]

    assert [(m["id"], m["type"]) for m in messages] == [
        (words[0].position, "JobCreated"),
        (words[1].position, "JobStatusChange"),
        (words[2].position + ".1", "JobStatusChange"),
        (words[2].position, "JobCompleted"),
    ]
    assert messages[0]["data"] == {
        "job_id": job,
        "queue_name": "mail",
        "priority": 7,
        "timestamp": words[0].time,
    }


@pytest.mark.parametrize("place", ["bearer", "header", "token", "api_key"])
async def test_d13_a_credential_may_stand_where_browsers_can_put_it(
    gallery, acme, place
):
    query = f"?{place}={acme.key}" if place in {"token", "api_key"} else ""
    headers = {
        "bearer": {"Authorization": f"bearer {acme.key}"},
        "header": {"X-API-Key": acme.key},
    }.get(place, {})
    async with websockets.connect(
        address(gallery, query),
        additional_headers=headers,
        origin=Origin("https://else.where"),
    ) as client:
        assert json.loads(await client.recv())["type"] == "Ping"
        # A compressor for each of thousands would cost more than all else.
        assert client.protocol.extensions == []


async def test_who_may_not_is_refused_in_json(gallery, conn, acme):
    scoped = await tenant(conn, "scoped", queues=["letters"])
    for query, headers, status, code in [
        ("", {}, 401, "UNAUTHORIZED"),
        ("?token=sk_live_unknown", {}, 401, "UNAUTHORIZED"),
        ("?queue=mail", scoped.headers, 403, "ACCESS_DENIED"),
        ("?queue=a%20b", acme.headers, 400, "VALIDATION_ERROR"),
        ("?events=" + "e" * 101, acme.headers, 400, "VALIDATION_ERROR"),
        ("?since=yesterday", acme.headers, 400, "VALIDATION_ERROR"),
    ]:
        got, body = await refused(gallery, query, headers)
        assert (got, body["code"]) == (status, code), query


async def test_who_does_not_ask_for_a_websocket_is_told(gallery, acme):
    async with gallery.http.get(
        f"{gallery.url}/api/v1/ws", headers=acme.headers
    ) as response:
        assert response.status == 400
        assert (await response.json())["details"][0]["field"] == "Upgrade"


async def test_sockets_of_an_organization_are_limited_apart_from_streams(
    database_url, nats_url, conn, acme
):
    async with (
        open_gallery(database_url, nats_url, streams_per_organization_max=1) as gallery,
        opened(gallery, acme),
        gallery.stream(acme),
    ):
        status, body = await refused(gallery, "", acme.headers)
        assert (status, body["code"]) == (429, "RATE_LIMIT_EXCEEDED")


async def test_d12_subscriptions_are_the_union_of_what_was_asked_for(gallery, acme):
    async with opened(gallery, acme) as socket:

        async def told(**more):
            words = [
                acme.changed(queue_name=queue, **more) for queue in ("a", "b", "c")
            ]
            end = acme.changed(queue_name="end")
            await socket.say(cmd="subscribe", queue="end")
            await socket.settle()
            await gallery.announce(*words, end)
            seen = []
            while (message := await socket.message())["id"] != end.position:
                seen.append(message["data"]["queue_name"])
            await socket.say(cmd="unsubscribe", queue="end")
            await socket.settle()
            return seen

        await socket.say(cmd="Subscribe", queue="a")
        assert await told() == ["a"]
        await socket.say(cmd="SUBSCRIBE", queue="b")
        assert await told() == ["a", "b"]
        job = str(new_id())
        await socket.say(cmd="subscribe", job_id=job.upper())
        assert await told(job_id=job) == ["a", "b", "c"]
        await socket.say(cmd="Subscribe")
        assert await told() == ["a", "b", "c"]
        await socket.say(cmd="Unsubscribe")
        await socket.say(cmd="Unsubscribe", queue="a")
        assert await told() == ["b"]
        # Nothing is left of it: everything.
        await socket.say(cmd="Unsubscribe", queue="b")
        await socket.say(cmd="Unsubscribe", job_id=job)
        await socket.settle()
        word = acme.changed(queue_name="c")
        await gallery.announce(word)
        assert (await socket.message())["id"] == word.position


async def test_what_is_asked_for_in_the_address_is_a_subscription(gallery, acme):
    words = [acme.changed(queue_name=queue) for queue in ("a", "b", "c")]
    async with opened(gallery, acme, "?queue=a&events=job.status") as socket:
        await socket.say(cmd="Subscribe", queue="c")
        await socket.settle()
        await gallery.announce(*words)

        assert await socket.ids(2) == [words[0].position, words[2].position]


async def test_a_scoped_key_cannot_widen_its_scope(gallery, conn):
    scoped = await tenant(conn, "scoped", queues=["letters"])
    async with opened(gallery, scoped) as socket:
        await socket.say(cmd="Subscribe", queue="mail")
        refusal = await socket.message()
        await socket.say(cmd="Subscribe", queue="no queue")
        fault = await socket.message()
        words = [scoped.changed(), scoped.changed(queue_name="letters")]
        await gallery.announce(*words)

        assert await socket.ids(1) == [words[1].position]
    assert (refusal["type"], fault["type"]) == ("Error", "Error")
    assert "mail" in refusal["data"]["message"]


@pytest.mark.parametrize(
    "text",
    ["nonsense", "{}", '{"cmd": 1}', '{"cmd":"Dance"}', "[" * 5000, '{"cmd":"Ping"'],
)
async def test_what_is_no_command_is_passed_over(gallery, acme, text):
    async with opened(gallery, acme) as socket:
        await socket.client.send(text)
        await socket.client.send(b"\x00\x01")
        await socket.settle()


async def test_signs_of_life_come_by_themselves(database_url, nats_url, acme):
    async with (
        open_gallery(database_url, nats_url, websocket_ping_seconds=0.3) as gallery,
        opened(gallery, acme, "?queue=nothing") as socket,
    ):
        for _ in range(3):
            assert (await socket.message())["type"] == "Ping"
        await (await socket.client.ping())


async def test_a_socket_resumes_where_another_stopped(gallery, acme):
    words = [acme.changed("completed", details={}) for _ in range(5)]
    async with opened(gallery, acme) as socket:
        await gallery.announce(*words)
        ids = await socket.ids(10)
    for number in (0, 3, 6):
        async with opened(gallery, acme, f"?since={ids[number]}") as socket:
            assert "id" not in socket.first
            assert await socket.ids(9 - number) == ids[number + 1 :]


async def closed(socket):
    """Return what came last, and how it was closed."""
    last = None
    try:
        while True:
            last = await socket.message()
    except ConnectionClosed as end:
        return last, end.rcvd and end.rcvd.code


async def test_a_revoked_key_loses_its_socket_though_nobody_was_told(
    gallery, acme, conn
):
    loop = asyncio.get_running_loop()
    async with opened(gallery, acme) as socket:
        await api_keys.change_key(
            conn,
            organization_id=acme.organization_id,
            id_=acme.key_id,
            is_active=False,
        )
        revoked_at = loop.time()
        last, code = await closed(socket)

    assert loop.time() - revoked_at < 2
    assert (last["type"], last["data"]["message"]) == ("Error", "API key is inactive")
    assert code == 1008


async def test_stopping_sends_everybody_away(database_url, nats_url, acme):
    async with open_gallery(database_url, nats_url) as gallery:
        client = await websockets.connect(
            address(gallery), additional_headers=acme.headers
        )
        socket = Socket(client)
        await socket.message()
    assert (await closed(socket))[1] == 1001


async def test_who_hangs_up_gives_the_place_back(database_url, nats_url, acme):
    async with open_gallery(
        database_url, nats_url, streams_per_organization_max=1
    ) as gallery:
        for _ in range(3):
            async with opened(gallery, acme) as socket:
                await socket.settle()
            async with aiohttp.ClientSession() as http:
                for _ in range(50):
                    try:
                        async with http.ws_connect(
                            address(gallery), headers=acme.headers
                        ) as other:
                            await other.receive_json()
                        break
                    except aiohttp.WSServerHandshakeError:
                        await asyncio.sleep(0.1)
                else:
                    pytest.fail("the place was not given back")
