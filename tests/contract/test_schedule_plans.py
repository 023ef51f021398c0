"""What fires schedules finds them by key, however many there are."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from libs.common.db import BY_KEY
from libs.common.ids import new_id
from libs.common.store import backfills, firings, schedules
from libs.common.store.firings import Move, Run
from tests.support.databases import copy_of
from tests.support.plans import connected, plan_of, prepare

NOW = datetime.now(UTC)
ONE = UUID(int=1)
#: Most are not due for long, many are paused, and all did something.
FILL = """
WITH owner AS (
    INSERT INTO organizations (id, name, slug) VALUES ($1, 'Acme', 'acme')
), made AS (
    SELECT i, lpad(to_hex(i), 32, '0')::uuid AS id FROM generate_series(1, 5000) AS i
), planted AS (
    INSERT INTO schedules (id, organization_id, name, cron_expression, timezone,
                           queue_name, payload, paused, next_tick, next_at,
                           queued_tick, last_job_id, zones_edition)
    SELECT id, $1, 'n', '@daily', 'UTC', 'mail', '1', i % 3 = 0, moment, moment,
           CASE WHEN i % 100 = 0 THEN moment END, id, '2026a'
      FROM made CROSS JOIN LATERAL (SELECT now() + i * interval '1 second' AS moment)
           AS soon
), ran AS (
    INSERT INTO schedule_runs (id, schedule_id, tick, source, job_id)
    SELECT gen_random_uuid(), id, now() - n * interval '1 day', 'cron', id
      FROM made CROSS JOIN generate_series(1, 4) AS n
)
INSERT INTO schedule_backfills (id, schedule_id, since, until, state, total,
                                finished_at)
SELECT id, id, now() - interval '2 days', now(), 'completed', 2, now() FROM made
"""
TABLES = {
    "schedules",
    "schedule_runs",
    "schedule_backfills",
    "ready",
    "scheduled",
    "leased",
    "waiting",
    "held",
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def full(postgres_url, migrated_template):
    """The URL of a database with many schedules."""
    async with copy_of(migrated_template, server=postgres_url) as url:
        conn = await asyncpg.connect(url)
        await conn.execute(FILL, ONE)
        await conn.execute("ANALYZE")
        await conn.close()
        yield url


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def empty(postgres_url, migrated_template):
    """The URL of one without any, as a new house is: what is planned here may stay."""
    async with copy_of(migrated_template, server=postgres_url) as url:
        conn = await asyncpg.connect(url)
        await conn.execute("VACUUM ANALYZE")
        await conn.close()
        yield url


async def claim_due(conn, _):
    await firings.claim_due(conn, limit=500)


async def claim_queued(conn, _):
    await firings.claim_queued(conn, limit=500)


async def next_due(conn, _):
    await firings.next_due(conn, limit=500)


async def record(conn, _):
    runs = [
        Run(
            id=new_id(),
            schedule_id=UUID(int=n),
            source="cron",
            tick=NOW,
            error_message="no",
        )
        for n in range(1, 100)
    ]
    await firings.record(conn, runs=runs)


async def move_on(conn, _):
    moves = [
        Move(schedule_id=UUID(int=n), so_far=NOW, following=None, queued=None)
        for n in range(1, 100)
    ]
    await firings.move_on(conn, moves=moves, jobs={}, edition="2026f")


async def forget_runs(conn, _):
    await firings.forget_runs(conn, age=timedelta(days=3), at_most=100)


async def claim_running(conn, _):
    await backfills.claim_running(conn)


async def find_fired(conn, _):
    await backfills.find_fired(conn, schedule_id=ONE, ticks=[NOW] * 100)


async def lock_outdated(conn, _):
    await schedules.lock_outdated(conn, edition="2026a", limit=200)


async def update_edition(conn, _):
    following = [(UUID(int=n), None) for n in range(1, 100)]
    await schedules.update_edition(conn, following=following, edition="2026f")


CALLS = [
    (firings, claim_due),
    (firings, claim_queued),
    (firings, next_due),
    (firings, record),
    (firings, move_on),
    (firings, forget_runs),
    (backfills, claim_running),
    (backfills, find_fired),
    (schedules, lock_outdated),
    (schedules, update_edition),
]


@pytest.mark.parametrize(
    ("subject", "function"), [pytest.param(*c, id=c[1].__name__) for c in CALLS]
)
async def test_no_table_is_read_from_end_to_end(full, empty, subject, function):
    statement = subject.SQL[function.__name__]
    async with connected(full, BY_KEY) as conn:
        call = await prepare(conn, statement, function, None)
        plan = await plan_of(conn, call)
    async with connected(empty, BY_KEY) as conn:
        await conn.execute("PREPARE hot AS " + statement)
        plan += await plan_of(conn, call)

    whole = [
        (node["Node Type"], node["Relation Name"], node.get("Index Name"))
        for node in plan
        if node.get("Relation Name") in TABLES
        and node["Node Type"] != "ModifyTable"
        and "Index Cond" not in node
        and "Recheck Cond" not in node
        and "TID Cond" not in node
        # The front of it: what comes next, and what waits for a run to be over.
        and node.get("Index Name")
        not in {
            "schedules_due_idx",
            "schedules_queued_idx",
            "schedule_backfills_running_idx",
        }
    ]
    assert whole == []


async def test_what_is_not_due_is_not_looked_at(full):
    async with connected(full, BY_KEY) as conn:
        call = await prepare(conn, firings.SQL["claim_due"], claim_due, None)
        plan = await plan_of(conn, call)

    [found] = [n for n in plan if n.get("Index Name") == "schedules_due_idx"]
    assert "next_at" in found["Index Cond"]
