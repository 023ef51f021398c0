"""Workers are given so many bytes at once, and the rest stays where it is."""

import asyncio
import random
from datetime import timedelta

import pytest

from libs.common.bus import open_bus
from libs.common.db import BY_KEY, open_pool
from libs.common.store import claims, invariants
from services.ingest.claims import Claim, Claims
from tests.support import stock

KB = 1024


@pytest.fixture
async def line(conn):
    line = await stock.open_line(conn, push=False)
    yield line
    assert await invariants.misplaced(conn) == []
    assert await invariants.unjournaled(conn) == []


async def create(conn, line, count, size, *, packed=False):
    """Create jobs of *size* bytes each, that Postgres can store in much less or not."""
    text = "x" * (size - 2) if packed else random.Random(size).randbytes(size).hex()
    return await stock.create(conn, line, count, payload=f'"{text[: size - 2]}"')


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "as it is"])
async def test_so_many_bytes_are_given_at_once_in_the_order_of_the_lane(
    conn, line, packed
):
    ids = await create(conn, line, 20, 10 * KB, packed=packed)

    async def claim():
        asked = [stock.asks(line, 4), stock.asks(line, 4)]
        given = await claims.claim_work(conn, asked=asked, payload_bytes_max=55 * KB)
        assert given.beyond == {line.id}
        return [[job.job_id for job in given.work[one.lease_id]] for one in asked]

    assert await claim() == [ids[:4], ids[4:5]]
    assert await claim() == [ids[5:9], ids[9:10]]


async def test_what_is_larger_than_may_be_goes_alone(conn, line):
    large = await create(conn, line, 1, 100 * KB)
    small = await create(conn, line, 3, KB)
    for expected, beyond in ((large, {line.id}), (small, set())):
        asked = stock.asks(line, 10)
        given = await claims.claim_work(conn, asked=[asked], payload_bytes_max=50 * KB)

        assert [job.job_id for job in given.work[asked.lease_id]] == expected
        assert given.beyond == beyond


async def test_everybody_who_asks_gets_something_in_the_end(
    conn, line, database_url, nats_url
):
    """Together they ask for more than one statement gives."""
    other = await stock.open_line(
        conn, organization_id=line.organization_id, queue_name="other", push=False
    )
    size = claims.WORK_BYTES_MAX // 3
    ids = [*await create(conn, line, 8, size), *await create(conn, other, 8, size)]
    async with (
        open_pool(database_url, service="test", size=4, planner=BY_KEY) as pool,
        open_bus(nats_url, service="test") as bus,
    ):
        door = Claims(pool, bus, batch_max=200, lanes=1)
        asked = [
            Claim(
                organization_id=line.organization_id,
                queue_name=queue,
                worker_id=f"worker {number}",
                limit=1,
                lease=timedelta(seconds=60),
            )
            for queue in (line.queue_name, other.queue_name)
            for number in range(8)
        ]
        given = await asyncio.gather(*map(door.claim, asked))
        await door.drain()

    assert [len(work) for work in given] == [1] * 16
    assert {work.job_id for [work] in given} == set(ids)
