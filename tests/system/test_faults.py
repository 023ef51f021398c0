"""What dies, and what becomes of the jobs: nothing is lost, and soon all goes on."""

import asyncio
import time
from collections import Counter
from functools import partial

import aiohttp
import asyncpg
import pytest

from libs.common.migrate import migrate
from tests.support.endpoint import HANG
from tests.support.house import (
    all_completed,
    assert_invariants,
    new_tenant,
    open_api,
)
from tests.support.processes import run_processes
from tests.support.waiting import until

FAST = {"strategy": "schedule", "schedule_seconds": [0.2], "jitter": 0}


def came_in(endpoint, times):
    return len(endpoint.requests) == times


async def offer(api, endpoint, *, seconds, rate=100):
    """Create jobs steadily; return the ids that were accepted.

    A refusal or a cut connection is no acceptance; the producer goes on.
    """
    accepted: list[str] = []
    refused: Counter[object] = Counter()

    async def one(n):
        try:
            status, body, _ = await api.ask(
                "POST",
                "/jobs",
                json={
                    "queue_name": f"q{n % 3}",
                    "payload": {"n": n},
                    "target": {"url": endpoint.url},
                    "retry": FAST,
                    "max_retries": 20,
                },
            )
        except (aiohttp.ClientError, TimeoutError) as error:
            refused[type(error).__name__] += 1
            return
        if status == 201:
            accepted.append(body["id"])
        else:
            refused[status] += 1

    started = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        n = 0
        while time.monotonic() - started < seconds:
            tasks.create_task(one(n))
            n += 1
            await asyncio.sleep(1 / rate)
    return accepted, refused


async def test_a_killed_pods_jobs_are_delivered_within_ten_seconds(
    processes, api, endpoint
):
    endpoint.otherwise = HANG
    job_id = await api.create({"url": endpoint.url, "timeout_seconds": 60})
    await until(lambda: endpoint.requests)

    await processes.kill("delivery")
    endpoint.otherwise = 200
    killed_at = time.monotonic()
    await processes.start("delivery")
    await api.until_status(job_id, "completed", at_most=10)

    took = time.monotonic() - killed_at
    print(f"\nrecovered from SIGKILL of delivery in {took:.1f} s")
    lost, delivered = await api.attempts(job_id)
    assert (lost["outcome"], delivered["outcome"]) == ("lost", "delivered")
    # The death of our process is not the receiver's fault.
    assert (await api.job(job_id))["retry_count"] == 0
    assert took < 10


async def test_a_job_that_kills_its_process_three_times_is_quarantined(
    database_url, nats_url, tmp_path, tenant, endpoint
):
    endpoint.otherwise = HANG
    async with (
        run_processes(database_url, nats_url, logs=tmp_path, lease_seconds=4) as house,
        open_api(house, tenant) as api,
    ):
        job_id = await api.create({"url": endpoint.url, "timeout_seconds": 60})
        for death in range(1, 4):
            await until(partial(came_in, endpoint, death), at_most=15)
            await house.kill("delivery")
            await house.start("delivery")
        job = await api.until_status(job_id, "deadletter")
        assert job["dead_reason"] == "quarantined"
        assert "3 times" in job["last_error"]
        assert len(endpoint.requests) == 3
        endpoint.otherwise = 200
        await api.ask("POST", f"/jobs/{job_id}/retry", expect=200)
        await api.until_status(job_id, "completed")
    await assert_invariants(database_url)


async def test_nats_killed_and_wiped_under_load_loses_nothing(
    processes, api, endpoint, nats_server, database_url
):
    async def fault():
        await asyncio.sleep(1.5)
        await nats_server.kill()
        nats_server.wipe()
        await asyncio.sleep(2)
        await nats_server.start()

    (accepted, refused), _ = await asyncio.gather(
        offer(api, endpoint, seconds=6), fault()
    )
    await all_completed(database_url, accepted, at_most=30)

    # Producers never noticed.
    assert refused == {}
    times = Counter(request.id for request in endpoint.requests)
    assert set(accepted) <= times.keys()
    # Nobody died inside an attempt: none was repeated.
    assert [job for job, count in times.items() if count > 1] == []
    await assert_invariants(database_url)
    await everything_announced(database_url)


@pytest.mark.parametrize("victim", ["dispatcher", "scheduler", "ingest"])
async def test_a_killed_service_loses_nothing(
    processes, api, endpoint, database_url, victim
):
    async def fault():
        await asyncio.sleep(1)
        await processes.kill(victim)
        await asyncio.sleep(0.5)
        await processes.start(victim)

    endpoint.answers = [500] * 20
    (accepted, refused), _ = await asyncio.gather(
        offer(api, endpoint, seconds=8), fault()
    )
    await all_completed(database_url, accepted, at_most=30)

    assert len(accepted) > 100
    if victim != "ingest":
        assert refused == {}
    await assert_invariants(database_url)
    await everything_announced(database_url)


async def test_postgres_restarted_under_load_loses_nothing(
    own_postgres, nats_url, tmp_path, endpoint
):

    database_url = own_postgres.url
    await migrate(database_url)
    tenant = await new_tenant(database_url)
    async with (
        run_processes(database_url, nats_url, logs=tmp_path) as house,
        open_api(house, tenant) as api,
    ):

        async def fault():
            await asyncio.sleep(1.5)
            await own_postgres.stop(immediate=True)
            await asyncio.sleep(1)
            await own_postgres.start()

        (accepted, refused), _ = await asyncio.gather(
            offer(api, endpoint, seconds=6), fault()
        )
        await all_completed(database_url, accepted, at_most=40)
        assert set(refused) <= {503}, refused
        await assert_invariants(database_url)


async def test_a_terminated_pod_finishes_what_it_has(processes, api, endpoint):
    async def slowly(_):
        await asyncio.sleep(1.0)
        return 200

    endpoint.otherwise = slowly
    jobs = [await api.create(endpoint.url) for _ in range(20)]
    await until(lambda: len(endpoint.requests) == 20)

    assert await processes.stop("delivery") == 0

    for job_id in jobs:
        await api.until_status(job_id, "completed", at_most=3)
    assert len(endpoint.requests) == 20
    await processes.start("delivery")


async def everything_announced(database_url):
    """Wait until the event stream has what the journal has."""
    conn = await asyncpg.connect(database_url)
    try:

        async def check():
            behind = await conn.fetchval(
                "SELECT count(*) FROM journal, announced "
                "WHERE (journal.xid, journal.seq) > (announced.xid, announced.seq)"
            )
            assert behind == 0, f"{behind} not announced"
            return True

        await until(check, at_most=15)
    finally:
        await conn.close()
