"""Jobs of endpoints that are disabled, enabled again, or deleted."""

import json

import pytest

from libs.common.ids import new_id
from libs.common.store import closures, interventions, invariants, lines, resting
from libs.common.store.lines import Line
from libs.common.store.resting import Found
from tests.support import stock
from tests.support.gates import claim, dispatching
from tests.support.rivals import place_of, undecided


@pytest.fixture(autouse=True)
async def every_job_is_in_one_place_afterwards(conn):
    yield
    assert await invariants.misplaced(conn) == []
    assert await invariants.unjournaled(conn) == []
    assert await invariants.out_of_turn(conn) == []


@pytest.fixture
async def one(database_url):
    async with dispatching(database_url) as conn:
        yield conn


@pytest.fixture
async def line(conn):
    return await stock.open_endpoint(conn)


async def disable(conn, line, reason="manual"):
    await conn.execute(
        "UPDATE endpoints"
        "   SET enabled = false, disabled_at = now(), disabled_reason = $2"
        " WHERE id = $1",
        line.endpoint_id,
        reason,
    )


async def enable(conn, line):
    await conn.execute(
        "UPDATE endpoints"
        "   SET enabled = true, disabled_at = NULL, disabled_reason = NULL"
        " WHERE id = $1",
        line.endpoint_id,
    )


async def delete(conn, line):
    await conn.execute(
        "UPDATE endpoints SET deleted_at = now() WHERE id = $1", line.endpoint_id
    )


async def at_rest(conn):
    return await resting.lanes_at_rest(conn, after=0, limit=100)


async def to_wake(conn):
    return await resting.lanes_to_wake(conn, after=0, limit=100)


async def details(conn, job_id, transition):
    found = await conn.fetchval(
        "SELECT details FROM journal WHERE job_id = $1 AND transition = $2",
        job_id,
        transition,
    )
    return found and json.loads(found)


# --- disabled -------------------------------------------------------------------------


async def test_only_what_is_disabled_or_gone_is_at_rest(conn, line):
    others = [await stock.open_endpoint(conn) for _ in range(3)]
    plain = await stock.open_line(conn)
    for each in (line, *others, plain):
        await stock.create(conn, each)
    assert await at_rest(conn) == Found([], [], 0)

    await disable(conn, others[0])
    await delete(conn, others[1])
    await conn.execute("DELETE FROM endpoints WHERE id = $1", others[2].endpoint_id)

    assert await at_rest(conn) == Found([others[0].id], [others[1].id, others[2].id], 0)
    first = await resting.lanes_at_rest(conn, after=0, limit=2)
    assert first == Found([others[0].id], [], others[0].id)
    rest = await resting.lanes_at_rest(conn, after=first.after, limit=4)
    assert rest == Found([], [others[1].id, others[2].id], 0)


async def test_what_is_ready_is_held_with_the_reason_and_goes_on_as_it_was(conn, line):
    first, second = await stock.create(conn, line, 2)
    [other] = await stock.create(conn, await stock.open_endpoint(conn))
    await conn.execute(
        "UPDATE ready SET attempt = 2, retry_count = 1, crash_count = 1, lane_id = $2"
        " WHERE job_id = $1",
        second,
        line.retry_id,
    )
    before = await conn.fetch(
        "SELECT job_id, lane_id, rank, attempt, retry_count, crash_count FROM ready"
        " WHERE lane_id = ANY ($1) ORDER BY job_id",
        [line.id, line.retry_id],
    )
    await disable(conn, line, "failing")

    assert await resting.hold(conn, lanes=[line.id, line.retry_id], limit=10) == 2

    held = await conn.fetch("SELECT reason, at_rest FROM held")
    assert {tuple(row) for row in held} == {("its endpoint is disabled: failing", True)}
    assert await details(conn, second, "held") == {
        "retry_count": 1,
        "reason": "its endpoint is disabled: failing",
    }
    assert await place_of(conn, other) == "ready"
    # Until it is enabled nothing goes on.
    assert await to_wake(conn) == Found([], [], 0)
    assert await resting.wake(conn, lanes=[line.id, line.retry_id], limit=10) == {}

    await enable(conn, line)
    assert (await to_wake(conn)).lanes == sorted([line.id, line.retry_id])
    woken = await resting.wake(conn, lanes=[line.id, line.retry_id], limit=10)
    assert woken == {line.id: 1, line.retry_id: 1}
    after = await conn.fetch(
        "SELECT job_id, lane_id, rank, attempt, retry_count, crash_count FROM ready"
        " WHERE lane_id = ANY ($1) ORDER BY job_id",
        [line.id, line.retry_id],
    )
    assert after == before
    assert await place_of(conn, first) == "ready"


async def test_an_enabled_endpoint_s_jobs_are_not_held(conn, line):
    await stock.create(conn, line)

    assert await resting.hold(conn, lanes=[line.id], limit=10) == 0


async def test_some_at_a_time_and_in_their_order(conn, line):
    ids = await stock.create(conn, line, 5)
    await disable(conn, line)

    assert [await resting.hold(conn, lanes=[line.id], limit=2) for _ in range(4)] == [
        2,
        2,
        1,
        0,
    ]
    await enable(conn, line)
    await resting.wake(conn, lanes=[line.id], limit=3)
    ready = await conn.fetch("SELECT job_id FROM ready ORDER BY job_id")
    assert [row["job_id"] for row in ready] == ids[:3]


async def test_nobody_waits_for_who_moves_a_job_at_this_moment(conn, one, line):
    await stock.create(conn, line, 3)

    async with undecided(one):
        await claim(one, {line.id: 1})
        await disable(conn, line)
        assert await resting.hold(conn, lanes=[line.id], limit=10) == 2


async def test_what_people_do_to_held_jobs_works_as_ever(conn, line):
    cancelled, urgent = await stock.create(conn, line, 2)
    await disable(conn, line)
    await resting.hold(conn, lanes=[line.id], limit=10)

    asked = {"organization_id": line.organization_id, "actor": "key"}
    assert await interventions.cancel(conn, job_id=cancelled, **asked)
    old = await interventions.reprioritize(conn, job_id=urgent, priority=50, **asked)

    assert old == 0
    await enable(conn, line)
    await resting.wake(conn, lanes=[line.id], limit=10)
    rows = await conn.fetch("SELECT job_id, rank FROM ready")
    assert [tuple(row) for row in rows] == [(urgent, 50)]


# --- held for two reasons -------------------------------------------------------------


async def test_whose_turn_has_not_come_stays_when_the_endpoint_is_enabled(conn, line):
    turn = Line.of_endpoint(line.endpoint_id)
    ids = await stock.create(conn, line, 3, line=turn)

    async def call():
        async with conn.transaction():
            checks = await lines.look(conn, limit=10)
            await lines.call(conn, checks=checks)

    async def places():
        return [await place_of(conn, id_) for id_ in ids]

    await call()
    assert await places() == ["ready", "held", "held"]
    await disable(conn, line)
    await resting.hold(conn, lanes=[line.id], limit=10)
    await call()
    assert await places() == ["held", "held", "held"]

    await enable(conn, line)
    assert await resting.wake(conn, lanes=[line.id], limit=10) == {line.id: 1}
    assert await places() == ["ready", "held", "held"]

    # The first ends while the endpoint is disabled: the next is called, and rests.
    await disable(conn, line)
    await interventions.cancel(
        conn, organization_id=line.organization_id, job_id=ids[0], actor="key"
    )
    await call()
    assert await places() == ["finished", "ready", "held"]
    await resting.hold(conn, lanes=[line.id], limit=10)
    assert (await to_wake(conn)).lanes == []
    await enable(conn, line)
    assert await resting.wake(conn, lanes=[line.id], limit=10) == {line.id: 1}
    assert await places() == ["finished", "ready", "held"]


# --- deleted --------------------------------------------------------------------------


async def test_a_deleted_endpoint_ends_everything_open_and_is_no_more(conn, one, line):
    ids = await stock.create(conn, line, 5)
    await stock.create(conn, line, run_at=await conn.fetchval("SELECT now() + '1 h'"))
    jobs, _ = await claim(one, {line.id: 1})
    held = await conn.fetchval("SELECT min(job_id::text)::uuid FROM ready")
    await conn.execute(
        "WITH taken AS (DELETE FROM ready WHERE job_id = $1 RETURNING *)"
        " INSERT INTO held (job_id, lane_id, rank, reason)"
        " SELECT job_id, lane_id, rank, 'because' FROM taken",
        held,
    )
    assert await resting.deleted_endpoints(conn, limit=10) == []
    await delete(conn, line)

    [deleted] = await resting.deleted_endpoints(conn, limit=10)
    assert deleted.endpoint_id == line.endpoint_id
    assert deleted.lanes == sorted([line.id, line.retry_id])
    gone = await closures.cancel_lanes(
        conn, lanes=deleted.lanes, limit=10, actor=None, reason="endpoint_deleted"
    )
    assert gone.jobs == 5
    # Somebody works on one still.
    removed = await resting.remove_endpoint(conn, endpoint_id=line.endpoint_id)
    assert removed is False
    assert await details(conn, held, "cancelled") == {
        "place": "held",
        "retry_count": 0,
        "reason": "endpoint_deleted",
    }

    await conn.execute("DELETE FROM leased")
    await conn.execute(
        "INSERT INTO finished (job_id, lane_id, rank, attempt, retry_count, ending)"
        " VALUES ($1, $2, 100, 1, 0, 'completed')",
        jobs[0].job_id,
        line.id,
    )
    await conn.execute(
        "INSERT INTO journal (job_id, lane_id, transition, rank, attempt)"
        " VALUES ($1, $2, 'completed', 100, 1)",
        jobs[0].job_id,
        line.id,
    )
    assert await resting.remove_endpoint(conn, endpoint_id=line.endpoint_id)
    assert not await resting.remove_endpoint(conn, endpoint_id=line.endpoint_id)
    assert await conn.fetchval("SELECT count(*) FROM endpoint_health") == 0
    assert await conn.fetchval("SELECT count(*) FROM jobs") == len(ids) + 1


async def test_an_endpoint_that_was_not_deleted_is_not_removed(conn, line):
    await disable(conn, line)

    assert not await resting.remove_endpoint(conn, endpoint_id=line.endpoint_id)
    assert not await resting.remove_endpoint(conn, endpoint_id=new_id())


async def test_what_rests_when_its_endpoint_goes_is_found(conn, line):
    await stock.create(conn, line, 2)
    await disable(conn, line)
    await resting.hold(conn, lanes=[line.id], limit=10)
    await conn.execute("DELETE FROM endpoints")

    assert await to_wake(conn) == Found([], [line.id], 0)
