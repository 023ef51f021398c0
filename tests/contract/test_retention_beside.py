"""What stands beside jobs goes with the last of them: messages, keys, workflows."""

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from libs.common.ids import new_id
from libs.common.store import (
    completions,
    interventions,
    invariants,
    leaders,
    message_retention,
    replays,
    retention,
)
from libs.common.store.jobs import Completion
from libs.common.store.retention import Sweep
from tests.support import aging, stock
from tests.support.aging import age, create_old, finish, found, retaining
from tests.support.rivals import undecided

LONG_AGO = timedelta(days=150)
WEEK = aging.monday(20)


@pytest.fixture(autouse=True)
async def the_house_is_in_order_afterwards(conn):
    yield
    assert await invariants.misplaced(conn) == []
    assert await invariants.forgotten(conn) == []


@pytest.fixture
async def line(conn):
    await aging.open_weeks(conn, 20)
    return await stock.open_line(conn, organization_id=await found(conn))


async def sweep(conn, database_url, times=1):
    async with retaining(database_url) as retainer:
        for _ in range(times):
            await retainer.sweep_due(asyncio.Event())
            await conn.execute("UPDATE sweeps SET swept_at = now() - interval '8 days'")


async def send_old(conn, line, count=1, *, key=None):
    """Send messages in the old week; return their ids."""
    ids = sorted(aging.old_id(20) for _ in range(count))
    await conn.executemany(
        "INSERT INTO messages"
        " (id, organization_id, event_type, payload, idempotency_key, created_at)"
        " VALUES ($1, $2, 'order.paid', '{\"n\": 1}', $3, $4)",
        [(id_, line.organization_id, key, aging.moment_in(20)) for id_ in ids],
    )
    if key is not None:
        await conn.executemany(
            "INSERT INTO message_keys VALUES ($1, $2, $3, $4)",
            [(line.organization_id, key, id_, b"1") for id_ in ids],
        )
    return ids


async def messages_of(conn):
    rows = await conn.fetch("SELECT id FROM messages ORDER BY id")
    return [row["id"] for row in rows]


@pytest.mark.parametrize("others", [1, 20], ids=["swapped", "trimmed"])
async def test_keys_and_completion_webhooks_go_with_their_jobs(
    conn, database_url, line, others
):
    """Whether the week is swapped, or the little that is over is deleted."""
    (over,) = await create_old(conn, line, 20, idempotency_key="old", fingerprint=b"1")
    await finish(conn, line, [over])
    await age(conn, [over], ago=LONG_AGO)
    living = await create_old(conn, line, 20, idempotency_key="live", fingerprint=b"1")
    url = Completion(url="http://a.test/", origin="http://a.test:80")
    await completions.attach(conn, completions=dict.fromkeys([over, *living], url))
    living += await create_old(conn, line, 20, others - 1)
    await age(conn, living, ago=LONG_AGO)

    await sweep(conn, database_url)

    left = await conn.fetch("SELECT id FROM jobs ORDER BY id")
    assert [row["id"] for row in left] == sorted(living)
    keys = await conn.fetch("SELECT key, job_id FROM idempotency")
    assert [tuple(row) for row in keys] == [("live", living[0])]
    told = await conn.fetch("SELECT job_id FROM completion_webhooks")
    assert [row["job_id"] for row in told] == [living[0]]
    # The key is free again.
    assert await stock.create(conn, line, idempotency_key="old", fingerprint=b"1")


async def test_edges_go_with_the_child_and_parents_stay_while_it_waits(
    conn, database_url, line
):
    parent, child = await create_old(conn, line, 20, 2)
    await finish(conn, line, [parent, child])
    await age(conn, [parent, child], ago=LONG_AGO)
    waiting = new_id()
    await conn.execute(
        "INSERT INTO jobs (id, organization_id, queue_name, payload, max_retries,"
        " timeout_seconds) VALUES ($1, $2, 'mail', '1', 3, 300)",
        waiting,
        line.organization_id,
    )
    await conn.execute(
        "INSERT INTO waiting (job_id, lane_id, rank) VALUES ($1, $2, 100)",
        waiting,
        line.id,
    )
    await conn.execute("INSERT INTO rechecks (child_id) VALUES ($1)", waiting)
    edges = [(child, parent), (waiting, parent)]
    await conn.executemany("INSERT INTO dependencies VALUES ($1, $2)", edges)

    await sweep(conn, database_url)

    left = await conn.fetch("SELECT id FROM jobs ORDER BY id")
    assert [row["id"] for row in left] == [parent, waiting]
    kept = await conn.fetch("SELECT child_id, parent_id FROM dependencies")
    assert [tuple(row) for row in kept] == [(waiting, parent)]

    # Nobody waits for it any more: it has run.
    await conn.execute("DELETE FROM waiting")
    await conn.execute(
        "INSERT INTO ready (lane_id, rank, ready_at, job_id)"
        " VALUES ($1, 100, now(), $2)",
        line.id,
        waiting,
    )
    await sweep(conn, database_url)
    left = await conn.fetch("SELECT id FROM jobs")
    assert [row["id"] for row in left] == [waiting]


@pytest.mark.parametrize("others", [1, 20], ids=["swapped", "trimmed"])
async def test_a_message_goes_when_its_last_delivery_is_gone(
    conn, database_url, line, others
):
    [sent] = await send_old(conn, line, key="old")
    [kept] = await send_old(conn, line)
    delivered = await create_old(conn, line, 20, 2, payload=None, message_id=sent)
    await finish(conn, line, delivered)
    await age(conn, delivered, ago=LONG_AGO)
    bodies = [kept, *await send_old(conn, line, others - 1)]
    living = [
        job
        for message in bodies
        for job in await create_old(conn, line, 20, payload=None, message_id=message)
    ]
    await age(conn, living, ago=LONG_AGO)

    # Its deliveries go first, and it the next time.
    await sweep(conn, database_url)
    assert await messages_of(conn) == sorted([sent, *bodies])
    await sweep(conn, database_url)

    assert await messages_of(conn) == sorted(bodies)
    assert await conn.fetchval("SELECT count(*) FROM message_keys") == 0
    claimed = await stock.claim(conn, line, len(living))
    assert {each.payload for each in claimed} == {'{"n": 1}'}


async def test_a_message_that_nobody_wanted_goes_as_jobs_do(conn, database_url, line):
    await send_old(conn, line, 3, key=None)
    fresh = new_id()
    await conn.execute(
        "INSERT INTO messages (id, organization_id, event_type, payload)"
        " VALUES ($1, $2, 'order.paid', '1')",
        fresh,
        line.organization_id,
    )

    await sweep(conn, database_url, times=2)

    assert await messages_of(conn) == [fresh]
    weeks = await retention.list_weeks(conn)
    assert WEEK not in [week.monday for week in weeks]
    assert await conn.fetch("SELECT * FROM sweeps") == []


async def test_a_message_that_is_sent_again_meanwhile_stays(conn, database_url, line):
    (sent, other) = await send_old(conn, line, 2)
    assert await leaders.elect(
        conn, duty="sweep", holder="one", lasting=timedelta(seconds=60)
    )
    await retention.put_retentions(
        conn, retentions=[retention.Retention(line.organization_id, 90, 90)]
    )
    now = datetime.now(UTC)
    look = Sweep("one", WEEK, now, now - aging.RECENT)
    await message_retention.begin_sweep(conn, sweep=look)
    await message_retention.gather_messages(conn, sweep=look, message_ids=[sent, other])
    rival = await asyncpg.connect(database_url)
    [asked] = await conn.fetch(
        "SELECT $1::uuid AS organization_id, $2::uuid AS endpoint_id,"
        " $3::timestamptz AS since, now() AS until, NULL::uuid AS reached",
        line.organization_id,
        new_id(),
        aging.moment_in(21),
    )
    async with undecided(rival) as replay:
        await replays.next_messages(
            rival,
            replay=asked,
            limit=1,
            with_payload=False,
        )
        assert await message_retention.swap_messages(conn, sweep=look) == "refused"
        # What somebody has in hands is not deleted either.
        assert (
            await message_retention.forget_messages(
                conn, sweep=look, message_ids=[sent, other]
            )
            == 1
        )
        await stock.create(rival, line, payload=None, message_id=sent)
        await replay.commit()
    await rival.close()

    assert await message_retention.swap_messages(conn, sweep=look) == "moved"
    assert await message_retention.choose_missing(conn, monday=WEEK) == [sent]
    await message_retention.gather_messages(conn, sweep=look, message_ids=[sent])
    assert await message_retention.swap_messages(conn, sweep=look) == "swapped"
    assert await messages_of(conn) == [sent]


async def test_a_workflow_stays_and_goes_with_its_jobs_as_one(conn, database_url, line):
    """While one is a dead letter, all stay; and the workflow goes when none is left."""
    done, failed = await create_old(conn, line, 20, 2)
    flow = aging.old_id(20)
    await conn.execute(
        "INSERT INTO workflows (id, organization_id, name, state, queue_names,"
        " total_jobs, finished_at) VALUES ($1, $2, 'flow', 'failed', '{mail}', 2, $3)",
        flow,
        line.organization_id,
        datetime.now(UTC) - LONG_AGO,
    )
    await conn.executemany(
        "INSERT INTO workflow_jobs (workflow_id, key, job_id) VALUES ($1, $2, $3)",
        [(flow, "done", done), (flow, "failed", failed)],
    )
    await conn.executemany(
        "INSERT INTO dependencies VALUES ($1, $2)", [(flow, done), (flow, failed)]
    )
    await conn.execute("UPDATE jobs SET workflow_id = $1", flow)
    claimed = {each.job_id: each for each in await stock.claim(conn, line, 2)}
    await aging.settle(conn, line, [claimed[done]])
    await aging.settle(conn, line, [claimed[failed]], "deadlettered")
    await age(conn, [done, failed], ago=LONG_AGO)

    await sweep(conn, database_url)
    assert await conn.fetchval("SELECT count(*) FROM jobs") == 2

    await interventions.purge(
        conn, organization_id=line.organization_id, job_ids=[failed], actor="key"
    )
    await age(conn, [failed], ago=LONG_AGO)
    await sweep(conn, database_url)
    assert await conn.fetchval("SELECT count(*) FROM jobs") == 0
    assert await conn.fetchval("SELECT count(*) FROM workflows") == 0
    assert await conn.fetchval("SELECT count(*) FROM workflow_jobs") == 0
    assert await conn.fetchval("SELECT count(*) FROM dependencies") == 0
