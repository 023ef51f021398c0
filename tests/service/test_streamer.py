"""The streamer keeps its card: what happened, in order, to whom it concerns."""

import asyncio
import json
from urllib.parse import urlsplit

import aiohttp
import pytest
from prometheus_client import REGISTRY

from libs.common.bus import open_bus
from libs.common.errors import Unavailable
from libs.common.ids import new_id
from libs.common.store import api_keys
from tests.support.waiting import until
from tests.support.watching import open_gallery, tenant
from tests.support.wire import wire_to


@pytest.fixture
async def gallery(database_url, nats_url):
    async with open_gallery(database_url, nats_url) as gallery:
        yield gallery


@pytest.fixture
async def acme(conn):
    return await tenant(conn, "acme")


async def test_what_happens_is_told_as_it_happens_and_in_order(gallery, acme):
    job = str(new_id())
    words = [
        acme.changed("created", job_id=job, attempt=0, priority=7),
        acme.changed("started", job_id=job),
        acme.changed(
            "retrying", job_id=job, details={"error": "HTTP 500", "retry_count": 1}
        ),
        acme.changed("due", job_id=job, details={"retry_count": 1}),
        acme.changed("started", job_id=job, attempt=2),
        acme.changed("completed", job_id=job, details={"duration_ms": 12.4}),
    ]
    async with gallery.stream(acme) as stream:
        await gallery.announce(*words)

        events = await stream.events(8)

    assert [(mark, kind) for mark, kind, _ in events] == [
        (words[0].position, "JobCreated"),
        (words[1].position, "JobStatusChange"),
        (words[2].position + ".1", "JobStatusChange"),
        (words[2].position, "JobFailed"),
        (words[3].position, "JobStatusChange"),
        (words[4].position, "JobStatusChange"),
        (words[5].position + ".1", "JobStatusChange"),
        (words[5].position, "JobCompleted"),
    ]
    assert events[0][2] == {
        "job_id": job,
        "queue_name": "mail",
        "priority": 7,
        "timestamp": words[0].time,
    }
    assert (events[3][2]["error"], events[3][2]["retry_count"]) == ("HTTP 500", 1)
    assert events[7][2]["duration_ms"] == 12


async def test_a_stream_has_the_headers_that_streams_need(gallery, acme):
    async with gallery.http.get(
        f"{gallery.url}/api/v1/events",
        headers={**acme.headers, "X-Request-Id": "of-the-client"},
    ) as response:
        assert response.headers["Content-Type"] == "text/event-stream"
        assert response.headers["Cache-Control"] == "no-cache"
        assert response.headers["X-Accel-Buffering"] == "no"
        assert response.headers["X-Request-Id"] == "of-the-client"


async def test_a_client_that_knows_no_chunks_gets_none(gallery, acme):
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", gallery.settings.http_port
    )
    writer.write(
        f"GET /api/v1/events HTTP/1.0\r\nX-API-Key: {acme.key}\r\n\r\n".encode()
    )
    head = await reader.readuntil(b"\r\n\r\n")
    assert b"chunked" not in head
    assert (await reader.readuntil(b"\n\n")).startswith(b": connected\nid: ")
    word = acme.changed()
    await gallery.announce(word)

    async with asyncio.timeout(10):
        told = await reader.readuntil(b"\n\n")
    assert told.startswith(b'id: %s\ndata: {"type":' % word.position.encode())
    writer.close()
    await writer.wait_closed()


async def test_another_organization_sees_nothing_of_it(gallery, acme, conn):
    other = await tenant(conn, "other")
    words = [acme.changed() for _ in range(20)]
    last = other.changed()
    async with gallery.stream(other) as stream:
        await gallery.announce(*words, last)

        mark, _, _ = await stream.event()

    assert mark == last.position


async def test_d14_frames_have_a_name_only_for_who_asks(gallery, acme):
    named_too = gallery.stream(acme, named="true")
    async with gallery.stream(acme) as unnamed, named_too as named:
        await gallery.announce(acme.changed("created"))
        frame, same = await unnamed.frame(), await named.frame()

    assert frame == {name: same[name] for name in same if name != "event"}
    assert same["event"] == "job.created"


async def test_filters_narrow_the_stream(gallery, acme):
    job = str(new_id())
    words = [
        acme.changed("created", queue_name="letters"),
        acme.changed("created", job_id=job),
        acme.changed("completed", job_id=job),
        acme.changed("created", queue_name="end"),
    ]
    async with (
        gallery.stream(acme, queue="letters") as letters,
        gallery.stream(acme, job_id=job.upper()) as of_job,
        gallery.stream(acme, events="job.completed, job.failed") as endings,
        gallery.stream(acme, events="job.of.tomorrow,*") as everything,
    ):
        await gallery.announce(*words)

        assert [e[0] for e in await letters.events(1)] == [words[0].position]
        assert [e[:2] for e in await of_job.events(3)] == [
            (words[1].position, "JobCreated"),
            (words[2].position + ".1", "JobStatusChange"),
            (words[2].position, "JobCompleted"),
        ]
        assert [e[:2] for e in await endings.events(1)] == [
            (words[2].position, "JobCompleted")
        ]
        assert len(await everything.events(5)) == 5


async def test_a_key_limited_to_queues_sees_those(gallery, conn):
    scoped = await tenant(conn, "scoped", queues=["letters"])
    unseen = scoped.changed(queue_name="mail")
    seen = scoped.changed(queue_name="letters")
    async with gallery.stream(scoped) as stream:
        await gallery.announce(unseen, seen)

        mark, _, _ = await stream.event()

    assert mark == seen.position
    status, body = await gallery.refused("?queue=mail", scoped.headers)
    assert (status, body["code"]) == (403, "ACCESS_DENIED")
    assert body["message"] == "API key does not have permission for queue 'mail'"


@pytest.mark.parametrize("place", ["bearer", "header", "token", "api_key"])
async def test_d13_a_credential_may_stand_where_browsers_can_put_it(
    gallery, acme, place
):
    query = {place: acme.key} if place in {"token", "api_key"} else {}
    headers = {
        "bearer": {"Authorization": f"bearer {acme.key}"},
        "header": {"X-API-Key": acme.key},
    }.get(place, {})
    async with gallery.http.get(
        f"{gallery.url}/api/v1/events", params=query, headers=headers
    ) as response:
        assert response.status == 200


@pytest.mark.parametrize(
    ("query", "headers", "message"),
    [
        ("", {}, "Missing or invalid Authorization header"),
        ("?token=sk_live_unknown", {}, "Invalid API key"),
        ("", {"Authorization": "Bearer nonsense"}, "Invalid API key"),
    ],
)
async def test_nobody_we_know_gets_nothing(gallery, query, headers, message):
    status, body = await gallery.refused(query, headers)

    assert (status, body["code"], body["message"]) == (401, "UNAUTHORIZED", message)


@pytest.mark.parametrize(
    "query", ["?queue=a%20b", "?queue=" + "q" * 101, "?job_id=%2A", "?events=a,%3E"]
)
async def test_a_filter_that_cannot_be_is_named(gallery, acme, query):
    status, body = await gallery.refused(query, acme.headers)

    assert (status, body["code"]) == (400, "VALIDATION_ERROR")
    assert body["details"][0]["field"] in query


async def test_other_paths_and_methods_are_refused_in_json(gallery):
    async with gallery.http.get(f"{gallery.url}/api/v1/nothing") as response:
        assert (response.status, (await response.json())["code"]) == (404, "NOT_FOUND")
    async with gallery.http.post(f"{gallery.url}/api/v1/events") as response:
        assert response.status == 405
        assert (await response.json())["code"] == "METHOD_NOT_ALLOWED"


async def test_streams_of_an_organization_are_limited(database_url, nats_url, conn):
    acme, other = await tenant(conn, "acme"), await tenant(conn, "other")
    # Who left is noticed when there is something to write, a ping at the latest.
    async with open_gallery(
        database_url,
        nats_url,
        streams_per_organization_max=2,
        ping_seconds=0.2,
        recheck_seconds=0.1,
    ) as gallery:
        async with gallery.stream(acme), gallery.stream(acme):
            status, body = await gallery.refused("", acme.headers)
            assert (status, body["code"]) == (429, "RATE_LIMIT_EXCEEDED")
            async with gallery.stream(other):
                pass

        async def room_again():
            async with gallery.stream(acme):
                return True

        await until(room_again)


async def test_a_quiet_stream_is_kept_alive(database_url, nats_url, acme):
    async with (
        open_gallery(
            database_url, nats_url, ping_seconds=0.2, recheck_seconds=0.1
        ) as gallery,
        gallery.stream(acme, queue="nothing") as stream,
    ):
        for _ in range(2):
            # What it has seen grows with what it was not shown.
            assert await stream.frame() == {"": "ping", "id": stream.start}


async def test_a_stream_of_everything_tells_how_the_house_is(
    database_url, nats_url, acme
):
    async with (
        open_gallery(database_url, nats_url, system_health_seconds=0.1) as gallery,
        gallery.stream(acme) as stream,
    ):
        mark, kind, data = await stream.event()

    assert (mark, kind) == (None, "SystemHealth")
    assert (data["database"], data["redis"]) == (True, True)


async def test_a_stream_ends_after_its_time(database_url, nats_url, acme):
    async with (
        open_gallery(database_url, nats_url, stream_seconds_max=0.3) as gallery,
        gallery.stream(acme, queue="nothing") as stream,
    ):
        assert await stream.rest() == []


async def test_a_revoked_key_loses_its_stream_within_two_seconds(gallery, acme, conn):
    loop = asyncio.get_running_loop()
    async with gallery.stream(acme, queue="nothing") as stream:
        await api_keys.change_key(
            conn,
            organization_id=acme.organization_id,
            id_=acme.key_id,
            is_active=False,
        )
        # The hint that says so is lost.
        revoked_at = loop.time()

        [last] = await stream.rest()

    assert loop.time() - revoked_at < 2
    envelope = json.loads(last["data"])
    assert (envelope["type"], envelope["data"]["message"]) == (
        "Error",
        "API key is inactive",
    )
    assert (await gallery.refused("", acme.headers))[0] == 401


async def test_a_key_that_loses_a_queue_loses_the_stream_of_it(gallery, acme, conn):
    async with gallery.stream(acme, queue="mail") as stream:
        await api_keys.change_key(
            conn,
            organization_id=acme.organization_id,
            id_=acme.key_id,
            queues=["letters"],
        )

        [last] = await stream.rest()

    assert json.loads(last["data"])["type"] == "Error"


def ended_as(why):
    return REGISTRY.get_sample_value("bellhop_streams_ended_total", {"why": why}) or 0


async def test_a_client_that_leaves_under_traffic_leaves_quietly(gallery, acme, caplog):
    before = ended_as("left")

    async def one_left():
        async with gallery.stream(acme, events="job.failed") as stream:
            details = {"error": "x" * 1500}
            words = [acme.changed("retrying", details=details) for _ in range(50)]
            async with asyncio.TaskGroup() as announcing:
                announcing.create_task(gallery.announce(*words))
                await stream.event()
                # Not closed but cut: what is on its way finds nobody.
                stream.response.connection.transport.abort()
        return ended_as("left") > before

    await until(one_left)

    async def nobody_watches():
        return REGISTRY.get_sample_value("bellhop_streams_open") == 0

    await until(nobody_watches)
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_a_slow_client_is_sent_away_and_delays_nobody(
    database_url, nats_url, acme
):
    error, before = "x" * 1500, ended_as("slow")
    async with open_gallery(
        database_url, nats_url, stream_buffer_bytes_max=64 * 1024
    ) as gallery:
        # A client that does not read at all: its side holds little, on purpose.
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", gallery.settings.http_port, limit=1024
        )
        writer.write(
            b"GET /api/v1/events?named=1 HTTP/1.1\r\nHost: x\r\nX-API-Key: %s\r\n\r\n"
            % acme.key.encode()
        )
        await reader.readuntil(b": connected")
        async with gallery.stream(acme, events="job.failed") as quick:
            seen = 0

            async def watch():
                nonlocal seen
                while True:
                    await quick.event()
                    seen += 1

            watching = asyncio.create_task(watch())
            sent = 0

            async def ended():
                nonlocal sent
                for _ in range(200):
                    await gallery.announce(
                        acme.changed("retrying", details={"error": error})
                    )
                    sent += 1
                return ended_as("slow") > before

            await until(ended, at_most=60)
            async with asyncio.timeout(10):
                text = await reader.read()
                while more := await reader.read(1024 * 1024):
                    text = text[-10_000:] + more
            writer.close()

            async def all_seen():
                return seen == sent

            await until(all_seen)
            watching.cancel()
    assert b'event: error\ndata: {"type":"Error"' in text[-1000:]


async def test_stopping_ends_every_stream_at_once(database_url, nats_url, acme):
    loop = asyncio.get_running_loop()
    async with aiohttp.ClientSession() as http:
        async with open_gallery(database_url, nats_url) as gallery:
            gallery.http, inner = http, gallery.http
            streams = [
                await http.get(f"{gallery.url}/api/v1/events", headers=acme.headers)
                for _ in range(5)
            ]
            gallery.http = inner
            stopped_at = loop.time()
        assert loop.time() - stopped_at < 2
        for response in streams:
            assert (await response.read()).startswith(b": connected\nid: ")


async def test_the_stream_goes_on_when_nats_lost_everything(
    database_url, nats_server, acme
):
    async with open_gallery(database_url, nats_server.url) as gallery:
        before, after = acme.changed(), [acme.changed() for _ in range(3)]
        async with gallery.stream(acme, events="job.status") as stream:
            await gallery.announce(before)
            assert (await stream.event())[0] == before.position

            await nats_server.kill()
            nats_server.wipe()
            await nats_server.start()

            async def announced():
                try:
                    await gallery.announce(*after)
                except Unavailable as error:
                    raise AssertionError(error) from error
                return True

            # Announced as soon as there is a stream again, watched or not.
            await until(announced, at_most=20)

            assert [e[0] for e in await stream.events(3)] == [e.position for e in after]


async def test_what_was_announced_while_the_wire_was_cut_is_told_after(
    database_url, nats_url, acme
):
    parts = urlsplit(nats_url)
    async with wire_to(parts.hostname, parts.port) as wire:
        through_wire = nats_url.replace(f":{parts.port}", f":{wire.port}")
        async with (
            open_bus(nats_url, service="test") as bus,
            open_gallery(database_url, through_wire) as gallery,
            gallery.stream(acme, events="job.status") as stream,
        ):
            await until(lambda: bus.connected)
            gallery.bus = bus
            words = [acme.changed() for _ in range(10)]
            await gallery.announce(words[0])
            assert (await stream.event())[0] == words[0].position

            wire.cut()
            await gallery.announce(*words[1:])
            wire.mend()

            told = [e[0] for e in await stream.events(9)]

    assert told == [e.position for e in words[1:]]
