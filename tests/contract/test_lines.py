"""Lines: who is called, in which order, and what ends a turn."""

from datetime import UTC, datetime, timedelta

import pytest

from libs.common.ids import new_id
from libs.common.lifecycle import CRASHES_MAX
from libs.common.store import (
    dependencies,
    invariants,
    jobs,
    leases,
    lines,
    resting,
    timers,
)
from libs.common.store.lines import Line
from tests.support import stock
from tests.support.lines import called, configure, in_line, line_of, release, run_down
from tests.support.rivals import cancel, place_of, run_out, settle


@pytest.fixture(autouse=True)
async def everybody_is_in_turn_afterwards(conn):
    yield
    assert await invariants.misplaced(conn) == []
    assert await invariants.unjournaled(conn) == []
    assert await invariants.forgotten(conn) == []
    assert await invariants.out_of_turn(conn) == []


async def places(conn, ids):
    return [await place_of(conn, id_) for id_ in ids]


async def open_worked(conn, **fields):
    return await stock.open_line(conn, push=False, queue_name="work", **fields)


# --- joining --------------------------------------------------------------------------


async def test_the_first_of_a_key_is_called_and_the_others_wait(conn):
    lane = await stock.open_line(conn)
    first, *others = await in_line(conn, lane, 3)
    assert await places(conn, [first, *others]) == ["held"] * 3

    looked = await release(conn)

    assert (looked.called, looked.push_lanes, looked.work_lanes) == (1, [lane.id], [])
    assert await places(conn, [first, *others]) == ["ready", "held", "held"]
    assert (await release(conn)).called == 0


async def test_each_key_has_a_line_of_its_own_and_so_has_each_scope(conn):
    lane = await open_worked(conn)
    apart = [
        Line.of_queue(lane.organization_id, "work", "ann"),
        Line.of_queue(lane.organization_id, "work", "bob"),
        Line.of_queue(lane.organization_id, "play", "ann"),
        Line.of_queue(new_id(), "work", "ann"),
        Line.of_endpoint(new_id(), "ann"),
        Line.of_endpoint(new_id()),
    ]
    ids = [(await in_line(conn, lane, 1, line=line))[0] for line in apart]

    looked = await release(conn)

    assert (looked.called, looked.push_lanes, looked.work_lanes) == (6, [], [lane.id])
    assert await places(conn, ids) == ["ready"] * 6


async def test_who_is_created_first_comes_first_whatever_its_priority(conn):
    lane = await stock.open_line(conn)
    ids = []
    for rank in (150, 100, 0):
        ids += await in_line(conn, lane, 1, rank=rank)
    order = []
    for _ in ids:
        await release(conn)
        [claimed] = await stock.claim(conn, lane, 3)
        order.append(claimed.job_id)
        await settle(conn, claimed)

    assert order == ids


async def test_jobs_of_one_call_come_in_its_order_and_not_in_that_of_their_ids(conn):
    lane = await stock.open_line(conn)
    line = Line.of_endpoint(new_id())
    ids = [new_id() for _ in range(5)]
    made = [stock.new_job(lane, id=id_, line=line) for id_ in reversed(ids)]
    await jobs.create(conn, jobs=made)

    assert await run_down(conn, lane) == list(reversed(ids))


async def test_a_job_for_later_holds_its_place_and_is_scheduled_when_called(conn):
    lane = await stock.open_line(conn)
    later = datetime.now(UTC) + timedelta(hours=1)
    [first] = await in_line(conn, lane, 1, run_at=later)
    [second] = await in_line(conn, lane, 1)
    shown = await conn.fetchval("SELECT run_at FROM places WHERE job_id = $1", first)
    assert shown == later

    looked = await release(conn)

    assert (looked.called, looked.push_lanes) == (1, [])
    assert await places(conn, [first, second]) == ["scheduled", "held"]
    await conn.execute("UPDATE scheduled SET run_at = now()")
    assert [each.jobs for each in await timers.promote_due(conn, limit=10)] == [1]
    assert await places(conn, [first, second]) == ["ready", "held"]


async def test_a_job_whose_time_came_while_it_was_held_is_ready_when_called(conn):
    lane = await stock.open_line(conn)
    later = datetime.now(UTC) + timedelta(hours=1)
    _, second = [
        (await in_line(conn, lane, 1, run_at=run_at))[0] for run_at in (None, later)
    ]
    await release(conn)
    await conn.execute("UPDATE held SET run_at = now() - interval '1 second'")
    await settle(conn, *await stock.claim(conn, lane, 1))

    assert (await release(conn)).push_lanes == [lane.id]
    assert await place_of(conn, second) == "ready"


async def test_a_key_that_is_known_joins_no_line_twice(conn):
    lane = await stock.open_line(conn)
    await in_line(conn, lane, 1, idempotency_key="once")
    again = stock.new_job(lane, idempotency_key="once", line=line_of(lane))

    assert await jobs.create(conn, jobs=[again]) == set()

    assert await conn.fetchval("SELECT count(*) FROM lines") == 1


# --- how many -------------------------------------------------------------------------


async def test_a_queue_says_how_many_of_a_key_may_run_at_once(conn):
    lane = await open_worked(conn)
    ids = await in_line(conn, lane, 6)
    await release(conn)
    assert await called(conn) == ids[:1]

    await configure(conn, lane, '{"concurrency_per_key": 3}')
    assert (await release(conn)).called == 2
    assert await called(conn) == ids[:3]

    # Who has been called stays so; nobody follows until there is room again.
    await configure(conn, lane, '{"concurrency_per_key": 2}')
    assert (await release(conn)).called == 0
    for id_ in ids[:2]:
        assert await cancel(conn, lane, id_)
    assert (await release(conn)).called == 1
    assert await called(conn) == ids[2:4]

    await configure(conn, lane, None, cleared=["concurrency_per_key"])
    assert (await release(conn)).called == 0
    assert await cancel(conn, lane, ids[2])
    assert (await release(conn)).called == 0


@pytest.mark.parametrize(
    ("setting", "width"),
    [("3", 3), ("0", 1), ("-7", 1), ("1e9", 100_000), ("2.4", 2), ('"9"', 1)],
)
async def test_a_width_is_a_number_within_bounds(conn, setting, width):
    lane = await open_worked(conn)
    await configure(conn, lane, f'{{"concurrency_per_key": {setting}}}')

    scope = line_of(lane).scope
    assert await conn.fetchval("SELECT width_of($1)", scope) == width
    assert await conn.fetchval("SELECT width_of($1)", f"endpoint:{new_id()}") == 1


# --- the turn lasts -------------------------------------------------------------------


@pytest.mark.parametrize("how", ["retrying", "released"])
async def test_a_turn_lasts_when_an_attempt_ends_and_the_job_does_not(conn, how):
    lane = await stock.open_line(conn)
    first, second = await in_line(conn, lane, 2)
    await release(conn)
    for _ in range(3):
        [claimed] = await stock.claim(conn, lane, 2)
        assert claimed.job_id == first
        [closed] = await settle(conn, claimed, how=how)
        assert not closed.left_line
        assert (await release(conn)).called == 0
        await conn.execute("UPDATE scheduled SET run_at = now()")
        await timers.promote_due(conn, limit=10)

    assert await places(conn, [first, second]) == ["ready", "held"]


async def test_a_turn_lasts_when_processes_die_and_ends_with_the_quarantine(conn):
    lane = await stock.open_line(conn)
    first, second = await in_line(conn, lane, 2)
    await release(conn)
    for crash in range(1, CRASHES_MAX + 1):
        [claimed] = await stock.claim(conn, lane, 2)
        assert claimed.job_id == first
        await leases.note_taken_up(conn, lease_ids={claimed.lease_id})
        await run_out(conn)
        await leases.recover(conn, limit=10)
        assert (await release(conn)).called == (crash == CRASHES_MAX)

    assert await places(conn, [first, second]) == ["dead", "ready"]


async def test_a_turn_lasts_when_workers_die_and_ends_with_the_last_retry(conn):
    lane = await open_worked(conn)
    first, second = await in_line(conn, lane, 2, max_retries=1)
    await release(conn)
    for last in (False, True):
        [claimed] = await stock.claim(conn, lane, 2)
        assert claimed.job_id == first
        await conn.execute("UPDATE leased SET deadline = now() - interval '1 s'")
        [recovered] = await leases.recover_work(conn, limit=10)
        assert recovered.dead is last
        assert (await release(conn)).called == last

    assert await places(conn, [first, second]) == ["dead", "ready"]


# --- jobs that wait for jobs ----------------------------------------------------------


async def depend(conn, lane, child, *parents):
    async with conn.transaction():
        await dependencies.lock_graph(conn, organization_id=lane.organization_id)
        return await dependencies.depend(
            conn, job_id=child, parents=parents, mode="all", actor="key"
        )


@pytest.mark.parametrize("is_called", [True, False])
async def test_who_must_wait_for_another_job_leaves_the_line_and_joins_at_the_end(
    conn, is_called
):
    """The parent stands behind it in the same line: neither may stop the other."""
    lane = await stock.open_line(conn)
    child, parent, other = await in_line(conn, lane, 3)
    if is_called:
        await release(conn)

    assert await depend(conn, lane, child, parent) == [parent]

    assert await place_of(conn, child) == "waiting"
    await release(conn)
    assert await called(conn) == [parent]
    [closed] = await settle(conn, *await stock.claim(conn, lane, 9))
    released = closed.released
    assert (released.unblocked, released.joined, released.push_lanes) == (1, 1, ())
    assert await place_of(conn, child) == "held"
    await release(conn)
    assert await run_down(conn, lane) == [other, child]


async def test_a_child_joins_when_its_parent_is_done(conn):
    lane = await stock.open_line(conn)
    [parent] = await stock.create(conn, lane)
    later = datetime.now(UTC) + timedelta(hours=1)
    [child] = await in_line(conn, lane, 1, parent_id=parent, run_at=later)
    [other] = await in_line(conn, lane, 1)
    await release(conn)
    assert await called(conn) == [other]
    claimed = await stock.claim(conn, lane, 9)

    closed = await settle(conn, *claimed)

    assert {each.released.joined for each in closed} == {1}

    assert await place_of(conn, child) == "held"
    await release(conn)
    assert await places(conn, [child]) == ["scheduled"]
    assert await called(conn) == [child]


# --- held for another reason ----------------------------------------------------------


async def test_who_is_called_keeps_its_turn_while_its_endpoint_is_disabled(conn):
    lane = await stock.open_endpoint(conn)
    first, second = await in_line(conn, lane, 2)
    await release(conn)
    await conn.execute(
        "UPDATE endpoints"
        "   SET enabled = false, disabled_at = now(), disabled_reason = 'manual'"
    )
    assert await resting.hold(conn, lanes=[lane.id], limit=10) == 1

    assert (await release(conn)).called == 0
    assert await places(conn, [first, second]) == ["held", "held"]

    assert await cancel(conn, lane, first)
    await release(conn)
    assert await called(conn) == [second]


# --- to be seen -----------------------------------------------------------------------


async def test_one_can_see_how_a_job_stands_in_its_line(conn):
    lane = await open_worked(conn)
    await configure(conn, lane, '{"concurrency_per_key": 2}')
    ids = await in_line(conn, lane, 5)
    await release(conn)
    line = line_of(lane)

    turns = [await lines.read_turn(conn, job_id=id_) for id_ in ids]

    assert turns == [
        lines.Turn(line.scope, line.key, is_called, 2, before, ids[:2])
        for is_called, before in [
            (True, 0),
            (True, 0),
            (False, 0),
            (False, 1),
            (False, 2),
        ]
    ]
    assert await lines.read_turn(conn, job_id=new_id()) is None
