"""What one organization reads costs nothing that others, or its own history, have.

Counted is how many rows a statement reads, inside of functions as well, with the
planner's own choice: from tables it knows nothing of, and from tables it knows.
"""

from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
import pytest_asyncio

from libs.common.db import BY_KEY
from libs.common.ids import new_id
from libs.common.store import (
    dependencies,
    interventions,
    jobs,
    lanes,
    queues,
    tallies,
    usage,
    workers,
)
from libs.common.store.jobs import Filter
from tests.support import stock
from tests.support.databases import copy_of

OTHERS = 20_000
MINE_OPEN = 20
MINE_FINISHED = 3_000
OTHERS_DEAD = 5_000
MINE_DEAD = 10
READ = """
SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::int
  FROM pg_stat_xact_user_tables
"""
FINISH = """
WITH taken AS (
    DELETE FROM ready
     WHERE job_id IN (SELECT job_id FROM ready
                       WHERE lane_id = $1 ORDER BY job_id LIMIT $2)
    RETURNING *
)
INSERT INTO finished (job_id, lane_id, rank, attempt, retry_count, ending)
SELECT job_id, lane_id, rank, 1, 0, 'completed' FROM taken
"""
DIE = """
WITH taken AS (
    DELETE FROM ready
     WHERE job_id IN (SELECT job_id FROM ready
                       WHERE lane_id = $1 ORDER BY job_id LIMIT $2)
    RETURNING *
)
INSERT INTO dead (job_id, lane_id, rank, attempt, retry_count, reason, last_error)
SELECT job_id, lane_id, rank, 1, 0, 'attempts_exhausted', 'HTTP 500' FROM taken
"""
PENDING = Filter(statuses=["pending"])
WAITING_PLACES = ["held", "ready", "scheduled", "waiting"]


@pytest_asyncio.fixture(
    scope="module", loop_scope="session", params=["unknown", "analyzed"]
)
async def stocked(request, postgres_url, migrated_template):
    """A database in which somebody else has much, and we have a long history."""
    async with copy_of(migrated_template, server=postgres_url) as url:
        conn = await asyncpg.connect(url)
        mine = await stock.open_line(conn, push=False)
        others = await stock.open_line(conn, push=False)
        for _ in range(OTHERS // 1000):
            await stock.create(conn, others, 1000)
        await stock.create(conn, mine, MINE_FINISHED + MINE_DEAD + MINE_OPEN)
        await conn.execute(FINISH, mine.id, MINE_FINISHED)
        await conn.execute(DIE, others.id, OTHERS_DEAD)
        await conn.execute(DIE, mine.id, MINE_DEAD)
        await conn.execute(
            "UPDATE announced SET (xid, seq) ="
            " (SELECT xid, seq FROM journal ORDER BY xid DESC, seq DESC LIMIT 1)"
        )
        if request.param == "analyzed":
            await conn.execute("ANALYZE")
        await conn.close()
        yield url, mine


@pytest.fixture
async def ours(stocked):
    """A connection to it, and our lane."""
    url, mine = stocked
    connection = await asyncpg.connect(url, server_settings={"jit": "off"})
    yield connection, mine
    await connection.close()


async def newest(conn, org):
    found = await jobs.list_jobs(conn, organization_id=org, chosen=Filter())
    assert len(found) == 50


async def deep_by_cursor(conn, org):
    [oldest] = await jobs.list_sorted_jobs(
        conn,
        organization_id=org,
        chosen=Filter(limit=1, statuses=["pending"]),
        places=["ready"],
        order_by="created_at",
        descending=False,
    )
    chosen = Filter(before=oldest["id"], limit=10)
    found = await jobs.list_jobs(conn, organization_id=org, chosen=chosen)
    assert len(found) == 10


async def pending(conn, org):
    found = await jobs.list_open_jobs(
        conn, organization_id=org, chosen=PENDING, places=WAITING_PLACES
    )
    assert len(found) == MINE_OPEN


async def pending_by_priority(conn, org):
    found = await jobs.list_sorted_jobs(
        conn,
        organization_id=org,
        chosen=PENDING,
        places=WAITING_PLACES,
        order_by="priority",
        descending=True,
    )
    assert len(found) == MINE_OPEN


async def statuses(conn, org):
    ids = [new_id() for _ in range(100)]
    await jobs.read_statuses(conn, organization_id=org, job_ids=ids, queue_names=None)


async def figures(conn, org):
    found = await tallies.of_organization(conn, organization_id=org)
    assert found.pending == MINE_OPEN


async def what_happened(conn, org):
    since = datetime.now(UTC) - timedelta(hours=24)
    await tallies.series(conn, organization_id=org, queue_names=None, since=since)


async def one_queue(conn, org):
    assert await queues.find_queue(conn, organization_id=org, name="mail")
    assert await lanes.ready_of_queue(conn, organization_id=org, queue_name="mail")


async def queue_list(conn, org):
    await queues.list_queues(conn, organization_id=org, names=None, limit=101, offset=0)


async def letters(conn, org, **fields):
    given = {"queue_names": None, "died_before": None, "limit": 5, **fields}
    return await interventions.choose_dead(conn, organization_id=org, **given)


async def dead_letters(conn, org):
    assert len(await letters(conn, org)) == 5
    assert len(await letters(conn, org, queue_names=["mail"])) == 5
    assert len(await letters(conn, org, died_before=datetime.now(UTC))) == 5


async def groups_of_dead_letters(conn, org):
    [group] = await interventions.group_dead(
        conn, organization_id=org, queue_names=None, letters=1000, groups=10
    )
    assert group["letters"] == group["examined"] == MINE_DEAD


async def how_much_is_used(conn, org):
    found = await usage.read(conn, organization_id=org, counted=True)
    assert (found.active_jobs, found.queues) == (MINE_OPEN, 1)


async def requeue(conn, org):
    ids = await letters(conn, org)
    found = await interventions.requeue(
        conn, organization_id=org, job_ids=ids, actor="key"
    )
    assert len(found) == len(ids)


async def purge(conn, org):
    ids = await letters(conn, org)
    purged = await interventions.purge(
        conn, organization_id=org, job_ids=ids, actor="key"
    )
    assert purged.jobs == len(ids)


async def room(conn, org):
    found = await usage.count_active(conn, limits={org: 10_000})
    assert found == {org: MINE_OPEN}


async def open_job(conn, org):
    found = await jobs.list_open_jobs(
        conn, organization_id=org, chosen=PENDING, places=WAITING_PLACES
    )
    return found[0]["id"]


async def reprioritize(conn, org):
    old = await interventions.reprioritize(
        conn,
        organization_id=org,
        job_id=await open_job(conn, org),
        priority=7,
        actor="key",
    )
    assert old == 0


async def cancel(conn, org):
    job_id = await open_job(conn, org)
    assert await interventions.cancel(
        conn, organization_id=org, job_id=job_id, actor="key"
    )


async def depend(conn, org):
    found = await jobs.list_open_jobs(
        conn, organization_id=org, chosen=PENDING, places=WAITING_PLACES
    )
    child, parent = found[0]["id"], found[1]["id"]
    assert [parent] == await dependencies.depend(
        conn, job_id=child, parents=[parent], mode="all", actor="key"
    )


@pytest.mark.parametrize(
    "reading",
    [
        newest,
        deep_by_cursor,
        pending,
        pending_by_priority,
        statuses,
        figures,
        what_happened,
        one_queue,
        queue_list,
        dead_letters,
        groups_of_dead_letters,
        how_much_is_used,
    ],
)
async def test_reading_touches_few_rows_whatever_there_is(ours, reading):
    conn, mine = ours
    await touches_few_rows(conn, mine, reading)


@pytest.mark.parametrize(
    "intervention", [requeue, purge, reprioritize, cancel, depend, room]
)
async def test_who_intervenes_touches_few_rows_whatever_there_is(stocked, intervention):
    """With the planner's settings of the pool that moves jobs."""
    url, mine = stocked
    conn = await asyncpg.connect(url, server_settings={"jit": "off", **BY_KEY})
    await touches_few_rows(conn, mine, intervention)
    await conn.close()


async def touches_few_rows(conn, mine, reading):
    transaction = conn.transaction()
    await transaction.start()
    before = await conn.fetchval(READ)

    await reading(conn, mine.organization_id)

    assert await conn.fetchval(READ) - before < 1000
    # The next one meets the same.
    await transaction.rollback()


async def test_the_sweep_for_silent_workers_reads_the_silent_ones(ours):
    conn, mine = ours
    transaction = conn.transaction()
    await transaction.start()
    # An organization row for the workers to belong to.
    await conn.execute(
        "INSERT INTO organizations (id, name, slug) VALUES ($1, 'a', 'a')",
        mine.organization_id,
    )
    await conn.execute(
        "INSERT INTO workers (id, organization_id, queue_name, hostname,"
        "                     last_heartbeat_at)"
        " SELECT 'w' || i, $1, 'mail', 'h',"
        "        now() - CASE WHEN i <= 3 THEN interval '1 hour' ELSE '0' END"
        "   FROM generate_series(1, 50) AS i",
        mine.organization_id,
    )

    silent = await workers.mark_silent(conn, silence=timedelta(minutes=2), limit=100)
    again = await workers.mark_silent(conn, silence=timedelta(minutes=2), limit=100)

    assert {each.id for each in silent} == {"w1", "w2", "w3"}
    assert again == []
    await workers.forget_gone(conn, absence=timedelta(0), limit=100)
    left = await workers.list_workers(
        conn, organization_id=mine.organization_id, scope=None, limit=99, offset=0
    )
    # What happened in this transaction happened now, and that is not before now.
    assert len(left) == 50
    assert all(row["updated_at"] <= datetime.now(UTC) for row in left)
    await transaction.rollback()
