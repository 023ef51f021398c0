"""The examples do what they say, as programs of their own."""

import asyncio
import os
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from libs.cli.embedded.nats import run_nats
from libs.cli.nats_users import organization_account, remember
from tests.support.house import new_tenant, open_api, run_house

EXAMPLES = Path(__file__).parents[2] / "examples/nats"


@pytest.fixture
async def acme(database_url):
    return await new_tenant(database_url)


@pytest.fixture
async def server(tmp_path, acme):
    directory = tmp_path / "nats"
    directory.mkdir()
    account = organization_account(str(acme.id), "acmes", ["workers"])
    remember(directory, str(acme.id), account)
    async with run_nats(directory) as server:
        yield server


@pytest.fixture
async def api(database_url, server, acme):
    async with (
        run_house(database_url, server.url, services=("ingest", "scheduler")) as house,
        open_api(house, acme) as client,
    ):
        yield client


@asynccontextmanager
async def running(program, server, acme, *arguments, **environment):
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        EXAMPLES / program,
        str(acme.id),
        *arguments,
        env={
            **os.environ,
            "NATS_URL": f"nats://{acme.id}:acmes@127.0.0.1:{server.port}",
            **environment,
        },
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            await asyncio.wait_for(process.wait(), 10)


async def lines(process, count):
    """Return the next events that it prints: (type, what it is about).

    What was given to one that ended meanwhile comes again after half a minute.
    """
    found: list[tuple[str, str]] = []
    async with asyncio.timeout(50):
        while len(found) < count:
            line = (await process.stdout.readline()).decode().split()
            assert line, "it ended"
            if line[0] != "#":
                found.append((line[1], line[3]))
    return found


async def test_a_subscriber_goes_on_where_it_stopped(api, server, acme):
    first = await api.create()
    async with running("subscriber.py", server, acme) as subscriber:
        assert await lines(subscriber, 1) == [("job.created", first)]
        second = await api.create()
        assert await lines(subscriber, 1) == [("job.created", second)]
    third = await api.create()
    async with running("subscriber.py", server, acme) as subscriber:
        # An acknowledgement may still be on its way when a program is stopped.
        [(_, told), *_] = await lines(subscriber, 1)
        while told == second:
            [(_, told)] = await lines(subscriber, 1)
        assert told == third


async def test_a_subscriber_survives_a_server_that_lost_its_disk(api, server, acme):
    async with running("subscriber.py", server, acme) as subscriber:
        first = await api.create()
        assert await lines(subscriber, 1) == [("job.created", first)]
        await server.kill()
        server.wipe()
        await server.start()
        second = await api.create()
        assert await lines(subscriber, 1) == [("job.created", second)]


async def test_a_subscriber_may_ask_for_a_part(api, server, acme):
    asked = ("--filter", "@worker.>", "--consumer", f"{acme.id}-workers")
    async with running("subscriber.py", server, acme, *asked) as subscriber:
        await api.create()
        about = {"worker_id": "w", "queue_name": "mail", "hostname": "h"}
        await api.ask("POST", "/workers/register", json=about, expect=201)

        assert await lines(subscriber, 1) == [("worker.registered", "w")]


async def test_a_producer_hands_in_a_job_once(api, server, acme):
    asked = ("mail", '{"n": 1}', "--idempotency-key", "k")
    said = []
    for _ in range(2):
        async with running(
            "producer.py", server, acme, *asked, BELLHOP_KEY=acme.api_key
        ) as producer:
            said.append((await producer.communicate())[0].decode().split())
            assert producer.returncode == 0

    (job, how), (again, how_again) = said
    assert (how, how_again) == ("created", "known")
    assert job == again
    assert (await api.job(job))["payload"] == {"n": 1}


async def test_a_producer_says_why_it_was_refused(api, server, acme):
    async with running(
        "producer.py", server, acme, "mail", "{}", BELLHOP_KEY="sk_live_wrong"
    ) as producer:
        await producer.wait()
        assert producer.returncode == 1
