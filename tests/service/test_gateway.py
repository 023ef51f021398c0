"""The gateway of docker-compose.yml, when there is an nginx to be it."""

import asyncio
import os
import re
import shutil
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from libs.cli.embedded.ports import free_port
from tests.support.waiting import until

CONFIGURATION = Path(__file__).parents[2] / "deploy/gateway/nginx.conf"
NGINX = (
    shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin") or ""
)

pytestmark = pytest.mark.skipif(not NGINX, reason="needs nginx: apt-get install nginx")


@asynccontextmanager
async def answering(name):
    """Run a server that says who it is, what it was asked, and by whom."""

    async def answer(request):
        if request.headers.get("Upgrade"):
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            await socket.send_str(name)
            await socket.close()
            return socket
        return web.json_response(
            {"who": name, "by": request.headers["X-Forwarded-For"]}
        )

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port := free_port())
    await site.start()
    try:
        yield port
    finally:
        await runner.cleanup()


@pytest.fixture
async def gateway(tmp_path):
    async with answering("ingest") as ingest, answering("streamer") as streamer:
        port = free_port()
        text = CONFIGURATION.read_text()
        for given, here in (
            ("ingest:8080", f"127.0.0.1:{ingest}"),
            ("streamer:8081", f"127.0.0.1:{streamer}"),
            ("listen 8080", f"listen 127.0.0.1:{port}"),
            ("listen 50051;", f"listen 127.0.0.1:{free_port()} http2;"),
            # An older nginx says it with the port.
            ("http2 on;", ""),
            ("worker_processes auto;", "worker_processes 1; daemon off;"),
        ):
            assert text.count(given) == 1, given
            text = text.replace(given, here)
        configuration = tmp_path / "nginx.conf"
        configuration.write_text(re.sub(r"/tmp/", f"{tmp_path}/", text))
        process = await asyncio.create_subprocess_exec(
            NGINX, "-c", configuration, "-p", tmp_path
        )
        url = f"http://127.0.0.1:{port}"
        async with aiohttp.ClientSession() as session:

            async def answers():
                assert process.returncode is None
                try:
                    async with session.get(f"{url}/gateway/health") as answer:
                        return answer.status == 204
                except aiohttp.ClientError:
                    return False

            try:
                await until(answers, at_most=20)
                yield url, session
            finally:
                process.terminate()
                await process.wait()


@pytest.mark.parametrize(
    ("path", "leads_to"),
    [
        ("/api/v1/jobs", "ingest"),
        ("/health/ready", "ingest"),
        ("/api/v1/events", "streamer"),
        ("/api/v1/events/queues/mail", "streamer"),
    ],
)
async def test_the_gateway_routes_by_path_and_names_the_client(gateway, path, leads_to):
    url, session = gateway

    async with session.get(url + path, headers={"X-Forwarded-For": "6.6.6.6"}) as found:
        assert await found.json() == {"who": leads_to, "by": "127.0.0.1"}


async def test_a_websocket_goes_through(gateway):
    url, session = gateway

    async with session.ws_connect(f"{url}/api/v1/ws") as socket:
        assert await socket.receive_str() == "streamer"
