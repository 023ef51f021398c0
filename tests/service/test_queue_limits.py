"""Limits of queues, measured: several replicas, workers and webhooks together."""

import asyncio

import asyncpg
import pytest

from tests.support.claiming import claim, second_ingest, timed
from tests.support.endpoint import Answer
from tests.support.waiting import until


async def configure(api, **config):
    return await api.ask("PUT", "/queues/mail/config", json=config, expect=200)


async def fill(api, jobs, **fields):
    for start in range(0, jobs, 100):
        await api.ask(
            "POST",
            "/jobs/bulk",
            json={
                "queue_name": "mail",
                "jobs": [{"payload": n} for n in range(start, min(start + 100, jobs))],
                **fields,
            },
            expect=200,
        )


@pytest.fixture
async def counted(database_url):
    """Ask the database for a number; several may ask at once."""
    async with asyncpg.create_pool(database_url, min_size=0, max_size=2) as pool:
        yield pool.fetchval


# --- starts a second ------------------------------------------------------------------


async def test_two_replicas_start_no_more_jobs_a_second_than_the_queue_allows(
    api, house, tenant, counted
):
    await fill(api, 400)
    await configure(api, rate_limit=40)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    claimed: list[str] = []

    async def work(via, name):
        while loop.time() < begun + 3:
            jobs = await claim(via, worker_id=name, limit=5, wait_seconds=1)
            claimed.extend(job["id"] for job in jobs)

    async with second_ingest(house, tenant) as other:
        begun = loop.time()
        await asyncio.gather(*(work((api, other)[n % 2], f"w{n}") for n in range(8)))
        seconds = loop.time() - begun

    # A second's worth at once, and then the rate; and it is used, too.
    assert len(set(claimed)) == len(claimed)
    assert 40 + 40 * 3 * 0.8 <= len(claimed) <= 40 + 40 * seconds + 1
    in_any_second = await counted(
        """
        SELECT max(others) FROM (
            SELECT count(*) OVER (ORDER BY at RANGE BETWEEN CURRENT ROW
                                  AND interval '990 ms' FOLLOWING) AS others
              FROM journal WHERE transition = 'started') AS windows
        """
    )
    assert in_any_second <= 80


async def test_who_waits_is_woken_when_the_next_job_may_start(api):
    await fill(api, 4)
    await configure(api, rate_limit=2)
    assert len(await claim(api, limit=4)) == 2

    jobs, seconds = await timed(claim(api, wait_seconds=20))

    assert len(jobs) == 1
    assert seconds < 2


async def test_webhooks_are_sent_no_faster_than_the_queue_allows(api, endpoint):
    await configure(api, rate_limit=20)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    await fill(api, 60, target={"url": endpoint.url})

    await until(lambda: len(endpoint.requests) >= 60, at_most=20)
    seconds = loop.time() - begun

    # 20 at once, and 40 at 20 a second.
    assert 1.9 <= seconds < 8


# --- jobs in work at once -------------------------------------------------------------


async def test_workers_hold_no_more_jobs_at_once_than_the_queue_allows(
    api, house, tenant
):
    await fill(api, 100)
    await configure(api, settings={"concurrency": 7})
    async with second_ingest(house, tenant) as other:
        given = await asyncio.gather(
            *(claim((api, other)[n % 2], worker_id=f"w{n}", limit=2) for n in range(30))
        )
        held = [job for jobs in given for job in jobs]
        assert len(held) == 7

        # Who waits has the place that is left, at once.
        task = await waiting_for_a_place(other)
        ended = held[0]
        await api.ask(
            "POST",
            f"/jobs/{ended['id']}/complete",
            json={"worker_id": worker_of(given, ended)},
            expect=200,
        )
        jobs, seconds = await timed(task)

    assert len(jobs) == 1
    assert seconds < 2


async def waiting_for_a_place(api):
    task = asyncio.create_task(claim(api, worker_id="patient", wait_seconds=20))
    # It is in line at the latest when a claim behind it was answered.
    assert await claim(api, worker_id="hasty") == []
    assert not task.done()
    return task


def worker_of(given, job):
    return next(f"w{n}" for n, jobs in enumerate(given) if job in jobs)


async def test_workers_and_two_dispatchers_share_one_limit(
    api, house, endpoint, counted
):
    await house.start("dispatcher#2")
    await configure(api, settings={"concurrency": 5})
    endpoint.otherwise = Answer(200, delay_seconds=0.05)
    seen = []

    async def work():
        while await counted("SELECT count(*) FROM ready") > 0:
            for job in await claim(api, limit=2, wait_seconds=0.2):
                await api.ask(
                    "POST",
                    f"/jobs/{job['id']}/complete",
                    json={"worker_id": "w1"},
                    expect=200,
                )

    async def watch():
        while True:
            seen.append(await counted("SELECT count(*) FROM leased"))

    await fill(api, 20)
    await fill(api, 60, target={"url": endpoint.url})
    watching = asyncio.create_task(watch())
    await work()
    await until(lambda: len(endpoint.requests) == 60)
    watching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watching

    assert max(seen) == 5


async def test_a_lane_at_its_limit_is_left_alone(api, house, endpoint, counted):
    """The dispatcher does not ask again and again for what it may not have."""
    await configure(api, settings={"concurrency": 1})
    endpoint.otherwise = Answer(200, delay_seconds=30)
    await fill(api, 20, target={"url": endpoint.url})
    await until(lambda: len(endpoint.requests) == 1)

    begun = await counted("SELECT sum(xact_commit) FROM pg_stat_database")
    loop = asyncio.get_running_loop()
    later = loop.time() + 3
    await until(lambda: loop.time() > later)
    after = await counted("SELECT sum(xact_commit) FROM pg_stat_database")

    # The house looks around by itself, some tens of times a second.
    assert after - begun < 600
    assert len(endpoint.requests) == 1


async def test_a_limit_that_is_lifted_lets_everybody_go_on(api, endpoint):
    await configure(api, settings={"concurrency": 1})
    endpoint.otherwise = Answer(200, delay_seconds=1)
    await fill(api, 8, target={"url": endpoint.url})
    await until(lambda: endpoint.requests)

    await configure(api, settings={"concurrency": None})

    await until(lambda: len(endpoint.requests) == 8, at_most=5)
