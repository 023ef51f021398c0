"""A thousand events through one webhook, each once, whoever is killed meanwhile."""

import asyncio
import json
import random
import time
from collections import Counter

import pytest

from tests.support.contract_webhooks import verified
from tests.support.house import assert_invariants, new_tenant, open_api
from tests.support.processes import run_processes
from tests.support.waiting import until

SECRET = "kept between us"
JOBS = 340
WORKER = "worker-1"


async def produce(api):
    for _ in range(JOBS // 20):
        bulk = {"queue_name": "mail", "jobs": [{"payload": 1}] * 20}
        made = await api.ask("POST", "/jobs/bulk", json=bulk, expect=200)
        assert made["success_count"] == 20
        await asyncio.sleep(0.05)


async def work(api, enough):
    """Claim and complete until every job was."""
    done = 0
    while done < JOBS:
        asked = {"queue_name": "mail", "worker_id": WORKER, "limit": 20}
        claimed = await api.ask("POST", "/jobs/claim", json=asked, expect=200)
        ended = [
            {"job_id": job["id"], "lease_id": job["lease_id"], "result": {"n": 1}}
            for job in claimed["jobs"]
        ]
        if ended:
            body = {"worker_id": WORKER, "jobs": ended}
            await api.ask("POST", "/jobs/complete/bulk", json=body, expect=200)
            done += len(ended)
        await asyncio.sleep(0.02)
    enough.set()


async def kill_again_and_again(house, luck, enough):
    """Kill the scheduler at any moment of what it does, until *enough* is set."""
    kills = 0
    while not enough.is_set() or kills < 3:
        await asyncio.sleep(luck.uniform(0.05, 0.6))
        await house.kill("scheduler")
        await house.start("scheduler", announce_batch_max=50)
        kills += 1
    return kills


@pytest.mark.timeout(240)
@pytest.mark.parametrize("killed", [True, False], ids=["killed", "in peace"])
async def test_a_thousand_events_are_told_once_each(
    database_url, nats_url, conn, endpoint, tmp_path, killed
):
    tenant = await new_tenant(database_url)
    enough = asyncio.Event()
    async with (
        run_processes(database_url, nats_url, logs=tmp_path) as house,
        open_api(house, tenant) as api,
    ):
        hook = await api.ask(
            "POST",
            "/outgoing-webhooks",
            json={
                "name": "all",
                "url": endpoint.url,
                "events": ["job.created", "job.started", "job.completed"],
                "secret": SECRET,
            },
            expect=201,
        )
        begun = time.monotonic()
        killing = (
            asyncio.create_task(kill_again_and_again(house, random.Random(7), enough))
            if killed
            else None
        )
        await asyncio.gather(produce(api), work(api, enough))
        kills = await killing if killing else 0
        await endpoint.received(3 * JOBS, at_most=90)
        seconds = time.monotonic() - begun

        async def settled():
            open_ = await conn.fetchval(
                "SELECT (SELECT count(*) FROM ready) + (SELECT count(*) FROM leased)"
                " + (SELECT count(*) FROM scheduled)"
            )
            return open_ == 0

        await until(settled, at_most=30)

    rows = await conn.fetch(
        "SELECT id, payload FROM jobs WHERE endpoint_id = $1", hook["id"]
    )
    told = Counter(
        (body["event"], body["data"]["job_id"])
        for body in (json.loads(row["payload"]) for row in rows)
    )
    assert len(told) == 3 * JOBS
    assert set(told.values()) == {1}
    arrived = [verified(request, SECRET) for request in endpoint.requests]
    assert {one.id for one in arrived} == {str(row["id"]) for row in rows}
    # A delivery is repeated only when a process died under it: none of those did.
    assert len(arrived) == 3 * JOBS
    print(
        f"{3 * JOBS} events told in {seconds:.1f} s, the scheduler killed {kills} times"
    )
    await assert_invariants(database_url)
