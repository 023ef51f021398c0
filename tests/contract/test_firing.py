"""Firing against the tables: a tick has one row and one job, whoever tries again."""

import json
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from libs.common.firing import Firing, make_jobs
from libs.common.ids import new_id
from libs.common.plans import plan_of
from libs.common.store import firings, schedules
from libs.common.store.firings import Move, Run
from libs.common.store.schedules import Definition
from libs.common.ticks import Tick
from libs.common.zones import EDITION
from tests.support.house import new_tenant

PLAN = plan_of("enterprise")
NOW = datetime.now(UTC).replace(microsecond=0)
#: It was due a while ago.
TICK = NOW - timedelta(seconds=30)
NEXT = Tick(NOW + timedelta(hours=1), NOW + timedelta(hours=1))


@pytest.fixture
async def tenant(database_url):
    return await new_tenant(database_url)


async def plant(conn, tenant, **changes):
    """Create a schedule that was due; return its id."""
    id_ = new_id()
    await schedules.create_schedule(
        conn,
        id_=id_,
        organization_id=tenant.id,
        queue_name="reports",
        definition=Definition(
            name="n",
            cron_expression="0 * * * *",
            **{"payload": '{"n": 1}', **changes},
        ),
        following=Tick(TICK, TICK),
        edition=EDITION,
        created_at=NOW,
    )
    return id_


def firing(row, tick=TICK):
    return Firing(schedule=row, plan=PLAN, source="cron", tick=tick)


async def fire(conn, *, moves_from=TICK, moves_to=NEXT):
    """Fire what is due as the scheduler does it, and commit."""
    async with conn.transaction():
        rows = await firings.claim_due(conn, limit=100)
        fired = await make_jobs(conn, asked=[firing(row) for row in rows])
        made = await firings.record(conn, runs=[one.run() for one in fired])
        moves = [
            Move(
                schedule_id=row["id"],
                so_far=moves_from,
                following=moves_to,
                queued=None,
            )
            for row in rows
        ]
        moved = await firings.move_on(conn, moves=moves, jobs=made, edition=EDITION)
    return fired, moved


async def counts(conn):
    return tuple(
        [
            await conn.fetchval(f"SELECT count(*) FROM {table}")
            for table in ("jobs", "ready", "schedule_runs", "notices", "idempotency")
        ]
    )


async def test_a_tick_becomes_a_job_a_run_and_a_notice_and_time_goes_on(conn, tenant):
    id_ = await plant(conn, tenant)

    [fired], moved = await fire(conn)

    assert moved.keys() == {id_}
    assert fired.error is None
    row = await conn.fetchrow("SELECT * FROM schedules")
    assert (row["next_tick"], row["next_at"]) == NEXT
    assert (row["run_count"], row["last_job_id"]) == (1, fired.job_id)
    run = await conn.fetchrow("SELECT * FROM schedule_runs")
    assert (run["tick"], run["job_id"], run["source"]) == (TICK, fired.job_id, "cron")
    data = json.loads(await conn.fetchval("SELECT data FROM notices"))
    assert data == {
        "schedule_id": str(id_),
        "job_id": str(fired.job_id),
        "queue_name": "reports",
        "source": "cron",
    }
    assert await conn.fetchval("SELECT scheduled_at FROM jobs") == TICK
    assert await firings.claim_due(conn, limit=100) == []


async def test_who_fires_from_where_it_no_longer_is_changes_nothing_twice(conn, tenant):
    id_ = await plant(conn, tenant)
    await fire(conn)
    before = await counts(conn)

    # As after a restore, or by somebody who saw an older row.
    await conn.execute("UPDATE schedules SET next_tick = $1, next_at = $1", TICK)
    [again], moved = await fire(conn)

    assert await counts(conn) == before == (1, 1, 1, 1, 1)
    assert again.job_id == await conn.fetchval("SELECT id FROM jobs")
    assert again.lane is None
    assert moved.keys() == {id_}
    assert await conn.fetchval("SELECT run_count FROM schedules") == 1


async def test_a_schedule_moves_on_only_from_where_it_stood(conn, tenant):
    await plant(conn, tenant)

    _, moved = await fire(conn, moves_from=TICK - timedelta(hours=1))

    assert moved == {}
    assert await conn.fetchval("SELECT next_tick FROM schedules") == TICK


async def test_a_lost_row_of_a_tick_makes_no_second_job(conn, tenant):
    await plant(conn, tenant)
    [first], _ = await fire(conn)
    await conn.execute("DELETE FROM schedule_runs")
    await conn.execute("UPDATE schedules SET next_tick = $1, next_at = $1", TICK)

    [again], _ = await fire(conn)

    assert again.job_id == first.job_id
    assert await conn.fetchval("SELECT count(*) FROM jobs") == 1


async def test_two_at_once_share_what_is_due(conn, tenant, database_url):
    for _ in range(6):
        await plant(conn, tenant)
    other = await asyncpg.connect(database_url)
    try:
        async with conn.transaction(), other.transaction():
            mine = await firings.claim_due(conn, limit=4)
            theirs = await firings.claim_due(other, limit=4)
    finally:
        await other.close()

    assert (len(mine), len(theirs)) == (4, 2)
    assert {row["id"] for row in mine}.isdisjoint(row["id"] for row in theirs)


async def test_a_tick_without_a_job_may_get_one_and_then_keeps_it(conn, tenant):
    id_ = await plant(conn, tenant)
    failed = Run(
        id=new_id(), schedule_id=id_, source="cron", tick=TICK, error_message="no room"
    )
    assert await firings.record(conn, runs=[failed]) == {}

    for job_id, kept in ((new_id(), True), (new_id(), False)):
        run = Run(
            id=new_id(), schedule_id=id_, source="backfill", tick=TICK, job_id=job_id
        )
        made = await firings.record(conn, runs=[run])
        assert made == ({id_: [job_id]} if kept else {})

    row = await conn.fetchrow("SELECT * FROM schedule_runs")
    assert (row["source"], row["error_message"]) == ("backfill", None)
    told = await conn.fetch("SELECT event FROM notices ORDER BY seq")
    assert [row["event"] for row in told] == ["schedule.skipped", "schedule.triggered"]


@pytest.mark.parametrize(
    "change",
    [
        "next_at = NULL",
        "next_at = next_tick - interval '1 second'",
        "misfire = 'catch_up'",
        "catch_up_max = 3",
        "misfire = 'now and then'",
        "overlap = 'perhaps'",
        "start_at = now(), end_at = now()",
        "jitter_seconds = -1",
        "queue_name = '-'",
        "destination = 'http://x'",
        "target_url = 'http://x'",
        "endpoint_id = id",
    ],
)
async def test_what_cannot_be_is_refused_by_the_table(conn, tenant, change):
    await plant(conn, tenant)

    with pytest.raises(asyncpg.CheckViolationError):
        await conn.execute(f"UPDATE schedules SET {change}")


async def test_what_a_schedule_did_is_forgotten_in_time(conn, tenant):
    await plant(conn, tenant)
    await fire(conn)

    await firings.forget_runs(conn, age=timedelta(days=1), at_most=10)
    assert await conn.fetchval("SELECT count(*) FROM schedule_runs") == 1
    await firings.forget_runs(conn, age=timedelta(seconds=-5), at_most=10)
    assert await conn.fetchval("SELECT count(*) FROM schedule_runs") == 0
