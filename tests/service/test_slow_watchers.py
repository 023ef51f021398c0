"""Watchers that do not read cost a bounded amount of memory, and delay nobody."""

import asyncio
import base64
import os
import socket
from contextlib import AsyncExitStack
from functools import partial

import aiohttp
import psutil
import pytest

from libs.common import streams
from libs.common.bus import open_bus
from libs.common.cloud_events import message
from libs.common.messages import EVENTS
from tests.support.processes import run_processes
from tests.support.waiting import until
from tests.support.watching import Gallery, tenant

STUCK = 50
SENT = 20_000
BATCH = 400
#: What may wait for one of them, and what stands in its connection on our side.
MAILBOX_BYTES = 1024 * 1024
SOCKET_BYTES = 256 * 1024


@pytest.fixture
async def streamer(database_url, nats_url, tmp_path):
    """A streamer as a process of its own, so that its memory is its own."""
    async with run_processes(
        database_url,
        nats_url,
        logs=tmp_path,
        services=("streamer",),
        stream_buffer_bytes_max=MAILBOX_BYTES,
        recent_bytes_max=1024 * 1024,
    ) as house:
        yield house


class Stuck:
    """A client that asks, takes the first word, and then reads no more."""

    def __init__(self, port, key, *, upgrade):
        self.port = port
        self.socket = socket.socket()
        self.request = f"GET /api/v1/{'ws' if upgrade else 'events'} HTTP/1.1\r\n"
        self.request += f"Host: x\r\nX-API-Key: {key}\r\n"
        if upgrade:
            nonce = base64.b64encode(os.urandom(16)).decode()
            self.request += (
                "Connection: Upgrade\r\nUpgrade: websocket\r\n"
                f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {nonce}\r\n"
            )

    async def connect(self):
        """Ask, and wait until we are being told."""
        loop = asyncio.get_running_loop()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.setblocking(False)
        await loop.sock_connect(self.socket, ("127.0.0.1", self.port))
        await loop.sock_sendall(self.socket, f"{self.request}\r\n".encode())
        head = b""
        while b"connected" not in head and b"Ping" not in head:
            head += await loop.sock_recv(self.socket, 1024)

    async def is_cut_off(self):
        """Read what is left; return whether that ends."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(20):
                while await loop.sock_recv(self.socket, 1024 * 1024):
                    pass
        except ConnectionError:
            return True
        except TimeoutError:
            return False
        return True


@pytest.mark.timeout(240)
async def test_stuck_watchers_are_sent_away_and_memory_stays_bounded(
    streamer, nats_url, conn
):
    acme = await tenant(conn, "acme")
    port = int(streamer.base_url.rpartition(":")[2])
    process = psutil.Process(streamer.running["streamer"].pid)
    stuck = [Stuck(port, acme.key, upgrade=n % 2 == 1) for n in range(STUCK)]
    async with (
        open_bus(nats_url, service="test") as bus,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as http,
        AsyncExitStack() as given_back,
    ):
        await until(lambda: bus.connected)
        gallery = Gallery(None, bus, http, url=streamer.base_url)
        for one in stuck:
            given_back.callback(one.socket.close)
            await one.connect()
        async with gallery.stream(acme, queue="mail", events="job.failed") as quick:
            seen = 0

            async def watch():
                nonlocal seen
                async for line in quick.response.content:
                    seen += line.startswith(b"data: ")

            def caught_up(sent):
                return seen == sent

            watching = asyncio.create_task(watch())
            before = most = process.memory_info().rss
            details = {"error": "x" * 300, "retry_count": 1}
            for sent in range(BATCH, SENT + 1, BATCH):
                words = [
                    acme.changed("retrying", details=details) for _ in range(BATCH)
                ]
                await streams.pour(bus, EVENTS, [message(word) for word in words])
                # Who reads is told all the while, whoever does not.
                await until(partial(caught_up, sent), at_most=30)
                most = max(most, process.memory_info().rss)
            watching.cancel()
        grown = most - before
        print(f"\n{before / 2**20:.0f} MiB, and at most {grown / 2**20:.1f} MiB more")
        assert grown < STUCK * (MAILBOX_BYTES + SOCKET_BYTES) + 32 * 2**20
        assert all(await asyncio.gather(*(one.is_cut_off() for one in stuck)))
