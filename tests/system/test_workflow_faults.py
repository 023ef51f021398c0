"""Workflows while processes die: every one of them ends, each job is let go once."""

import asyncio
import random
import time
from contextlib import AsyncExitStack
from itertools import count

import aiohttp
import asyncpg
import pytest

from tests.support.flows import QUEUE, create, step
from tests.support.house import assert_invariants, open_api
from tests.support.processes import run_processes
from tests.support.waiting import until

WORKERS = 4
LEASE_SECONDS = 5
VICTIMS = ("dispatcher", "scheduler", "ingest", "dispatcher", "ingest", "scheduler")


@pytest.fixture
async def house(database_url, nats_url, tmp_path):
    """All services as processes; afterwards every job is where it should be."""
    async with AsyncExitStack() as stack:
        running = run_processes(database_url, nats_url, logs=tmp_path)
        yield await stack.enter_async_context(running)
    await assert_invariants(database_url)


def diamond(number, url):
    """Return the jobs: a webhook on one side, a key that many share on the other."""
    patient = {"max_retries": 20}
    return [
        step("top", **patient),
        step("sent", "top", **patient, target={"url": url}),
        step("worked", "top", **patient, concurrency_key=f"key {number % 5}"),
        step("end", "sent", "worked", **patient),
        step("mourn", "end", dependency_type="failure"),
    ]


async def produce(api, url, stopping):
    """Create workflows until told to stop, each until it is answered; count them."""
    number = 0
    while not stopping.is_set():
        number += 1
        created = None
        while created is None:
            try:
                created = await create(
                    api, *diamond(number, url), idempotency_key=f"flow {number}"
                )
            except (aiohttp.ClientError, OSError, AssertionError):
                await asyncio.sleep(0.1)
        await asyncio.sleep(0.05)
    return number


async def work(api, name, stopping):
    """Claim and complete until told to stop, whoever is away meanwhile."""
    turns = count()
    while not stopping.is_set():
        try:
            asked = {
                "queue_name": QUEUE,
                "worker_id": f"{name}-{next(turns)}",
                "limit": 3,
                "lease_duration_secs": LEASE_SECONDS,
                "wait_seconds": 1,
            }
            status, answer, _ = await api.ask("POST", "/jobs/claim", json=asked)
            for job in answer["jobs"] if status == 200 else ():
                done = {"worker_id": asked["worker_id"], "lease_id": job["lease_id"]}
                await api.ask("POST", f"/jobs/{job['id']}/complete", json=done)
        except (aiohttp.ClientError, OSError):
            # It is being started again; the leases run out, if need be.
            await asyncio.sleep(0.1)


async def storm(house, luck):
    """Kill one after the other, and start it again."""
    for victim in VICTIMS:
        await asyncio.sleep(luck.uniform(0.2, 1.0))
        await house.kill(victim)
        await house.start(victim)


async def counted(database_url, query):
    conn = await asyncpg.connect(database_url)
    try:
        return {row[0]: row[1] for row in await conn.fetch(query)}
    finally:
        await conn.close()


STATES = "SELECT state, count(*) FROM workflows GROUP BY 1"
LEFT = (
    "SELECT 'lines', count(*) FROM lines"
    " UNION ALL SELECT 'checks', count(*) FROM line_checks"
    " UNION ALL SELECT 'rechecks', count(*) FROM rechecks"
)
#: How often the jobs of each step were let go, and how often they were completed.
MOVES = """
SELECT key || ' ' || transition || ' ' || times, count(*)
  FROM (SELECT key, transition, count(*) AS times
          FROM workflow_jobs
          JOIN journal USING (job_id)
         WHERE transition IN ('unblocked', 'completed', 'cancelled')
         GROUP BY key, transition, job_id) AS each
 GROUP BY 1
"""


@pytest.mark.timeout(180)
async def test_through_kills_every_workflow_ends_and_each_job_is_let_go_once(
    house, tenant, endpoint, database_url
):
    calm, done = asyncio.Event(), asyncio.Event()

    async def settled():
        left = await counted(database_url, LEFT)
        return left == {"lines": 0, "checks": 0, "rechecks": 0}

    async with open_api(house, tenant) as api, asyncio.TaskGroup() as tasks:
        began = time.monotonic()
        producing = tasks.create_task(produce(api, endpoint.url, calm))
        for number in range(WORKERS):
            tasks.create_task(work(api, f"worker {number}", done))
        await storm(house, random.Random(5))
        calm.set()
        made = await producing

        async def over():
            return await counted(database_url, STATES) == {"completed": made}

        await until(over, at_most=60)
        print(f"\n{made} workflows, six kills: {time.monotonic() - began:.1f} s")
        await until(settled, at_most=30)
        done.set()

    assert await counted(database_url, MOVES) == {
        "top completed 1": made,
        "sent unblocked 1": made,
        "sent completed 1": made,
        # To its line, and when its turn had come.
        "worked unblocked 2": made,
        "worked completed 1": made,
        "end unblocked 1": made,
        "end completed 1": made,
        "mourn cancelled 1": made,
    }
    told = await counted(database_url, "SELECT event, count(*) FROM notices GROUP BY 1")
    assert told["workflow.started"] == told["workflow.completed"] == made
