"""The two commands: a stack starts, says where it is, survives, and leaves no trace."""

import asyncio
import signal
import socket
import stat
import time

import aiohttp
import asyncpg
import psutil
import pytest

from libs.cli.lock import holder
from tests.support.endpoint import HANG
from tests.support.stacks import living, own_stack
from tests.support.waiting import until

SERVICES = {"ingest", "dispatcher", "delivery", "scheduler", "streamer"}


@pytest.fixture
async def stack(tmp_path):
    async with own_stack(tmp_path / "stack") as stack:
        yield stack


@pytest.fixture
async def light_stack(tmp_path, database_url, nats_url):
    """A stack on given servers, for what embedded ones have nothing to do with."""
    given = {"DATABASE_URL": database_url, "NATS_URL": nats_url}
    async with own_stack(tmp_path / "stack", **given) as stack:
        yield stack


@pytest.fixture
async def http():
    async with aiohttp.ClientSession() as session:
        yield session


async def create(http, file, url):
    async with http.post(
        f"{file.base_url}/api/v1/jobs",
        headers={"Authorization": f"Bearer {file.api_key}"},
        json={"queue_name": "mail", "payload": {"n": 1}, "target": {"url": url}},
    ) as answer:
        assert answer.status == 201, await answer.text()
        return (await answer.json())["id"]


async def status_of(http, file, job_id):
    async with http.get(
        f"{file.base_url}/api/v1/jobs/{job_id}",
        headers={"Authorization": f"Bearer {file.api_key}"},
    ) as answer:
        return (await answer.json())["status"]


async def delivered(http, file, endpoint):
    """Deliver one webhook, and check everything about it."""
    before = len(endpoint.requests)
    job_id = await create(http, file, endpoint.url)
    received = (await endpoint.received(before + 1))[-1]
    assert received.id == job_id
    received.verify(file.signing_secret)

    async def completed():
        return await status_of(http, file, job_id) == "completed"

    await until(completed)
    return job_id


async def test_two_stacks_run_side_by_side_and_leave_no_trace(tmp_path, http, endpoint):
    async with own_stack(tmp_path / "a") as a, own_stack(tmp_path / "b") as b:
        await asyncio.gather(a.start(), b.start())
        files = [a.file, b.file]
        for stack in a, b:
            mode = (stack.data_dir / "stack.json").stat().st_mode
            assert stat.S_IMODE(mode) == 0o600
            assert (
                stat.S_IMODE((stack.data_dir / "credentials.json").stat().st_mode)
                == 0o600
            )
            assert stack.file.services.keys() == SERVICES
            for name, service in stack.file.services.items():
                async with http.get(service.health_url) as answer:
                    assert answer.status == 200, name
                assert f"services.{name}" in psutil.Process(service.pid).cmdline()
        for field in (
            "base_url",
            "grpc_address",
            "api_key",
            "admin_key",
            "signing_secret",
        ):
            assert len({getattr(file, field) for file in files}) == 2, field
        for file in files:
            await delivered(http, file, endpoint)

        processes = [*a.processes(), *b.processes()]
        stopped = await asyncio.gather(a.bellhop("stop"), b.bellhop("stop"))

        assert [said.code for said in stopped] == [0, 0]
        assert living(processes) == []
        assert not (a.data_dir / "stack.json").exists()
        assert not (b.data_dir / "stack.json").exists()


async def test_a_stack_that_starts_again_is_the_same_until_it_is_forgotten(
    stack, http, endpoint
):
    before = await stack.start()
    job_id = await delivered(http, before, endpoint)
    await stack.bellhop("stop")

    began = time.monotonic()
    after = await stack.start()
    print(f"ready again after {time.monotonic() - began:.1f} s")

    for name in "base_url", "api_key", "admin_key", "signing_secret", "database_url":
        assert getattr(after, name) == getattr(before, name), name
    assert await status_of(http, after, job_id) == "completed"
    await delivered(http, after, endpoint)

    processes = stack.processes()
    assert (await stack.bellhop("clean")).code == 0
    assert living(processes) == []
    assert not stack.data_dir.exists()


async def test_a_killed_process_is_started_again(stack, http, endpoint):
    before = await stack.start()
    servers = {
        process.name(): process
        for process in stack.processes()
        if process.name() in {"postgres", "nats-server"}
        and process.parent().pid == before.pid
    }
    assert len(servers) == 2

    for server in servers.values():
        server.kill()
    psutil.Process(before.services["delivery"].pid).kill()

    async def all_back():
        now = stack.file.services["delivery"]
        assert now.pid != before.services["delivery"].pid
        return (await stack.bellhop("status")).code == 0

    await until(all_back, at_most=30)
    await delivered(http, stack.file, endpoint)


async def test_a_killed_supervisor_takes_everything_with_it(stack, http, endpoint):
    before = await stack.start()
    processes = stack.processes()
    psutil.Process(before.pid).kill()
    await until(lambda: not living(processes), at_most=40)
    assert (stack.data_dir / "stack.json").exists(), "nobody was left to remove it"

    after = await stack.start()

    assert after.api_key == before.api_key
    await delivered(http, after, endpoint)


async def test_control_c_ends_it_with_success(stack):
    up = await stack.begin("up")
    await until((stack.data_dir / "stack.json").exists, at_most=60)
    processes = stack.processes()

    up.send_signal(signal.SIGINT)
    text, _ = await up.communicate()

    assert up.returncode == 0, text.decode()
    assert b"curl http://127.0.0.1:" in text
    assert text.endswith(b"Bellhop has stopped.\n")
    assert living(processes) == []


async def test_control_c_while_it_starts_ends_it_too(light_stack):
    stack = light_stack
    up = await stack.begin("up")
    await until((stack.data_dir / "logs").exists, at_most=60)
    processes = stack.processes()

    up.send_signal(signal.SIGINT)
    text, _ = await up.communicate()

    assert up.returncode == 0, text.decode()
    assert living(processes) == []
    assert not (stack.data_dir / "stack.json").exists()


async def test_a_second_control_c_does_not_wait_for_a_hanging_receiver(
    light_stack, http, endpoint
):
    stack = light_stack
    endpoint.otherwise = HANG
    up = await stack.begin("up")
    await until((stack.data_dir / "stack.json").exists, at_most=60)
    processes = stack.processes()
    await create(http, stack.file, endpoint.url)
    await endpoint.received(1)

    up.send_signal(signal.SIGINT)
    await until(lambda: not (stack.data_dir / "stack.json").exists())
    began = time.monotonic()
    up.send_signal(signal.SIGINT)
    await up.communicate()

    assert up.returncode == 0
    assert time.monotonic() - began < 10
    assert living(processes) == []


async def test_a_second_supervisor_is_turned_away(light_stack):
    stack = light_stack
    file = await stack.start()

    said = await stack.bellhop("up")

    assert said.code == 1
    assert f"already runs in {stack.data_dir} (pid {file.pid})" in said.text
    assert (await stack.bellhop("status")).code == 0
    assert (await stack.bellhop("start")).code == 0
    assert holder(stack.data_dir) == file.pid


async def test_a_port_that_was_asked_for_and_is_taken_is_named(light_stack):
    stack = light_stack
    with socket.create_server(("127.0.0.1", 0)) as taken:
        stack.environment["BELLHOP_PORT"] = str(taken.getsockname()[1])

        said = await stack.bellhop("start")

    assert said.code == 1
    assert "BELLHOP_PORT" in said.text
    assert stack.processes() == []


async def test_a_service_that_cannot_start_is_shown_with_its_log(light_stack):
    stack = light_stack
    stack.environment["BELLHOP_DELIVERY_SLOTS"] = "none"

    said = await stack.bellhop("start")

    assert said.code == 1
    assert "delivery ended while it started" in said.text
    assert "BELLHOP_DELIVERY_SLOTS" in said.text
    assert stack.processes() == []


async def test_given_servers_are_used_instead_of_embedded_ones(
    light_stack, database_url, nats_url, http, endpoint
):
    stack = light_stack

    file = await stack.start()

    assert (file.database_url, file.nats_url) == (database_url, nats_url)
    assert {process.name() for process in stack.processes()}.isdisjoint(
        {"postgres", "nats-server"}
    )
    delivery = psutil.Process(file.services["delivery"].pid)
    assert "DATABASE_URL" not in delivery.environ()
    await delivered(http, file, endpoint)


async def test_a_database_that_somebody_else_set_up_is_left_alone(
    light_stack, database_url
):
    stack = light_stack
    conn = await asyncpg.connect(database_url)
    try:
        await conn.execute(
            "INSERT INTO organizations (id, name, slug)"
            " VALUES (gen_random_uuid(), 'Theirs', 'theirs')"
        )

        said = await stack.bellhop("start")

        assert said.code == 0
        assert stack.file.api_key is None
        assert "X-Admin-Key" in said.text
        assert await conn.fetchval("SELECT count(*) FROM organizations") == 1
    finally:
        await conn.close()


async def test_a_database_that_is_not_there_is_told_in_a_sentence(stack):
    stack.environment["DATABASE_URL"] = "postgresql://nobody@127.0.0.1:1/nothing"

    said = await stack.bellhop("start")

    assert said.code == 1
    assert "bellhop: DATABASE_URL: nothing answers at " in said.text
    assert "Traceback" not in said.text
    assert stack.processes() == []
