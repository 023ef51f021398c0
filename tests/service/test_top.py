"""``bellhop top`` while Bellhop is away, and when it is refused."""

import asyncio
import json
import sys
from collections import Counter
from contextlib import asynccontextmanager

import pytest

from libs.cli.api.access import Access
from libs.cli.api.board import Board
from libs.cli.api.client import open_api as open_client
from libs.cli.api.stream import Frame
from libs.cli.api.top import _keep_fresh
from libs.cli.embedded.ports import free_port
from libs.cli.service_process import tree_environment
from tests.support.endpoints import create_endpoint
from tests.support.house import assert_invariants, run_house
from tests.support.waiting import until


@pytest.fixture
def streamer_port():
    return free_port()


@pytest.fixture
def streamer_url(streamer_port):
    return f"http://127.0.0.1:{streamer_port}"


@pytest.fixture
async def house(database_url, nats_url, streamer_port, streamer_url):
    """Ingest, with a streamer behind it."""
    services = ("ingest", "scheduler")
    async with run_house(
        database_url, nats_url, services=services, streamer_url=streamer_url
    ) as house:
        await house.start("streamer", http_port=streamer_port)
        yield house
        await assert_invariants(database_url)


class Pictures:
    """``bellhop top --json`` as a process, and what it shows."""

    def __init__(self, process):
        self.process = process
        self.last = {}

    async def watch(self):
        async for line in self.process.stdout:
            self.last = json.loads(line)

    def counts(self, queue):
        """How many jobs of a queue wait, and whether Bellhop is there."""
        rows = {row["queue"]: row for row in self.last.get("queues", ())}
        pending = rows[queue]["pending"] if queue in rows else None
        return pending, self.last.get("unreachable") is None


@asynccontextmanager
async def top(house, key):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "libs.cli", "top", "--json", "--interval", "0.1"),
        env={
            **{k: v for k, v in tree_environment().items() if "BELLHOP_" not in k},
            "BELLHOP_URL": house.base_url,
            "BELLHOP_API_KEY": key,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    pictures = Pictures(process)
    watching = asyncio.create_task(pictures.watch())
    try:
        await until(lambda: pictures.last, at_most=60)
        yield pictures
    finally:
        if process.returncode is None:
            process.terminate()
        await watching
        await process.wait()


async def test_it_goes_on_when_bellhop_starts_again(house, api, tenant, streamer_url):
    await api.create(queue_name="mail")
    async with top(house, tenant.api_key) as pictures:
        await until(lambda: pictures.counts("mail") == (1, True), at_most=20)
        await house.stop("ingest")
        await until(lambda: not pictures.counts("mail")[1], at_most=20)
        assert pictures.counts("mail")[0], "this is how it was"
        assert house.base_url in pictures.last["unreachable"]

        await house.start("ingest", streamer_url=streamer_url)
        await until(lambda: pictures.counts("mail") == (1, True), at_most=30)
        await api.create(queue_name="mail")
        await until(lambda: pictures.counts("mail") == (2, True), at_most=30)
        assert pictures.process.returncode is None


async def test_a_key_that_is_revoked_ends_it_with_one_line(house, api):
    made = await api.ask("POST", "/api-keys", json={"name": "laptop"}, expect=201)
    async with top(house, made["key"]) as pictures:
        await api.ask("DELETE", f"/api-keys/{made['id']}", expect=204)
        said = await asyncio.wait_for(pictures.process.stderr.read(), 60)
        code = await pictures.process.wait()

    assert code == 1
    assert said.decode().count("\n") == 1, said.decode()
    assert json.loads(said)["status"] == 401


async def test_of_many_endpoints_and_workers_all_are_looked_at(house, api, tenant):
    failing = await create_endpoint(api, url="http://127.0.0.1:9/", enabled=False)
    for n in range(101):
        await create_endpoint(api, url=f"http://127.0.0.1:9/{n}")
        body = {"queue_name": "mail", "hostname": f"host-{n}"}
        await api.ask("POST", "/workers/register", json=body, expect=201)
    async with top(house, tenant.api_key) as pictures:
        shown = pictures.last

    assert [one["url"] for one in shown["failing_endpoints"]] == [failing["url"]]
    assert len(shown["workers"]) == 101


async def test_what_events_moved_is_read_again_whatever_else_is_read(
    house, api, tenant, monkeypatch
):
    monkeypatch.setattr("libs.cli.api.top._LOOK_SECONDS", 0.05)
    monkeypatch.setattr("libs.cli.api.top._MOVED_SECONDS", 0.5)
    await api.create(queue_name="mail")
    board = Board()

    async def workers_come_and_go():
        while True:
            board.happened(Frame("1", "WorkerRegistered", {}))
            await asyncio.sleep(0.1)

    async with (
        open_client(Access(house.base_url, tenant.api_key)) as client,
        asyncio.TaskGroup() as others,
    ):
        going = [
            others.create_task(_keep_fresh(client, board)),
            others.create_task(workers_come_and_go()),
        ]
        await until(lambda: board.queues.get("mail", Counter())["pending"] == 1)
        # Told of a job that the figures hold already, as when a stream has just begun.
        board.happened(Frame("1", "JobCreated", {"queue_name": "mail"}))
        assert board.queues["mail"]["pending"] == 2
        await until(lambda: board.queues["mail"]["pending"] == 1, at_most=5)
        assert not board.moved
        for task in going:
            task.cancel()
