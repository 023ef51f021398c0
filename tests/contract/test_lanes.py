"""Lanes: one for what is new, and one for what is tried again."""

import asyncio
import json
from collections import Counter
from contextlib import AsyncExitStack

import pytest

from libs.common.ids import new_id
from libs.common.store import claims, interventions, lanes, settlement, timers
from tests.support import stock
from tests.support.gates import change, claim, dispatching, retry


@pytest.fixture
async def one(database_url):
    async with dispatching(database_url) as conn:
        yield conn


@pytest.fixture
async def line(conn):
    """The lane of an endpoint with the limits that everybody has."""
    return await stock.open_endpoint(conn)


# --- lanes ----------------------------------------------------------------------------


async def test_a_push_lane_has_another_for_its_retries(conn, line):
    rows = await conn.fetch(
        "SELECT id, endpoint_id, retries, retry_lane_id, push FROM lanes"
        " WHERE endpoint_id = $1 ORDER BY id",
        line.endpoint_id,
    )
    assert {tuple(row) for row in rows} == {
        (line.id, line.endpoint_id, False, line.retry_id, True),
        (line.retry_id, line.endpoint_id, True, None, True),
    }
    again = await stock.open_endpoint(
        conn, organization_id=line.organization_id, endpoint_id=line.endpoint_id
    )
    assert again == line

    workers = await stock.open_line(conn, push=False)
    assert workers.retry_id is None


async def test_a_lane_comes_with_what_decides_its_turn(conn, one, line):
    await conn.execute("UPDATE organizations SET weight = 5")
    await stock.create(conn, line)
    stranger = await stock.open_line(conn)
    await stock.create(conn, stranger)

    found = await claims.ready_lanes(one, after=0, limit=10)

    known = await lanes.read_lanes(one, ids=[line.id, stranger.id])
    assert sorted(known, key=lambda lane: lane.id) == found.lanes
    mine = next(lane for lane in known if lane.id == line.id)
    assert (mine.endpoint_id, mine.retries, mine.weight) == (line.endpoint_id, False, 5)
    [retries] = await lanes.read_lanes(one, ids=[line.retry_id])
    assert (retries.endpoint_id, retries.retries) == (line.endpoint_id, True)
    assert next(lane.weight for lane in known if lane.id == stranger.id) == 1


async def test_many_who_open_a_lane_at_once_open_the_same(conn, database_url):
    organization_id = new_id()
    async with AsyncExitStack() as stack:
        rivals = [
            await stack.enter_async_context(dispatching(database_url)) for _ in range(8)
        ]
        lines = await asyncio.gather(
            *(stock.open_line(each, organization_id=organization_id) for each in rivals)
        )

    assert len(set(lines)) == 1
    assert await conn.fetchval("SELECT count(*) FROM lanes") == 2


# --- retries --------------------------------------------------------------------------


async def test_what_is_tried_again_stands_in_a_lane_of_its_own(conn, one, line):
    plain = await stock.open_line(conn)
    for each in (line, plain):
        ids = await stock.create(conn, each, 2)
        if each is line:
            jobs, _ = await claim(one, {line.id: 2})
        else:
            jobs = await stock.claim(conn, plain, 2)
        first, second = sorted(jobs, key=lambda job: job.job_id)
        await settlement.settle(
            conn,
            attempts=[
                stock.ended(first, "retrying", delay_seconds=0),
                stock.ended(second, "deadlettered"),
            ],
            actor="dispatcher",
        )
        await timers.promote_due(conn, limit=10)
        [requeued] = await interventions.requeue(
            conn,
            organization_id=each.organization_id,
            job_ids=[second.job_id],
            actor="key",
        )
        assert requeued.lane_id == each.retry_id
        rows = await conn.fetch(
            "SELECT job_id, lane_id FROM ready WHERE job_id = ANY ($1)", ids
        )
        assert {tuple(row) for row in rows} == {(id_, each.retry_id) for id_ in ids}


async def test_an_endpoint_s_policy_goes_before_its_queue_s(conn, one, line):
    await conn.execute(
        "INSERT INTO queues (id, organization_id, name, settings)"
        """ VALUES ($1, $2, 'webhooks', '{"retry": {"of": "queue"}}')""",
        new_id(),
        line.organization_id,
    )
    await stock.create(conn, line)
    await stock.create(conn, line, retry='{"of": "job"}')
    jobs, _ = await claim(one, {line.id: 2})

    async def policies():
        found = await settlement.read_policies(
            one, leases=[(job.job_id, job.lease_id, None) for job in jobs]
        )
        assert all(policy.to_endpoint for policy in found.values())
        return [json.loads(found[job.job_id].retry or "")["of"] for job in jobs]

    assert sorted(await policies()) == ["job", "queue"]
    await change(conn, line, retry='{"of": "endpoint"}')
    assert sorted(await policies()) == ["endpoint", "job"]


async def test_retries_leave_places_for_what_is_new(conn, one, line):
    await retry(conn, line, 30)

    jobs, admitted = await claim(one, {line.retry_id: 30})
    assert (len(jobs), admitted.again) == (8, {})

    await stock.create(conn, line, 30)
    jobs, _ = await claim(one, {line.retry_id: 30, line.id: 30})
    assert Counter(job.lane_id for job in jobs) == {line.id: 2}


async def test_who_is_new_and_who_is_tried_again_share_what_is_free(conn, one, line):
    await retry(conn, line, 30)
    await stock.create(conn, line, 30)

    jobs, _ = await claim(one, {line.retry_id: 30, line.id: 30})

    assert Counter(job.lane_id for job in jobs) == {line.id: 5, line.retry_id: 5}


@pytest.mark.parametrize(("places", "retries"), [(1, 1), (2, 1), (4, 3), (5, 4)])
async def test_even_the_narrowest_endpoint_is_tried_again(
    conn, one, line, places, retries
):
    await retry(conn, line, 10)
    await change(conn, line, max_concurrency=places)

    assert len((await claim(one, {line.retry_id: 10}))[0]) == retries
