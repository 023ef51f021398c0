"""The gateway of docker-compose.yml, when there is an nginx to be it."""

import asyncio
import os
import re
import shutil
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import aiohttp
import grpc
import pytest
from aiohttp import web

import services.streamer.service
from libs.cli.embedded.ports import free_port
from libs.common.pb import spooled_pb2 as pb
from services.ingest.http import streams
from services.streamer.pages import Pages
from tests.support.grpc_client import EOF, asked, open_grpc_api, soon
from tests.support.house import ADMIN_KEY, open_api, run_house
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
CONFIGURATION = ROOT / "deploy/gateway/nginx.conf"
NGINX = (
    shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin") or ""
)
#: Without a space too many a payload may have so many bytes.
PAYLOAD_BYTES_MAX = 1024 * 1024

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
        said = request.headers
        return web.json_response(
            {
                "who": name,
                "by": said["X-Forwarded-For"],
                "over": said["X-Forwarded-Proto"],
            }
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


@asynccontextmanager
async def run_gateway(directory, *, ingest, streamer, grpc_port=1):
    """Run nginx as it is deployed, before these ports; give its own two."""
    port, own_grpc_port = free_port(), free_port()
    text = CONFIGURATION.read_text()
    for given, here in (
        ("ingest:8080", f"127.0.0.1:{ingest}"),
        ("ingest:50051", f"127.0.0.1:{grpc_port}"),
        ("streamer:8081", f"127.0.0.1:{streamer}"),
        ("listen 8080", f"listen 127.0.0.1:{port}"),
        ("listen 50051;", f"listen 127.0.0.1:{own_grpc_port} http2;"),
        # An older nginx says it with the port.
        ("http2 on;", ""),
        ("worker_processes auto;", "worker_processes 1; daemon off;"),
    ):
        assert text.count(given) == 1, given
        text = text.replace(given, here)
    configuration = directory / "nginx.conf"
    configuration.write_text(re.sub(r"/tmp/", f"{directory}/", text))
    process = await asyncio.create_subprocess_exec(
        NGINX, "-c", configuration, "-p", directory
    )

    async def answers():
        assert process.returncode is None
        try:
            async with session.get(f"http://127.0.0.1:{port}/gateway/health") as answer:
                return answer.status == 204
        except aiohttp.ClientError:
            return False

    try:
        async with aiohttp.ClientSession() as session:
            await until(answers, at_most=20)
        yield port, own_grpc_port
    finally:
        process.terminate()
        await process.wait()


@pytest.fixture
async def gateway(tmp_path):
    """A gateway before two who say who they are."""
    async with (
        answering("ingest") as ingest,
        answering("streamer") as streamer,
        run_gateway(tmp_path, ingest=ingest, streamer=streamer) as (port, _),
        aiohttp.ClientSession() as session,
    ):
        yield f"http://127.0.0.1:{port}", session


@pytest.fixture
async def grpc_gateway(tmp_path, grpc_house, grpc_port, tenant):
    """A client of the tenant's whose gRPC goes through a gateway."""
    async with (
        run_gateway(tmp_path, ingest=1, streamer=1, grpc_port=grpc_port) as (_, port),
        open_grpc_api(port, tenant.api_key) as api,
    ):
        yield api


@pytest.mark.parametrize(
    ("path", "leads_to"),
    [
        ("/api/v1/jobs", "ingest"),
        ("/api/v1/dashboard", "ingest"),
        ("/dashboards", "ingest"),
        ("/docs", "ingest"),
        ("/health/ready", "ingest"),
        ("/api/v1/events", "streamer"),
        ("/api/v1/events/queues/mail", "streamer"),
        *((path.replace("{rest:.*}", "jobs/1"), "streamer") for path in streams.PAGES),
    ],
)
async def test_the_gateway_routes_by_path(gateway, path, leads_to):
    url, session = gateway

    async with session.get(url + path) as found:
        assert await found.json() == {
            "who": leads_to,
            "by": "127.0.0.1",
            "over": "http",
        }


async def test_what_proxies_before_the_gateway_say_arrives(gateway):
    url, session = gateway
    said = {"X-Forwarded-For": "6.6.6.6, 198.51.100.7", "X-Forwarded-Proto": "https"}

    async with session.get(f"{url}/api/v1/jobs", headers=said) as found:
        told = await found.json()

    assert told["by"] == "6.6.6.6, 198.51.100.7, 127.0.0.1"
    assert told["over"] == "https"


async def test_a_websocket_goes_through(gateway):
    url, session = gateway

    async with session.ws_connect(f"{url}/api/v1/ws") as socket:
        assert await socket.receive_str() == "streamer"


def large():
    """A payload that is nearly as large as one may be."""
    return {"x": "y" * (PAYLOAD_BYTES_MAX - 70 * 1024)}


async def test_a_message_as_large_as_grpc_takes_goes_through(grpc_gateway):
    item = pb.EnqueueItem(payload=large())
    batch = pb.EnqueueBatchRequest(queue_name="mail", items=[item] * 4)
    assert 3_900_000 < batch.ByteSize() < 4 * 1024 * 1024

    made = await grpc_gateway.call("EnqueueBatch", batch)

    assert [one.created for one in made.items] == [True] * 4


async def test_a_conversation_may_say_more_than_fits_one_message(
    grpc_gateway, grpc_house, tenant
):
    async with open_api(grpc_house, tenant) as api:
        ids = {await api.create() for _ in range(5)}
    talk = grpc_gateway.queue.ProcessJobs(metadata=grpc_gateway.metadata)
    want = pb.DequeueRequest(queue_name="mail", worker_id="w1")

    for _ in range(5):
        job = (await asked(talk, dequeue=want)).job
        ids.remove(job.id)
        held = {"worker_id": "w1", "job_id": job.id, "lease_id": job.lease_id}
        done = await asked(talk, complete=pb.CompleteRequest(**held, result=large()))
        assert done.complete.success, done
    await talk.done_writing()

    assert await soon(talk.read()) is EOF
    assert await talk.code() is grpc.StatusCode.OK
    assert not ids


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
async def test_all_doors_lead_to_a_house_in_production(
    tmp_path, monkeypatch, database_url, nats_url, grpc_port
):
    """As continuous integration asks, there of the containers."""
    # Whether the dashboard is built is another matter.
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages/index.html").write_text("<!doctype html>")
    pages = partial(Pages, tmp_path / "pages")
    monkeypatch.setattr(services.streamer.service, "Pages", pages)
    streamer = free_port()
    async with run_house(
        database_url,
        nats_url,
        services=("ingest",),
        environment="production",
        grpc_port=grpc_port,
        trusted_proxy_hops=1,
    ) as house:
        await house.start("streamer", http_port=streamer)
        ingest = int(house.base_url.rpartition(":")[2])
        async with run_gateway(
            tmp_path, ingest=ingest, streamer=streamer, grpc_port=grpc_port
        ) as ports:
            doors = await asyncio.create_subprocess_exec(
                ROOT / ".ci/doors",
                *(f"http://127.0.0.1:{port}" for port in ports),
                env={**os.environ, "BELLHOP_ADMIN_KEY": ADMIN_KEY},
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            said, _ = await doors.communicate()

    assert doors.returncode == 0, said.decode()
