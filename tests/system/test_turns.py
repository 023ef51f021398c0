"""Jobs that take turns while processes die: one by one, and no turn is lost."""

import asyncio
import random
import time
from contextlib import AsyncExitStack

import aiohttp
import asyncpg
import pytest

from tests.support.house import assert_invariants, open_api
from tests.support.processes import run_processes
from tests.support.takers import Takers
from tests.support.waiting import until

KEYS = 10
FAST = {"strategy": "schedule", "schedule_seconds": [0.1], "jitter": 0}


@pytest.fixture
async def run(database_url, nats_url, tmp_path):
    """Run services as processes; afterwards every job is where it should be."""
    async with AsyncExitStack() as stack:

        async def started(*services):
            house = run_processes(
                database_url, nats_url, logs=tmp_path, services=services
            )
            return await stack.enter_async_context(house)

        yield started
    await assert_invariants(database_url)


async def nobody_stands_in_line(database_url):
    conn = await asyncpg.connect(database_url)
    try:
        rows = await conn.fetch(
            "SELECT (SELECT count(*) FROM lines), (SELECT count(*) FROM line_checks)"
        )
    finally:
        await conn.close()
    return [tuple(row) for row in rows] == [(0, 0)]


async def states(database_url):
    """How many jobs stand where."""
    conn = await asyncpg.connect(database_url)
    try:
        rows = await conn.fetch("SELECT place, count(*) FROM places GROUP BY 1")
    finally:
        await conn.close()
    return {row["place"]: row["count"] for row in rows}


async def create_all(api, count, **fields):
    """Create *count* jobs of each key, one after the other; return their ids."""

    async def of(key):
        ids: list[str] = []
        while len(ids) < count:
            job = {"payload": {"key": key}, fields["named"]: f"key {key}"}
            body = {
                "queue_name": f"queue-{key % 3}",
                "target": fields["target"],
                "retry": FAST,
                "default_max_retries": 50,
                "jobs": [job] * min(100, count - len(ids)),
            }
            made = await api.ask("POST", "/jobs/bulk", json=body, expect=200)
            ids += [each["job_id"] for each in made["succeeded"]]
        return ids

    return await asyncio.gather(*map(of, range(KEYS)))


async def storm(house, victims, luck):
    """Kill one after the other, and start it again."""
    for victim in victims:
        await asyncio.sleep(0.5 + luck.random())
        await house.kill(victim)
        await house.start(victim)


@pytest.mark.timeout(360)
@pytest.mark.parametrize(
    ("named", "count"), [("concurrency_key", 200), ("ordering_key", 60)]
)
async def test_through_kills_the_jobs_of_a_key_come_one_by_one_and_in_order(
    run, tenant, endpoint, database_url, named, count
):
    """Those of a queue, or those to an endpoint, whose limits come on top."""
    carrying = ("delivery", "dispatcher", "delivery#2", "dispatcher#2")
    house = await run("ingest", "scheduler")
    for name in carrying:
        await house.start(name)
    takers = Takers(fails=0.03)
    endpoint.otherwise = takers

    async def done():
        found = await states(database_url)
        assert found == {"finished": KEYS * count}, found
        return True

    async with open_api(house, tenant) as api:
        target = {"url": endpoint.url}
        if named == "ordering_key":
            made = await api.ask("POST", "/endpoints", json=target, expect=201)
            target = {"endpoint_id": made["id"]}
        began = time.monotonic()
        created = await create_all(api, count, named=named, target=target)
        await storm(house, carrying, random.Random(11))
        await until(done, at_most=240)
        took = time.monotonic() - began

    print(
        f"\n{KEYS * count} jobs of {KEYS} keys, {len(endpoint.requests)} requests,"
        f" four kills: {took:.1f} s"
    )
    assert takers.beside == []
    assert [takers.order(key) for key in range(KEYS)] == created
    assert await nobody_stands_in_line(database_url)


class Labour:
    """Workers that complete some jobs, drop others, and are never heard of again."""

    def __init__(self, api, luck):
        self.api = api
        self.luck = luck
        self.over = asyncio.Event()
        #: The most jobs of a key that were in work at once.
        self.most = 0

    async def ask(self, path, **body):
        """Return the answer, or None when there is none or it is a no."""
        try:
            status, answer, _ = await self.api.ask("POST", path, json=body)
        except (OSError, aiohttp.ClientError):
            await asyncio.sleep(0.1)
            return None
        return answer if status == 200 else None

    async def work(self, name):
        lives = 0
        while not self.over.is_set():
            lives += 1
            worker = {"worker_id": f"{name}-{lives}"}
            answer = await self.ask(
                "/jobs/claim",
                queue_name="turns",
                limit=3,
                lease_duration_secs=5,
                **worker,
            )
            for job in answer["jobs"] if answer else ():
                if self.luck.random() < 0.6:
                    await self.ask(f"/jobs/{job['id']}/complete", **worker)

    async def watch(self, database_url):
        conn = await asyncpg.connect(database_url)
        try:
            while not self.over.is_set():
                self.most = max(self.most, await conn.fetchval(MOST))
                await asyncio.sleep(0.01)
        finally:
            await conn.close()


MOST = """
SELECT coalesce(max(jobs), 0)
  FROM (SELECT count(*) AS jobs FROM leased JOIN jobs ON id = job_id
         GROUP BY line_key) AS keys
"""


@pytest.mark.timeout(240)
async def test_after_a_storm_of_kills_no_turn_is_lost(run, tenant, database_url):
    house = await run("ingest", "scheduler")
    luck = random.Random(13)
    wide = {"settings": {"concurrency_per_key": 3}}
    jobs = [
        {"payload": {"n": n}, "concurrency_key": luck.choice("abc")} for n in range(60)
    ]
    body = {"queue_name": "turns", "default_max_retries": 100, "jobs": jobs}

    async def done():
        found = await states(database_url)
        assert found == {"finished": len(jobs)}, found
        return True

    async with open_api(house, tenant) as api, asyncio.TaskGroup() as tasks:
        await api.ask("PUT", "/queues/turns/config", json=wide, expect=200)
        await api.ask("POST", "/jobs/bulk", json=body, expect=200)
        labour = Labour(api, luck)
        for name in ("ann", "bob", "cid"):
            tasks.create_task(labour.work(name))
        tasks.create_task(labour.watch(database_url))
        await storm(house, ["scheduler", "ingest"] * 3, luck)
        await until(done, at_most=120)
        labour.over.set()

    assert labour.most == 3
    assert await nobody_stands_in_line(database_url)
