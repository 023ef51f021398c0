"""A storm of retries comes due, and what is new is sent all the same."""

import asyncio
import math
from contextlib import asynccontextmanager

import asyncpg
import pytest

from libs.common.store.jobs import Push
from tests.support import stock
from tests.support.endpoint import Answer, run_endpoint
from tests.support.house import open_api, run_house
from tests.support.waiting import until

RETRIES = 20_000
PROBES = 40

_WAIT = """
WITH taken AS (
    DELETE FROM ready WHERE lane_id = $1 RETURNING *
)
INSERT INTO scheduled (run_at, job_id, lane_id, rank, attempt, retry_count)
SELECT now() + interval '1 hour', job_id, $2, rank, 1, 1 FROM taken
"""


@asynccontextmanager
async def database(url):
    conn = await asyncpg.connect(url)
    try:
        yield conn
    finally:
        await conn.close()


async def brew(conn, line, count, **fields):
    """Create so many jobs of *line* that failed once, to be tried again in an hour."""
    for _ in range(0, count, 1000):
        await stock.create(conn, line, min(count, 1000), **fields)
    await conn.execute(_WAIT, line.id, line.retry_id)


async def latencies(api, receiver):
    """Send new jobs to *receiver*, one after the other; return seconds, sorted."""
    loop = asyncio.get_running_loop()
    found = []
    for _ in range(PROBES):
        receiver.requests.clear()
        job_id = await api.create(receiver.url)
        accepted = loop.time()
        [arrived] = await receiver.received(1, at_most=30)
        assert arrived.id == job_id
        found.append(max(arrived.at - accepted, 0.0))
    return sorted(found)


def told(what, seconds):
    middle, last = (
        seconds[len(seconds) // 2],
        seconds[math.ceil(len(seconds) * 0.99) - 1],
    )
    print(f"{what:34} p50 {middle * 1000:7.1f} ms  p99 {last * 1000:7.1f} ms")


@pytest.mark.usefixtures("carrying")
async def test_a_storm_of_retries_does_not_starve_what_is_new(
    database_url, nats_url, tenant, capsys
):
    async with (
        database(database_url) as conn,
        run_endpoint() as failing,
        run_endpoint() as healthy,
        run_house(database_url, nats_url) as house,
        open_api(house, tenant) as api,
    ):
        failing.otherwise = Answer(500, delay_seconds=1.0)
        # Half of them in one lane, half for endpoints: neither may take everything.
        line = await stock.open_line(conn, organization_id=tenant.id)
        push = Push(url=failing.url, method="POST", headers=None, timeout_seconds=5)
        await brew(conn, line, RETRIES // 2, push=push)
        for _ in range(10):
            line = await stock.open_endpoint(
                conn, organization_id=tenant.id, url=failing.url
            )
            await brew(conn, line, RETRIES // 20)
        before = await latencies(api, healthy)

        await conn.execute("UPDATE scheduled SET run_at = now()")
        await until(lambda: failing.under_way >= 50)
        during = await latencies(api, healthy)

        waiting = await conn.fetchval(
            "SELECT count(*) FROM ready JOIN lanes ON lanes.id = lane_id WHERE retries"
        )
        with capsys.disabled():
            print(
                f"\n{RETRIES} retries due at once, {waiting} of them wait in the end:"
            )
            told("new jobs before", before)
            told("new jobs meanwhile", during)
        assert waiting > 0
