"""Workers as programs: what they do when Bellhop dies, and when told to end."""

import asyncio
import os
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from libs.cli.embedded.ports import free_port
from libs.worker import Worker
from tests.support.house import open_api
from tests.support.processes import run_processes
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]


@pytest.fixture
def grpc_port():
    return free_port()


@pytest.fixture
async def house(database_url, nats_url, tmp_path, grpc_port):
    async with run_processes(
        database_url,
        nats_url,
        logs=tmp_path,
        services=("ingest", "scheduler"),
        grpc_port=grpc_port,
    ) as house:
        yield house


@pytest.fixture
async def api(house, tenant):
    async with open_api(house, tenant) as client:
        yield client


@asynccontextmanager
async def example(grpc_port, tenant, *arguments):
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        ROOT / "examples/worker.py",
        *arguments,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "BELLHOP_GRPC_URL": f"http://127.0.0.1:{grpc_port}",
            "BELLHOP_API_KEY": tenant.api_key,
        },
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_what_ended_while_ingest_was_dead_is_settled_when_it_is_back(
    house, api, tenant, grpc_port
):
    worker = Worker(f"http://127.0.0.1:{grpc_port}", tenant.api_key)
    began, go_on = asyncio.Event(), asyncio.Event()
    runs: list[str] = []

    @worker.handler("mail", concurrency=2, lease_seconds=60)
    async def work(job):
        runs.append(job.id)
        if len(runs) == 2:
            began.set()
        await go_on.wait()
        return {"done": True}

    jobs = [await api.create() for _ in range(2)]
    task = asyncio.create_task(worker.run())
    await asyncio.wait_for(began.wait(), 60)

    await house.kill("ingest")
    go_on.set()
    await asyncio.sleep(1)
    await house.start("ingest", grpc_port=grpc_port)

    for job_id in jobs:
        await api.until_status(job_id, "completed", at_most=60)
        assert len(await api.attempts(job_id)) == 1
    later = await api.create()
    await api.until_status(later, "completed", at_most=60)
    assert sorted(runs) == sorted([*jobs, later])
    worker.stop()
    await asyncio.wait_for(task, 60)


async def test_a_lease_that_ran_out_while_ingest_was_dead_is_given_up(
    house, api, tenant, grpc_port
):
    worker = Worker(f"http://127.0.0.1:{grpc_port}", tenant.api_key)
    ends: list[str] = []

    @worker.handler("mail", lease_seconds=5)
    async def work(_):
        if ends:
            return
        try:
            ends.append("began")
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise

    job_id = await api.create()
    task = asyncio.create_task(worker.run())
    await until(lambda: ends == ["began"], at_most=60)

    await house.kill("ingest")
    await until(lambda: ends == ["began", "cancelled"], at_most=60)
    await house.start("ingest", grpc_port=grpc_port)

    await api.until_status(job_id, "completed", at_most=60)
    worker.stop()
    await asyncio.wait_for(task, 60)


async def test_the_example_does_what_it_says_and_drains_on_sigterm(
    house, api, tenant, grpc_port
):
    sum_id = await api.create(queue_name="sums", payload={"add": [1, 2, 3]})
    nobody = await api.create(queue_name="greetings", payload={})
    async with example(grpc_port, tenant, "greet", "Ada", "Moody") as producer:
        told, _ = await producer.communicate()
        assert producer.returncode == 0
        assert told.count(b"created=True") == 2

    async with example(grpc_port, tenant) as worker:
        await api.until_status(sum_id, "completed", at_most=60)
        await api.until_status(nobody, "deadletter", at_most=60)

        async def greeted():
            rows = await api.ask("GET", "/jobs?queue_name=greetings", expect=200)
            return sum(row["status"] == "completed" for row in rows) == 2

        await until(greeted, at_most=60)
        worker.send_signal(signal.SIGTERM)
        said, _ = await asyncio.wait_for(worker.communicate(), 60)

    assert worker.returncode == 0
    assert b"Hello, Ada!" in said
    assert (await api.job(sum_id))["result"] == {"sum": 6}
    rows = await api.ask("GET", "/workers", expect=200)
    assert {row["status"] for row in rows} <= {"offline"}
