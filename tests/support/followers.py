"""Watchers that never give up: cut off, they come back and go on where they stopped."""

import asyncio
import json
import random
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import nats
import nats.errors
import nats.js.errors

from libs.common.lifecycle import Transition
from libs.common.messages import EVENTS
from libs.common.positions import read_position
from services.streamer.tidings import TOLD

#: What is no event: it has no place of its own.
UNPLACED = {"Ping", "SystemHealth", "Error"}
_PAUSE_SECONDS = 0.2


@dataclass
class Follower:
    """Follows through one connection after another, at whichever streamer."""

    urls: list[str]
    key: str
    luck: random.Random
    #: (mark, type, data) of every frame of an event, as they came.
    frames: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    lost: list[dict[str, Any]] = field(default_factory=list)
    last: str | None = None
    connections: int = 0

    async def follow(self):
        """Follow until cancelled."""
        async with aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None, sock_read=5)
        ) as http:
            while True:
                try:
                    async with asyncio.timeout(self.luck.uniform(1, 6)):
                        await self.connect(http, self.luck.choice(self.urls))
                except (aiohttp.ClientError, OSError, TimeoutError):
                    pass
                await asyncio.sleep(_PAUSE_SECONDS)

    async def connect(self, http, url):
        raise NotImplementedError

    def take(self, mark, envelope):
        """Note one frame."""
        if mark is not None:
            self.last = mark
        if envelope["type"] == "EventsLost":
            self.lost.append(envelope)
        elif envelope["type"] not in UNPLACED:
            assert mark is not None, envelope
            self.frames.append((mark, envelope["type"], envelope["data"]))


class EventStreamFollower(Follower):
    """Goes on by ``Last-Event-ID``, like a browser."""

    async def connect(self, http, url):
        headers = {"Authorization": f"Bearer {self.key}"}
        if self.last is not None:
            headers["Last-Event-ID"] = self.last
        async with http.get(f"{url}/api/v1/events", headers=headers) as response:
            if response.status != 200:
                return
            self.connections += 1
            mark = data = None
            async for line in response.content:
                name, _, value = line.decode().rstrip("\n").partition(":")
                if name == "id":
                    mark = value.strip()
                elif name == "data":
                    data = json.loads(value)
                elif line == b"\n":
                    if data is not None:
                        self.take(mark, data)
                    elif mark is not None:
                        self.last = mark
                    mark = data = None


class SocketFollower(Follower):
    """Goes on by ``since``."""

    async def connect(self, http, url):
        params = {"token": self.key}
        if self.last is not None:
            params["since"] = self.last
        async with http.ws_connect(f"{url}/api/v1/ws", params=params) as socket:
            self.connections += 1
            async for message in socket:
                if message.type is not aiohttp.WSMsgType.TEXT:
                    return
                envelope = json.loads(message.data)
                self.take(envelope.get("id"), envelope)


@dataclass
class Subscriber:
    """A program of somebody else's: plain nats-py, a durable consumer."""

    url: str
    organization_id: str
    #: (message id, body) of every event, as they came.
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def take(self, id_, body):
        """Note one event."""
        self.events.append((id_, body))

    async def follow(self):
        """Follow until cancelled."""

        async def quietly(error):
            pass

        client = await nats.connect(
            self.url,
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.2,
            error_cb=quietly,
        )
        try:
            subscription = None
            while True:
                try:
                    if subscription is None:
                        subscription = await client.jetstream().pull_subscribe(
                            f"bellhop.events.{self.organization_id}.>",
                            durable="somebody-else",
                            stream=EVENTS.name,
                        )
                    for letter in await subscription.fetch(100, timeout=1):
                        id_ = (letter.headers or {})["Nats-Msg-Id"]
                        self.take(id_, json.loads(letter.data))
                        await letter.ack_sync(timeout=2)
                except (nats.errors.Error, nats.js.errors.Error, OSError):
                    # The stream may be another by now, without our consumer.
                    if subscription is not None:
                        with suppress(OSError, nats.errors.Error, ValueError):
                            await subscription.unsubscribe()
                    subscription = None
                    await asyncio.sleep(_PAUSE_SECONDS)
        finally:
            with suppress(OSError, nats.errors.Error):
                await client.close()


async def told_of(conn, organization_id):
    """Return {position: job or None} of all that watchers are told of."""
    told = [str(one) for one in Transition if TOLD[one]]
    rows = await conn.fetch(
        "SELECT xid::text AS xid, seq, job_id FROM journal"
        " JOIN lanes ON lanes.id = lane_id"
        " WHERE organization_id = $1 AND NOT telling AND transition::text = ANY ($2)"
        " UNION ALL SELECT xid::text, seq, NULL FROM notices"
        " WHERE organization_id = $1",
        organization_id,
        told,
    )
    return {(int(row["xid"]), row["seq"]): row["job_id"] for row in rows}


def position_of(mark):
    """Return the position that the mark of an event names."""
    return read_position(mark.partition(".")[0])
