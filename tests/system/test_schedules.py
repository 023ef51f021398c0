"""Schedules under kills: each tick becomes one job, whoever dies; and how late."""

import asyncio
import random
import time
from collections import Counter
from datetime import datetime

import asyncpg
import pytest

from libs.common.ids import new_id
from libs.common.store import schedules
from libs.common.store.schedules import Definition
from libs.common.ticks import rhythm_of
from libs.common.zones import EDITION
from tests.support.house import assert_invariants
from tests.support.processes import run_processes
from tests.support.waiting import until

SCHEDULERS = [f"scheduler#{number}" for number in range(1, 6)]
QUEUES = 20
KILLS = 8


async def plant(conn, tenant, expressions, **changes):
    """Create schedules as ingest does; return their rhythms and first ticks, by id."""
    planted = {}
    async with conn.transaction():
        now = await schedules.read_clock(conn)
        for number, expression in enumerate(expressions):
            id_ = new_id()
            rhythm = rhythm_of(
                id_, expression=expression, timezone="UTC", created_at=now
            )
            first = rhythm.after(now)
            assert first is not None
            await schedules.create_schedule(
                conn,
                id_=id_,
                organization_id=tenant.id,
                queue_name=f"queue-{number % QUEUES}",
                definition=Definition(
                    name="n", cron_expression=expression, payload="1", **changes
                ),
                following=first,
                edition=EDITION,
                created_at=now,
            )
            planted[id_] = rhythm, first.tick
    return planted


async def stop_all(conn):
    """Let nothing fire any more; return what would have come next, by schedule."""
    rows = await conn.fetch(
        "UPDATE schedules SET paused = true RETURNING id, next_tick"
    )
    return {row["id"]: row["next_tick"] for row in rows}


@pytest.mark.timeout(240)
async def test_each_tick_becomes_one_job_through_kills(
    database_url, nats_url, tmp_path, tenant, conn
):
    seed = 20261129
    chance = random.Random(seed)
    planted = await plant(
        conn,
        tenant,
        [f"*/{chance.choice([2, 3, 4])} * * * * *" for _ in range(500)],
        misfire="catch_up",
        catch_up_max=1000,
        catch_up_seconds=3600,
    )
    async with run_processes(
        database_url, nats_url, logs=tmp_path, services=SCHEDULERS
    ) as house:
        up = set(SCHEDULERS)

        async def come_back(name):
            await house.start(name)
            up.add(name)

        async with asyncio.TaskGroup() as births:
            for _ in range(KILLS):
                await asyncio.sleep(chance.uniform(0.2, 1))
                await until(lambda: len(up) > 2, at_most=30)
                victim = chance.choice(sorted(up))
                up.discard(victim)
                await house.kill(victim)
                births.create_task(come_back(victim))
        ends = await conn.fetchval("SELECT now()")

        async def has_caught_up():
            return not await conn.fetchval(
                "SELECT count(*) FROM schedules WHERE next_at < $1", ends
            )

        await until(has_caught_up, at_most=20)
        following = await stop_all(conn)

    runs = await conn.fetch("SELECT schedule_id, tick, job_id FROM schedule_runs")
    fired = Counter((row["schedule_id"], row["tick"]) for row in runs)
    wanted = set()
    for id_, (rhythm, first) in planted.items():
        tick = first
        while tick < following[id_]:
            wanted.add((id_, tick))
            tick = rhythm.after(tick).tick
    keys = await conn.fetch("SELECT id, idempotency_key FROM jobs")
    assert set(fired) == wanted
    assert set(fired.values()) == {1}
    # No tick has a second job, and no job is without its tick.
    assert {row["id"] for row in keys} == {row["job_id"] for row in runs}
    assert len({row["idempotency_key"] for row in keys}) == len(keys) == len(runs)
    counts = await conn.fetch("SELECT id, run_count FROM schedules")
    assert {row["id"]: row["run_count"] for row in counts} == Counter(
        row["schedule_id"] for row in runs
    )
    notices = await conn.fetchval("SELECT count(*) FROM notices")
    assert notices == len(runs)
    await assert_invariants(database_url)
    print(f"seed {seed}: {len(runs)} ticks, {KILLS} kills")


# --- how late -------------------------------------------------------------------------


async def lags(database_url, jobs, at_most):
    """Watch ticks that come from now on; return how late each was seen, in seconds.

    What looks is light, and looks every few milliseconds: it must not be what is late.
    """
    found: list[float] = []
    seen: Counter[datetime] = Counter()
    conn = await asyncpg.connect(database_url)
    try:
        began = await conn.fetchval("SELECT now()")
        ends = time.monotonic() + at_most
        while len(found) < jobs and time.monotonic() < ends:
            rows = await conn.fetch(
                "SELECT tick, count(*) AS jobs, clock_timestamp() - tick AS lag"
                " FROM schedule_runs"
                " WHERE tick > greatest($1, now() - interval '5 seconds')"
                " GROUP BY tick",
                began,
            )
            for row in rows:
                more = row["jobs"] - seen[row["tick"]]
                found += [row["lag"].total_seconds()] * more
                seen[row["tick"]] += more
            await asyncio.sleep(0.01)
    finally:
        await conn.close()
    return sorted(found)


def shown(name, found):
    p50, p99 = found[len(found) // 2], found[int(len(found) * 0.99)]
    print(
        f"{name}: {len(found)} ticks, p50 {p50 * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms,"
        f" longest {found[-1] * 1000:.0f} ms"
    )


@pytest.mark.timeout(240)
async def test_a_thousand_schedules_a_minute_fire_when_they_are_due(
    database_url, nats_url, tmp_path, tenant, conn
):
    """The figures are printed; what is asserted is that all of them come."""
    async with run_processes(
        database_url, nats_url, logs=tmp_path, services=["scheduler"]
    ):
        seconds = 10
        await plant(conn, tenant, [f"{n % 60} * * * * *" for n in range(1000)])
        # Nobody told the scheduler of them: it looks within a second.
        await asyncio.sleep(2)
        spread = await lags(database_url, 10**9, seconds)
        assert len(spread) >= 1000 // 60 * (seconds - 2)
        await conn.execute("DELETE FROM schedules")

        at_once = []
        await plant(conn, tenant, ["@yearly"] * 1000)
        for _ in range(5):
            await conn.execute(
                "UPDATE schedules SET next_tick = moment, next_at = moment"
                " FROM date_trunc('second', now() + interval '3 seconds') AS moment"
            )
            at_once.append(await lags(database_url, 1000, 15))
            assert len(at_once[-1]) == 1000
    shown("spread over the minute", spread)
    for found in at_once:
        shown("all in one second", found)
