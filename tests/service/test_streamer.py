"""The streamer keeps its card: what happened, in order, to whom it concerns."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import count
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec
import pytest
from prometheus_client import REGISTRY

from libs.cli.embedded.ports import free_port
from libs.common.access import new_key
from libs.common.bus import open_bus
from libs.common.errors import Unavailable
from libs.common.ids import new_id
from libs.common.messages import EVENTS, JobChanged, OrganizationChanged
from libs.common.store import api_keys, organizations
from services.streamer.service import serve
from services.streamer.settings import Settings
from tests.support.waiting import until
from tests.support.wire import wire_to

_numbers = count(1)


class Tenant:
    """An organization with one key, and what happens to its jobs."""

    def __init__(self, organization_id, key, key_id):
        self.organization_id = organization_id
        self.key = key
        self.key_id = key_id
        self.headers = {"Authorization": f"Bearer {key}"}

    def changed(self, transition="started", *, details=None, **more):
        """A transition of one of its jobs, as the scheduler would announce it."""
        return JobChanged(
            **{
                "id": str(next(_numbers)),
                "type": f"job.{transition}",
                "time": datetime.now(UTC).isoformat(),
                "organization_id": str(self.organization_id),
                "queue_name": "mail",
                "job_id": str(new_id()),
                "attempt": 1,
                "details": msgspec.Raw(json.dumps(details).encode()),
                **more,
            }
        )


async def tenant(conn, slug, *, queues=()):
    organization_id, key_id = new_id(), new_id()
    key, digest = new_key()
    await organizations.create_organization(
        conn,
        id_=organization_id,
        name=slug,
        slug=slug,
        billing_email=None,
        plan_tier="free",
    )
    await api_keys.create_key(
        conn,
        id_=key_id,
        organization_id=organization_id,
        key_sha256=digest,
        name="test",
        queues=queues,
    )
    return Tenant(organization_id, key, key_id)


class Stream:
    """An open event stream, read as a browser would."""

    def __init__(self, response):
        self.response = response

    async def frame(self):
        """Return the next frame's fields; comments under ``""``; None at the end."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(10):
            while line := (await self.response.content.readline()).decode():
                if line == "\n":
                    return fields
                name, _, value = line.rstrip("\n").partition(":")
                fields[name] = value.strip()
        return None

    async def events(self, number):
        """Return (id, type, data) of the next *number* frames, comments left out."""
        read: list[tuple[str | None, str, dict[str, Any]]] = []
        while len(read) < number:
            fields = await self.frame()
            assert fields is not None, f"ended after {read}"
            if "data" in fields:
                envelope = json.loads(fields["data"])
                read.append((fields.get("id"), envelope["type"], envelope["data"]))
        return read

    async def event(self):
        [event] = await self.events(1)
        return event

    async def rest(self):
        """Return the frames until the stream ends."""
        frames = []
        while (fields := await self.frame()) is not None:
            frames.append(fields)
        return frames


class House:
    """A running streamer, and what a test needs around it."""

    def __init__(self, settings, bus, http):
        self.settings = settings
        self.url = f"http://127.0.0.1:{settings.http_port}"
        self.bus = bus
        self.http = http

    @asynccontextmanager
    async def stream(self, whose, **query) -> AsyncIterator[Stream]:
        """Open a stream and wait for its first word."""
        async with self.http.get(
            f"{self.url}/api/v1/events", params=query, headers=whose.headers
        ) as response:
            assert response.status == 200, await response.text()
            stream = Stream(response)
            assert await stream.frame() == {"": "connected"}
            yield stream

    async def refused(self, query="", headers=None):
        """Ask for a stream that is refused; return status and body."""
        async with self.http.get(
            f"{self.url}/api/v1/events{query}", headers=headers or {}
        ) as response:
            assert response.headers["X-Request-Id"]
            return response.status, await response.json()

    async def announce(self, *events):
        for event in events:
            await self.bus.send(
                EVENTS, event.subject_of_this(), event.encode(), id_=event.id
            )


@asynccontextmanager
async def open_house(database_url, nats_url, **knobs) -> AsyncIterator[House]:
    """Run a streamer until the block ends, and see that it stops at once."""
    settings = Settings(
        DATABASE_URL=database_url,
        NATS_URL=nats_url,
        **{"http_port": free_port(), "health_port": 0, **knobs},
    )
    stopping = asyncio.Event()
    async with (
        open_bus(nats_url, service="test") as bus,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as http,
    ):
        serving = asyncio.create_task(serve(settings, stopping))
        try:
            house = House(settings, bus, http)

            async def ready():
                assert not serving.done(), serving.result()
                try:
                    async with http.get(f"{house.url}/health/ready") as response:
                        assert response.status == 200, await response.text()
                except aiohttp.ClientConnectionError as error:
                    raise AssertionError(error) from error
                return bus.connected

            await until(ready)
            yield house
        finally:
            stopping.set()
            async with asyncio.timeout(5):
                await serving


@pytest.fixture
async def house(database_url, nats_url):
    async with open_house(database_url, nats_url) as house:
        yield house


@pytest.fixture
async def acme(conn):
    return await tenant(conn, "acme")


async def test_what_happens_is_told_as_it_happens_and_in_order(house, acme):
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
    async with house.stream(acme) as stream:
        await house.announce(*words)

        events = await stream.events(8)

    assert [(mark, kind) for mark, kind, _ in events] == [
        (words[0].id, "JobCreated"),
        (words[1].id, "JobStatusChange"),
        (words[2].id, "JobStatusChange"),
        (words[2].id, "JobFailed"),
        (words[3].id, "JobStatusChange"),
        (words[4].id, "JobStatusChange"),
        (words[5].id, "JobStatusChange"),
        (words[5].id, "JobCompleted"),
    ]
    assert events[0][2] == {
        "job_id": job,
        "queue_name": "mail",
        "priority": 7,
        "timestamp": words[0].time,
    }
    assert (events[3][2]["error"], events[3][2]["retry_count"]) == ("HTTP 500", 1)
    assert events[7][2]["duration_ms"] == 12


async def test_a_stream_has_the_headers_that_streams_need(house, acme):
    async with house.http.get(
        f"{house.url}/api/v1/events",
        headers={**acme.headers, "X-Request-Id": "of-the-client"},
    ) as response:
        assert response.headers["Content-Type"] == "text/event-stream"
        assert response.headers["Cache-Control"] == "no-cache"
        assert response.headers["X-Accel-Buffering"] == "no"
        assert response.headers["X-Request-Id"] == "of-the-client"


async def test_another_organization_sees_nothing_of_it(house, acme, conn):
    other = await tenant(conn, "other")
    last = other.changed()
    async with house.stream(other) as stream:
        await house.announce(*(acme.changed() for _ in range(20)), last)

        mark, _, _ = await stream.event()

    assert mark == last.id


async def test_filters_narrow_the_stream(house, acme):
    job = str(new_id())
    words = [
        acme.changed("created", queue_name="letters"),
        acme.changed("created", job_id=job),
        acme.changed("completed", job_id=job),
        acme.changed("created", queue_name="end"),
    ]
    async with (
        house.stream(acme, queue="letters") as letters,
        house.stream(acme, job_id=job.upper()) as of_job,
        house.stream(acme, events="job.completed, job.failed") as endings,
        house.stream(acme, events="job.of.tomorrow,*") as everything,
        house.stream(acme, named="true") as named,
    ):
        await house.announce(*words)

        assert [e[0] for e in await letters.events(1)] == [words[0].id]
        assert [e[:2] for e in await of_job.events(3)] == [
            (words[1].id, "JobCreated"),
            (words[2].id, "JobStatusChange"),
            (words[2].id, "JobCompleted"),
        ]
        assert [e[:2] for e in await endings.events(1)] == [
            (words[2].id, "JobCompleted")
        ]
        assert len(await everything.events(5)) == 5
        assert (await named.frame())["event"] == "job.created"


async def test_a_key_limited_to_queues_sees_those(house, conn):
    scoped = await tenant(conn, "scoped", queues=["letters"])
    seen = scoped.changed(queue_name="letters")
    async with house.stream(scoped) as stream:
        await house.announce(scoped.changed(queue_name="mail"), seen)

        mark, _, _ = await stream.event()

    assert mark == seen.id
    status, body = await house.refused("?queue=mail", scoped.headers)
    assert (status, body["code"]) == (403, "ACCESS_DENIED")
    assert body["message"] == "API key does not have permission for queue 'mail'"


@pytest.mark.parametrize("place", ["bearer", "header", "token", "api_key"])
async def test_a_credential_may_stand_where_browsers_can_put_it(house, acme, place):
    query = {place: acme.key} if place in {"token", "api_key"} else {}
    headers = {
        "bearer": {"Authorization": f"bearer {acme.key}"},
        "header": {"X-API-Key": acme.key},
    }.get(place, {})
    async with house.http.get(
        f"{house.url}/api/v1/events", params=query, headers=headers
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
async def test_nobody_we_know_gets_nothing(house, query, headers, message):
    assert await house.refused(query, headers) == (
        401,
        {"code": "UNAUTHORIZED", "message": message},
    )


@pytest.mark.parametrize(
    "query", ["?queue=a%20b", "?queue=" + "q" * 101, "?job_id=%2A", "?events=a,%3E"]
)
async def test_a_filter_that_cannot_be_is_named(house, acme, query):
    status, body = await house.refused(query, acme.headers)

    assert (status, body["code"]) == (400, "VALIDATION_ERROR")
    assert body["details"][0]["field"] in query


async def test_other_paths_and_methods_are_refused_in_json(house):
    async with house.http.get(f"{house.url}/api/v1/nothing") as response:
        assert (response.status, (await response.json())["code"]) == (404, "NOT_FOUND")
    async with house.http.post(f"{house.url}/api/v1/events") as response:
        assert response.status == 405
        assert (await response.json())["code"] == "METHOD_NOT_ALLOWED"


async def test_streams_of_an_organization_are_limited(database_url, nats_url, conn):
    acme, other = await tenant(conn, "acme"), await tenant(conn, "other")
    async with open_house(
        database_url, nats_url, streams_per_organization_max=2, recheck_seconds=0.1
    ) as house:
        async with house.stream(acme), house.stream(acme):
            status, body = await house.refused("", acme.headers)
            assert (status, body["code"]) == (429, "RATE_LIMIT_EXCEEDED")
            async with house.stream(other):
                pass

        async def room_again():
            async with house.stream(acme):
                return True

        await until(room_again)


async def test_a_quiet_stream_is_kept_alive(database_url, nats_url, acme):
    async with (
        open_house(
            database_url, nats_url, ping_seconds=0.2, recheck_seconds=0.1
        ) as house,
        house.stream(acme, queue="nothing") as stream,
    ):
        assert await stream.frame() == {"": "ping"}
        assert await stream.frame() == {"": "ping"}


async def test_a_stream_of_everything_tells_how_the_house_is(
    database_url, nats_url, acme
):
    async with (
        open_house(database_url, nats_url, system_health_seconds=0.1) as house,
        house.stream(acme) as stream,
    ):
        mark, kind, data = await stream.event()

    assert (mark, kind, data["database"], data["redis"]) == (
        None,
        "SystemHealth",
        True,
        True,
    )


async def test_a_stream_ends_after_its_time(database_url, nats_url, acme):
    async with (
        open_house(database_url, nats_url, stream_seconds_max=0.3) as house,
        house.stream(acme, queue="nothing") as stream,
    ):
        assert await stream.rest() == []


async def test_a_revoked_key_loses_its_stream_within_two_seconds(house, acme, conn):
    loop = asyncio.get_running_loop()
    async with house.stream(acme, queue="nothing") as stream:
        await api_keys.change_key(
            conn,
            organization_id=acme.organization_id,
            id_=acme.key_id,
            is_active=False,
        )
        await house.bus.ring(
            OrganizationChanged(organization_id=str(acme.organization_id))
        )
        revoked_at = loop.time()

        [last] = await stream.rest()

    assert loop.time() - revoked_at < 2
    envelope = json.loads(last["data"])
    assert (envelope["type"], envelope["data"]["message"]) == (
        "Error",
        "API key is inactive",
    )
    assert (await house.refused("", acme.headers))[0] == 401


async def test_a_key_that_loses_a_queue_loses_the_stream_of_it(house, acme, conn):
    async with house.stream(acme, queue="mail") as stream:
        await api_keys.change_key(
            conn,
            organization_id=acme.organization_id,
            id_=acme.key_id,
            queues=["letters"],
        )
        await house.bus.ring(
            OrganizationChanged(organization_id=str(acme.organization_id))
        )

        [last] = await stream.rest()

    assert json.loads(last["data"])["type"] == "Error"


def ended_as_slow():
    return (
        REGISTRY.get_sample_value("bellhop_streams_ended_total", {"why": "slow"}) or 0
    )


async def test_a_slow_client_is_sent_away_and_delays_nobody(
    database_url, nats_url, acme
):
    error, before = "x" * 1500, ended_as_slow()
    async with open_house(
        database_url, nats_url, stream_buffer_bytes_max=64 * 1024
    ) as house:
        # A client that does not read at all: its side holds little, on purpose.
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", house.settings.http_port, limit=1024
        )
        writer.write(
            b"GET /api/v1/events?named=1 HTTP/1.1\r\nHost: x\r\nX-API-Key: %s\r\n\r\n"
            % acme.key.encode()
        )
        await reader.readuntil(b": connected")
        async with house.stream(acme, events="job.failed") as quick:
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
                    await house.announce(
                        acme.changed("retrying", details={"error": error})
                    )
                    sent += 1
                return ended_as_slow() > before

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
        async with open_house(database_url, nats_url) as house:
            house.http, inner = http, house.http
            streams = [
                await http.get(f"{house.url}/api/v1/events", headers=acme.headers)
                for _ in range(5)
            ]
            house.http = inner
            stopped_at = loop.time()
        assert loop.time() - stopped_at < 2
        for response in streams:
            assert (await response.read()).startswith(b": connected\n\n")


async def test_the_stream_goes_on_when_nats_lost_everything(
    database_url, nats_server, acme
):
    async with open_house(database_url, nats_server.url) as house:
        before, after = acme.changed(), [acme.changed() for _ in range(3)]
        async with house.stream(acme, events="job.status") as stream:
            await house.announce(before)
            assert (await stream.event())[0] == before.id

            await nats_server.kill()
            nats_server.wipe()
            await nats_server.start()

            async def announced():
                try:
                    await house.announce(*after)
                except Unavailable as error:
                    raise AssertionError(error) from error
                return True

            # Announced as soon as there is a stream again, watched or not.
            await until(announced, at_most=20)

            assert [e[0] for e in await stream.events(3)] == [e.id for e in after]


async def test_what_was_announced_while_the_wire_was_cut_is_told_after(
    database_url, nats_url, acme
):
    parts = urlsplit(nats_url)
    async with wire_to(parts.hostname, parts.port) as wire:
        through_wire = nats_url.replace(f":{parts.port}", f":{wire.port}")
        async with (
            open_bus(nats_url, service="test") as bus,
            open_house(database_url, through_wire) as house,
            house.stream(acme, events="job.status") as stream,
        ):
            await until(lambda: bus.connected)
            house.bus = bus
            words = [acme.changed() for _ in range(10)]
            await house.announce(words[0])
            assert (await stream.event())[0] == words[0].id

            wire.cut()
            await house.announce(*words[1:])
            wire.mend()

            told = [e[0] for e in await stream.events(9)]

    assert told == [e.id for e in words[1:]]
