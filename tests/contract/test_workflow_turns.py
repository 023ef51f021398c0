"""Jobs of workflows that take turns: a turn is taken when they are let go, and kept."""

import pytest

from libs.common.dependents import sweep_workflows
from libs.common.store import invariants, leases, timers, workflows
from libs.common.store.lines import Line
from tests.support import stock
from tests.support.flows import build, state_of
from tests.support.lines import called, line_of, release
from tests.support.rivals import place_of, settle

DIAMOND = {"top": "", "left": ["top"], "right": ["top"], "end": ["left", "right"]}


@pytest.fixture
async def line(conn):
    return await stock.open_line(conn, push=False)


@pytest.fixture(autouse=True)
async def no_turn_is_left_over(conn):
    yield
    assert await invariants.misplaced(conn) == []
    assert await invariants.unjournaled(conn) == []
    assert await invariants.forgotten(conn) == []
    assert await invariants.out_of_turn(conn) == []
    assert await conn.fetchval("SELECT count(*) FROM lines") == 0


async def diamond(conn, line, turns, **fields):
    """A workflow of which both sides take turns with all others of the line."""
    sides = {key: {"line": turns, "max_retries": 9} for key in ("left", "right")}
    return await build(conn, line, DIAMOND, fields=sides, **fields)


async def work(conn, line, count=9):
    """Work on what is ready; return the jobs, and what came of it."""
    works = await stock.claim(conn, line, count)
    closed = await settle(conn, *works, line=line)
    await release(conn)
    return [work.job_id for work in works], closed


async def run_down(conn, line):
    """Work until nothing is ready; return the jobs in the order of their ends."""
    order = []
    while ids := (await work(conn, line))[0]:
        order += ids
    return order


@pytest.mark.parametrize("of", ["a queue", "an endpoint"])
async def test_jobs_that_are_let_go_join_their_line_and_come_one_by_one(conn, of):
    if of == "a queue":
        line = await stock.open_line(conn, push=False)
        turns = line_of(line)
    else:
        endpoint = await stock.open_endpoint(conn)
        line = await stock.open_line(conn, organization_id=endpoint.organization_id)
        assert endpoint.endpoint_id is not None
        turns = Line.of_endpoint(endpoint.endpoint_id, "key")
    flows = [await diamond(conn, line, turns) for _ in range(3)]
    sides = [ids[key] for _, ids in flows for key in ("left", "right")]

    tops, closed = await work(conn, line)

    assert len(tops) == 3
    assert {(each.released.unblocked, each.released.joined) for each in closed} == {
        (6, 6)
    }
    assert await called(conn) == sides[:1]
    order = await run_down(conn, line)
    assert [id_ for id_ in order if id_ in sides] == sides
    assert [await state_of(conn, flow) for flow, _ in flows] == ["completed"] * 3


async def test_a_turn_is_kept_through_a_retry_and_a_death(conn, line):
    _, ids = await diamond(conn, line, line_of(line))
    await work(conn, line)
    [first] = await stock.claim(conn, line)
    assert first.job_id == ids["left"]

    await conn.execute("UPDATE leased SET deadline = now() - interval '1 second'")
    [recovered] = await leases.recover_work(conn, limit=10)
    await release(conn)

    assert (recovered.job_id, recovered.dead) == (ids["left"], False)
    assert await called(conn) == [ids["left"]]
    assert await place_of(conn, ids["right"]) == "held"
    [again] = await stock.claim(conn, line)
    await settle(conn, again, how="retrying", line=line)
    await release(conn)
    assert await called(conn) == [ids["left"]]
    await conn.execute("UPDATE scheduled SET run_at = now()")
    assert await timers.promote_due(conn, limit=10)
    await run_down(conn, line)


async def test_a_job_that_is_given_up_leaves_its_turn_to_the_next(conn, line):
    _, first = await diamond(conn, line, line_of(line))
    other, second = await diamond(conn, line, line_of(line))
    await work(conn, line)
    assert await called(conn) == [first["left"]]
    works = await stock.claim(conn, line)

    [closed] = await settle(conn, *works, how="deadlettered", line=line)

    # Its end is cancelled with it; the other side goes on.
    assert (closed.left_line, closed.released.cancelled) == (True, 1)
    await release(conn)
    assert await called(conn) == [first["right"]]
    assert await run_down(conn, line) == [
        first["right"],
        second["left"],
        second["right"],
        second["end"],
    ]
    assert await state_of(conn, other) == "completed"


async def test_a_workflow_that_is_cancelled_takes_its_jobs_out_of_the_line(conn, line):
    flow, first = await diamond(conn, line, line_of(line))
    _, second = await diamond(conn, line, line_of(line))
    await work(conn, line)
    assert await called(conn) == [first["left"]]

    assert await workflows.stop(conn, organization_id=line.organization_id, id_=flow)
    swept = await sweep_workflows(conn, ids=[flow])

    assert [(each.cancelled, each.left_line) for each in swept] == [(3, 2)]
    await release(conn)
    assert await called(conn) == [second["left"]]
    await run_down(conn, line)
