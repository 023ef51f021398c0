"""Where a lane begins: claims do not walk over what is gone, and find who is late."""

import asyncio
from datetime import timedelta

import asyncpg
import pytest

from libs.common.db import BY_KEY, open_pool
from libs.common.floors import Floors
from libs.common.store import claims
from tests.contract.test_plans import STOCKS, plan_on, stocked
from tests.support import stock
from tests.support.plans import blocks_of, read_whole
from tests.support.waiting import until

__all__ = ["stocked"]

SECOND = timedelta(seconds=1)


@pytest.fixture
async def line(conn):
    return await stock.open_line(conn, push=False)


@pytest.fixture
async def hot(database_url):
    """A connection as claims have it."""
    conn = await asyncpg.connect(database_url, server_settings={"jit": "off", **BY_KEY})
    try:
        yield conn
    finally:
        await conn.close()


async def since(conn, job_id):
    return await conn.fetchval("SELECT ready_at FROM ready WHERE job_id = $1", job_id)


async def let_it_be_ready(conn, job_id, ago):
    await conn.execute(
        "UPDATE ready SET ready_at = now() - $2::interval WHERE job_id = $1",
        *(job_id, ago),
    )


async def test_a_lane_begins_with_whoever_is_ready_for_longest_whatever_its_rank(
    conn, line
):
    empty = await stock.open_line(conn, push=False)
    urgent, old, new = [
        (await stock.create(conn, line, rank=rank))[0] for rank in (10, 150, 100)
    ]
    await let_it_be_ready(conn, urgent, 5 * SECOND)
    await let_it_be_ready(conn, old, 60 * SECOND)
    await let_it_be_ready(conn, new, 10 * SECOND)

    found = await claims.find_floors(conn, lanes=[line.id, empty.id], age=SECOND)

    assert found[line.id] == await since(conn, old)
    now = await conn.fetchval("SELECT now()")
    assert now - 2 * SECOND < found[empty.id] < now - SECOND / 2


async def test_who_became_ready_a_moment_ago_leaves_room_for_who_commits_late(
    conn, line
):
    [job_id] = await stock.create(conn, line)
    found = await claims.find_floors(conn, lanes=[line.id], age=SECOND)
    assert found[line.id] < await since(conn, job_id)


@pytest.mark.parametrize("push", [False, True], ids=["work", "push"])
async def test_a_claim_takes_nobody_from_before_the_floor(conn, push):
    lane = await stock.open_line(conn, push=push)
    before, after = await stock.create(conn, lane, 2)
    await let_it_be_ready(conn, before, 60 * SECOND)
    floor = await since(conn, after)

    async def claim(floors):
        if push:
            pushed, _ = await claims.claim(
                conn,
                quotas={lane.id: 9},
                lease_jobs_max=9,
                owner="dispatcher",
                lease=60 * SECOND,
                payload_bytes_max=1000,
                floors=floors,
            )
            return [job.job_id for job in pushed]
        asked = stock.asks(lane, 9)
        given = await claims.claim_work(conn, asked=[asked], floors=floors)
        return [job.job_id for job in given.work[asked.lease_id]]

    assert await claim({lane.id: floor}) == [after]
    assert await claim({}) == [before]


async def test_with_a_floor_a_claim_does_not_walk_over_the_dead(conn, hot, line):
    """Somebody reads for as long as this takes, so nothing is vacuumed away."""
    reader = conn.transaction(isolation="repeatable_read")
    await reader.start()
    await conn.fetch("SELECT FROM ready")
    for _ in range(100):
        await stock.create(hot, line, 50)

    async def cost(floors):
        async def claim():
            asked = [stock.asks(line, 10)]
            await claims.claim_work(hot, asked=asked, floors=floors)

        return await blocks_of(hot, claims.SQL["claim_work"], claim)

    fresh = await cost({})
    for _ in range(99):
        await stock.claim_work(hot, line, 50)

    without = await cost({})
    floors = await claims.find_floors(hot, lanes=[line.id], age=timedelta())
    with_one = await cost(floors)
    await reader.rollback()

    assert without > fresh + 50
    assert with_one < fresh + 10


async def test_only_lanes_that_give_much_are_looked_at_and_a_floor_is_soon_forgotten(
    database_url, conn, line
):
    quiet = await stock.open_line(conn, push=False)
    lanes = [line.id, quiet.id]
    async with open_pool(database_url, service="test", size=1) as pool:
        floors = Floors(pool)
        stopping = asyncio.Event()
        looking = asyncio.create_task(floors.look(stopping))
        floors.took([quiet.id, *[line.id] * 1000])

        found = await until(lambda: floors.of(lanes))
        assert list(found) == [line.id]
        # Whoever comes late is found by the next look, while somebody asks.
        [late] = await stock.create(conn, line)
        await let_it_be_ready(conn, late, 60 * SECOND)
        ready_at = await since(conn, late)
        await until(lambda: floors.of(lanes) == {line.id: ready_at})

        stopping.set()
        await looking
        await until(lambda: not floors.of(lanes), at_most=3 * floors.again_seconds)


async def test_whoever_is_late_is_found_soon_however_slow_looks_are(
    database_url, conn, line, monkeypatch
):
    async def slow(conn, *, lanes, age):
        await asyncio.sleep(0.5)
        return await find_floors(conn, lanes=lanes, age=age)

    find_floors = claims.find_floors
    monkeypatch.setattr(claims, "find_floors", slow)
    async with open_pool(database_url, service="test", size=1) as pool:
        floors = Floors(pool)
        stopping = asyncio.Event()
        looking = asyncio.create_task(floors.look(stopping))
        floors.took([line.id] * 1000)
        await until(lambda: floors.of([line.id]))
        # A look's share of the time would be kept by one in ten seconds.
        [late] = await stock.create(conn, line)
        await let_it_be_ready(conn, late, 60 * SECOND)
        ready_at = await since(conn, late)

        assert floors.again_seconds < 10
        await until(lambda: floors.of([line.id]) == {line.id: ready_at}, at_most=5)

        stopping.set()
        await looking


@pytest.mark.parametrize("stock_of", STOCKS)
async def test_a_look_finds_the_front_by_key(stocked, stock_of):
    async def look(conn, line):
        lanes = range(line.id, line.id + 8)
        await claims.find_floors(conn, lanes=lanes, age=SECOND)

    plan = await plan_on(stocked, stock_of, claims.SQL["find_floors"], look)

    assert read_whole(plan) == set()
    assert not [node for node in plan if node["Node Type"] == "Seq Scan"]
