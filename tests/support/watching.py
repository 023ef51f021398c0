"""Watchers for tests: who they are, what they see, and the streamer they look at."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import count
from typing import Any

import aiohttp
import msgspec

from libs.cli.embedded.ports import free_port
from libs.common import streams
from libs.common.access import new_key
from libs.common.bus import open_bus
from libs.common.ids import new_id
from libs.common.messages import EVENTS, JobChanged
from libs.common.store import api_keys, organizations
from services.streamer.service import serve
from services.streamer.settings import Settings
from tests.support.waiting import until

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
                "id": str(number := next(_numbers)),
                # Behind all that other tests left in the stream.
                "position": f"1000000000000-{number}",
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
        #: What to say to go on from where it began.
        self.start = None

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


class Gallery:
    """A running streamer, and what a test needs around it."""

    def __init__(self, settings, bus, http, *, url=None):
        self.settings = settings
        self.url = url or f"http://127.0.0.1:{settings.http_port}"
        self.bus = bus
        self.http = http

    @asynccontextmanager
    async def stream(
        self, whose, *, path="", last=None, **query
    ) -> AsyncIterator[Stream]:
        """Open a stream and wait for its first word."""
        headers = whose.headers | ({} if last is None else {"Last-Event-ID": last})
        async with self.http.get(
            f"{self.url}/api/v1/events{path}", params=query, headers=headers
        ) as response:
            assert response.status == 200, await response.text()
            stream = Stream(response)
            first = await stream.frame()
            assert first.pop("") == "connected"
            stream.start = first.pop("id", None)
            assert first == {}
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
            await streams.send(
                self.bus, EVENTS, event.subject_of_this(), event.encode(), id_=event.id
            )


@asynccontextmanager
async def open_gallery(database_url, nats_url, **knobs) -> AsyncIterator[Gallery]:
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
            gallery = Gallery(settings, bus, http)

            async def ready():
                assert not serving.done(), serving.result()
                try:
                    async with http.get(f"{gallery.url}/health/ready") as response:
                        assert response.status == 200, await response.text()
                except aiohttp.ClientConnectionError as error:
                    raise AssertionError(error) from error
                return bus.connected

            await until(ready)
            yield gallery
        finally:
            stopping.set()
            async with asyncio.timeout(5):
                await serving
