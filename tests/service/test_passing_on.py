"""Ingest passes event streams on, and takes it well when a watcher hangs up."""

import aiohttp
import pytest
import structlog
from aiohttp import web
from prometheus_client import REGISTRY

from libs.cli.embedded.ports import free_port
from tests.support.house import run_house
from tests.support.waiting import until


@pytest.fixture
async def upstream():
    """Serve a stream that says one thing and then nothing; give its address."""

    async def stream(request):
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b": connected\n\n")
        await until(lambda: request.transport is None, at_most=20)
        return response

    app = web.Application()
    app.router.add_get("/api/v1/events", stream)
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    yield f"http://127.0.0.1:{port}"
    await runner.cleanup()


def answered(status):
    labels = {"method": "GET", "status": str(status)}
    return REGISTRY.get_sample_value("bellhop_api_requests_total", labels) or 0


async def test_a_watcher_that_hangs_up_is_no_crash(database_url, nats_url, upstream):
    async with run_house(
        database_url, nats_url, services=("ingest",), streamer_url=upstream
    ) as house:
        good, bad = answered(200), answered(500)
        with structlog.testing.capture_logs() as said:
            async with aiohttp.ClientSession() as http:
                watched = await http.get(f"{house.base_url}/api/v1/events")
                assert await watched.content.readline() == b": connected\n"
                watched.close()

            await until(lambda: answered(200) + answered(500) > good + bad)

    assert answered(500) == bad
    assert [line for line in said if line["log_level"] == "error"] == []


async def test_who_comes_to_the_door_is_shown_the_documentation(database_url, nats_url):
    async with (
        run_house(database_url, nats_url, services=("ingest",)) as house,
        aiohttp.ClientSession() as http,
        http.get(f"{house.base_url}/", allow_redirects=False) as answer,
    ):
        assert (answer.status, answer.headers["Location"]) == (302, "/docs")
