"""Due jobs are found where the living begin, not among those that are gone."""

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from libs.common.bus import open_bus
from libs.common.db import BY_KEY, open_pool
from libs.common.ids import new_id
from libs.common.store import timers
from services.scheduler import due
from tests.support import stock
from tests.support.plans import blocks_of
from tests.support.waiting import until

SECOND = timedelta(seconds=1)


@pytest.fixture
async def line(conn):
    return await stock.open_line(conn)


@pytest.fixture
async def hot(database_url):
    """A connection as the scheduler has it."""
    conn = await asyncpg.connect(database_url, server_settings={"jit": "off", **BY_KEY})
    try:
        yield conn
    finally:
        await conn.close()


async def schedule(conn, line, count, *, ago):
    """Schedule jobs for that long ago; return their ids."""
    later = datetime.now(UTC) + timedelta(hours=1)
    ids = await stock.create(conn, line, count, run_at=later)
    await conn.execute(
        "UPDATE scheduled SET run_at = now() - $2::interval WHERE job_id = ANY($1)",
        *(ids, ago),
    )
    return ids


async def test_the_front_is_the_longest_due_or_a_moment_ago(conn, line):
    nobody = await timers.next_due(conn, age=SECOND)
    await schedule(conn, line, 1, ago=-timedelta(hours=1))
    later = await timers.next_due(conn, age=SECOND)
    await schedule(conn, line, 1, ago=5 * SECOND)
    due_long = await timers.next_due(conn, age=SECOND)
    now = await conn.fetchval("SELECT now()")

    assert nobody.seconds is None
    assert later.seconds == pytest.approx(3600, abs=60)
    for found in (nobody, later):
        assert now - timedelta(minutes=1) < found.front < now - SECOND
    assert due_long.front == await conn.fetchval("SELECT min(run_at) FROM scheduled")


async def test_nobody_is_promoted_from_before_the_front(conn, line):
    await schedule(conn, line, 1, ago=60 * SECOND)
    await schedule(conn, line, 2, ago=5 * SECOND)
    since = await conn.fetchval("SELECT now() - interval '30 seconds'")

    [promoted] = await timers.promote_due(conn, limit=10, since=since)
    assert promoted.jobs == 2
    [promoted] = await timers.promote_due(conn, limit=10)
    assert promoted.jobs == 1


async def test_a_turn_does_not_walk_over_the_dead(conn, hot, line):
    """Somebody reads for as long as this takes, so nothing is vacuumed away."""
    reader = conn.transaction(isolation="repeatable_read")
    await reader.start()
    await conn.fetch("SELECT FROM scheduled")

    async def cost(since):
        async def promote():
            await timers.promote_due(hot, limit=10, since=since)

        async def look():
            await timers.next_due(hot, since=since)

        return await blocks_of(
            hot, timers.SQL["promote_due"], promote
        ) + await blocks_of(hot, timers.SQL["next_due"], look)

    fresh = await cost(timers.EVER)
    for _ in range(20):
        await hot.execute(
            "INSERT INTO scheduled (run_at, job_id, lane_id, rank)"
            " SELECT now() - interval '5 s', id, $1, 100 FROM unnest($2::uuid[]) AS id",
            *(line.id, [new_id() for _ in range(250)]),
        )
        await timers.promote_due(hot, limit=250)
    front = (await timers.next_due(hot, age=timedelta())).front

    without, with_one = await cost(timers.EVER), await cost(front)
    await reader.rollback()

    assert without > fresh + 100
    assert with_one < fresh + 10


async def test_who_commits_late_is_found_all_the_same(
    database_url, nats_url, conn, line, monkeypatch
):
    monkeypatch.setattr(due, "_WHOLE_SECONDS", 0.5)
    stopping = asyncio.Event()
    async with (
        open_pool(database_url, service="test", size=2, planner=BY_KEY) as pool,
        open_bus(nats_url, service="test") as bus,
    ):
        promoting = asyncio.create_task(
            due.Due(pool, bus, poll_seconds=0.05).run(stopping)
        )
        # It has taken turns, and begins them a moment ago.
        await schedule(conn, line, 1, ago=SECOND)
        await until(lambda: conn.fetchval("SELECT count(*) = 1 FROM ready"))
        async with conn.transaction():
            await schedule(conn, line, 1, ago=600 * SECOND)

        await until(lambda: conn.fetchval("SELECT count(*) = 2 FROM ready"))
        stopping.set()
        await promoting
