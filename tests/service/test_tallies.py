"""What is counted agrees with what is there, under load and whoever announces."""

import asyncio
import random

import asyncpg
import pytest

from libs.cli.embedded.ports import free_port
from tests.support.house import open_api, run_house
from tests.support.waiting import until

STATES = """
SELECT (SELECT count(*) FROM ready) + (SELECT count(*) FROM scheduled) AS pending,
       (SELECT count(*) FROM leased) AS processing,
       (SELECT count(*) FROM dead) AS deadletter,
       (SELECT count(*) FROM finished WHERE ending = 'completed') AS completed,
       (SELECT count(*) FROM finished WHERE ending = 'cancelled') AS cancelled,
       (SELECT count(*) FROM jobs) AS total
"""
COUNTED = """
SELECT transition::text, sum(jobs)::int AS jobs
  FROM tallies
 WHERE bucket = '-infinity'
 GROUP BY transition
"""
TOLD = "SELECT transition::text, count(*) AS jobs FROM journal GROUP BY 1"


@pytest.fixture
async def house(database_url, nats_url):
    """Two schedulers, of which one announces."""
    async with run_house(
        database_url,
        nats_url,
        services=("ingest", "scheduler", "scheduler#2"),
        announce_batch_max=50,
    ) as house:
        yield house


async def produce(api, queue, luck):
    for _ in range(6):
        bulk = {"queue_name": queue, "jobs": [{"payload": 1}] * luck.randint(5, 40)}
        await api.ask("POST", "/jobs/bulk", json=bulk, expect=200)
        await api.create(queue_name=queue, scheduled_at="2040-01-01T00:00:00Z")


async def consume(api, queue, worker, luck, enough):
    """Claim and settle in one way or another, until *enough* is set."""
    while not enough.is_set():
        asked = {"queue_name": queue, "worker_id": worker, "limit": 10}
        claimed = await api.ask("POST", "/jobs/claim", json=asked, expect=200)
        for job in claimed["jobs"]:
            body = {"worker_id": worker, "lease_id": job["lease_id"]}
            how = luck.choice(["complete", "complete", "complete", "fail", "leave"])
            if how == "fail":
                body |= {"error": "no", "retry": luck.random() < 0.5}
            if how != "leave":
                path = f"/jobs/{job['id']}/{how}"
                await api.ask("POST", path, json=body, expect=200)
        if not claimed["jobs"]:
            return


async def change_the_announcer(house, enough):
    """Whoever announces goes, again and again, and another one takes over."""
    names = ["scheduler", "scheduler#2"]
    while not enough.is_set():
        name = names.pop(0)
        await house.stop(name)
        await house.start(name, announce_batch_max=50)
        names.append(name)


async def test_the_figures_agree_with_the_tables_under_load(house, api, database_url):
    luck, enough = random.Random(1), asyncio.Event()
    await asyncio.gather(*(produce(api, queue, luck) for queue in "abc"))
    changing = asyncio.create_task(change_the_announcer(house, enough))
    try:
        await asyncio.gather(
            *(
                consume(api, queue, f"w-{queue}-{n}", luck, enough)
                for queue in "abc"
                for n in "12"
            )
        )
    finally:
        enough.set()
        await changing
    conn = await asyncpg.connect(database_url)

    async def agree():
        # Failed jobs become due all the while: look until nothing moves in between.
        [before] = map(dict, await conn.fetch(STATES))
        stats = await api.ask("GET", "/jobs/stats", expect=200)
        assert [before] == list(map(dict, await conn.fetch(STATES)))
        told = {**stats, "pending": stats["pending"] + stats["scheduled"]}
        assert {name: told[name] for name in before} == before
        return True

    async def all_counted():
        counted = {row["transition"]: row["jobs"] for row in await conn.fetch(COUNTED)}
        assert counted == {
            row["transition"]: row["jobs"] for row in await conn.fetch(TOLD)
        }
        return counted

    await until(agree)
    counted = await until(all_counted, at_most=20)
    assert counted["completed"] > 0
    assert counted["deadlettered"] > 0
    await until(agree)
    for queue in "abc":
        stats = await api.ask("GET", f"/queues/{queue}/stats", expect=200)
        assert stats["completed_jobs_24h"] == await conn.fetchval(
            "SELECT count(*) FROM finished JOIN jobs ON jobs.id = finished.job_id"
            " WHERE queue_name = $1 AND ending = 'completed'",
            queue,
        )
    await conn.close()


async def test_without_nats_nothing_is_announced_and_the_figures_are_exact(
    database_url, tenant
):
    """Whoever reads adds what nobody could announce."""
    nowhere = f"nats://127.0.0.1:{free_port()}"
    async with (
        run_house(database_url, nowhere, services=("ingest", "scheduler")) as house,
        open_api(house, tenant) as api,
    ):
        for _ in range(3):
            await api.create()
        asked = {"queue_name": "mail", "worker_id": "w", "limit": 2}
        claimed = await api.ask("POST", "/jobs/claim", json=asked, expect=200)
        for job in claimed["jobs"]:
            body = {"worker_id": "w", "lease_id": job["lease_id"]}
            await api.ask("POST", f"/jobs/{job['id']}/complete", json=body, expect=200)

        stats = await api.ask("GET", "/jobs/stats", expect=200)
        queue = await api.ask("GET", "/queues/mail/stats", expect=200)

    assert (stats["pending"], stats["completed"], stats["total"]) == (1, 2, 3)
    assert queue["completed_jobs_24h"] == 2
    assert queue["avg_processing_time_ms"] > 0
