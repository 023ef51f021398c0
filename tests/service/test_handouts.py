"""What was claimed for somebody who has left goes back, and costs nobody anything."""

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta

import asyncpg
import pytest

from libs.common.bus import open_bus
from libs.common.db import BY_KEY, open_pool
from libs.common.errors import Unavailable
from libs.common.store import invariants
from services.ingest.claims import Claim, Claims
from tests.support import stock
from tests.support.waiting import until


@pytest.fixture
async def pool(database_url):
    async with open_pool(database_url, service="test", size=4, planner=BY_KEY) as pool:
        yield pool


@pytest.fixture
async def claims(pool, nats_url):
    """Claims as ingest has them, without a door in front."""
    async with open_bus(nats_url, service="test") as bus:
        claims = Claims(pool, bus, batch_max=200, lanes=1)
        yield claims
        await claims.drain()


@pytest.fixture
async def line(conn):
    line = await stock.open_line(conn, push=False)
    yield line
    assert await invariants.misplaced(conn) == []
    assert await invariants.unjournaled(conn) == []


def wants(line, limit=1, worker_id="w1"):
    return Claim(
        organization_id=line.organization_id,
        queue_name=line.queue_name,
        worker_id=worker_id,
        limit=limit,
        lease=timedelta(seconds=30),
    )


@asynccontextmanager
async def held_up(database_url):
    """Let nobody claim meanwhile: each claim waits before it has taken anything."""
    conn = await asyncpg.connect(database_url)
    try:
        async with conn.transaction():
            await conn.execute("LOCK TABLE ready IN ACCESS EXCLUSIVE MODE")

            async def is_waiting():
                return await conn.fetchval(
                    "SELECT count(*) FROM pg_locks WHERE NOT granted"
                )

            yield is_waiting
    finally:
        await conn.close()


async def transitions(conn):
    rows = await conn.fetch("SELECT transition, attempt FROM journal ORDER BY seq")
    return [tuple(row) for row in rows]


async def test_who_is_cancelled_under_way_gives_back_what_comes(
    conn, database_url, claims, line
):
    [job_id] = await stock.create(conn, line)

    async with held_up(database_url) as is_waiting:
        task = asyncio.create_task(claims.claim(wants(line)))
        await until(is_waiting)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await claims.drain()

    row = await conn.fetchrow("SELECT * FROM ready")
    assert (row["job_id"], row["attempt"], row["retry_count"]) == (job_id, 0, 0)
    assert await transitions(conn) == [
        ("created", 0),
        ("started", 1),
        ("released", 1),
    ]


async def test_who_gives_up_before_its_turn_claims_nothing(
    conn, database_url, claims, line
):
    await stock.create(conn, line, 3)
    await claims.claim(wants(line))

    async with held_up(database_url) as is_waiting:
        first = asyncio.create_task(claims.claim(wants(line)))
        await until(is_waiting)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(claims.claim(wants(line, worker_id="late")), 0.05)
    assert len(await first) == 1
    await claims.drain()

    owners = await conn.fetch("SELECT DISTINCT owner FROM leased")
    assert [row["owner"] for row in owners] == ["w1"]
    assert await conn.fetchval("SELECT count(*) FROM ready") == 1
    assert ("released", 1) not in await transitions(conn)


async def test_who_has_left_when_it_comes_gives_it_back(conn, claims, line):
    await stock.create(conn, line, 2)

    assert await claims.claim(wants(line, 2), is_gone=lambda: True) == []

    assert await conn.fetchval("SELECT count(*) FROM ready") == 2


async def test_without_postgres_nobody_is_told_that_there_is_nothing(
    conn, claims, line, pool
):
    await stock.create(conn, line)
    await pool.close()

    with pytest.raises(Unavailable):
        await claims.claim(wants(line))


async def test_a_claim_for_many_is_cut_into_pieces(conn, claims, line):
    """A statement hands out a thousand jobs at most; everybody gets what they asked."""
    await stock.create(conn, line, 2100)

    given = await asyncio.gather(
        *(claims.claim(wants(line, 100, f"w{n}")) for n in range(22))
    )

    assert [len(work) for work in given] == [100] * 21 + [0]
    assert len({job.job_id for work in given for job in work}) == 2100
