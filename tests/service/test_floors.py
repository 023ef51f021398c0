"""Who is committed long after it became ready is found, whatever was claimed since."""

import time
from uuid import UUID

from msgspec.structs import replace

from libs.common.store import jobs
from libs.common.store.jobs import Push
from tests.support import stock
from tests.support.stock import Line

#: More than it takes for a floor.
MANY = 1000


async def create_many(api, url=None):
    target = {} if url is None else {"target": {"url": url}}
    for _ in range(MANY // 100):
        each = [{"payload": {"n": n}} for n in range(100)]
        body = {"queue_name": "mail", "jobs": each, **target}
        await api.ask("POST", "/jobs/bulk", json=body, expect=200)


async def lane_of(conn, *, push):
    row = await conn.fetchrow(
        "SELECT id, organization_id FROM lanes WHERE queue_name = 'mail'"
        " AND push = $1 AND NOT retries",
        push,
    )
    return Line(row["id"], row["organization_id"], "mail", push)


async def test_a_worker_is_given_a_job_that_was_committed_late(api, conn):
    await create_many(api)
    lane = await lane_of(conn, push=False)
    async with conn.transaction():
        # From now on what is created here is ready.
        await conn.fetch("SELECT now()")
        given, until_there_is_a_floor = 0, time.monotonic() + 1.5
        while given < MANY or time.monotonic() < until_there_is_a_floor:
            given += len(await ask(api, limit=100))
        [late] = await stock.create(conn, lane)

    [job] = await ask(api, wait_seconds=20)

    assert UUID(job["id"]) == late


async def ask(api, **fields):
    body = {"queue_name": "mail", "worker_id": "w1", **fields}
    return (await api.ask("POST", "/jobs/claim", json=body, expect=200))["jobs"]


async def test_a_webhook_that_was_committed_late_is_delivered(api, conn, endpoint):
    async with conn.transaction():
        await conn.fetch("SELECT now()")
        await create_many(api, endpoint.url)
        await endpoint.received(MANY, at_most=60)
        lane = await lane_of(conn, push=True)
        push = Push(url=endpoint.url, method="POST", headers=None, timeout_seconds=5.0)
        await jobs.create(conn, jobs=[replace(stock.new_job(lane), push=push)])

    await endpoint.received(MANY + 1, at_most=20)
