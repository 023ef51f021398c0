"""Workflows whose jobs end, are claimed, retried and added at the same moment."""

import asyncio
from contextlib import AsyncExitStack

import asyncpg
import pytest

from libs.common.db import BY_KEY
from libs.common.dependents import sweep_workflows
from libs.common.store import dependencies, interventions, invariants, workflows
from tests.support import stock
from tests.support.flows import build, events, state_of
from tests.support.rivals import blocked, cancel, place_of, settle, undecided


@pytest.fixture
async def rivals(database_url):
    """Two connections as the services have them."""
    async with AsyncExitStack() as stack:
        opened = []
        for _ in range(2):
            conn = await asyncpg.connect(
                database_url, server_settings={"jit": "off", **BY_KEY}
            )
            stack.push_async_callback(conn.close)
            opened.append(conn)
        yield opened


@pytest.fixture
async def line(conn):
    return await stock.open_line(conn, push=False)


@pytest.fixture(autouse=True)
async def nobody_is_forgotten_afterwards(conn):
    yield
    assert await invariants.misplaced(conn) == []
    assert await invariants.unjournaled(conn) == []
    assert await invariants.forgotten(conn) == []


async def requeue(conn, line, *ids):
    return await interventions.requeue(
        conn, organization_id=line.organization_id, job_ids=sorted(ids), actor="key"
    )


async def look(conn):
    """Look, and sweep, until nothing is left; return how many jobs were cancelled."""
    cancelled, looks = 0, 1
    while looks:
        looks, looked = await dependencies.release(conn, limit=10)
        swept = await sweep_workflows(conn, ids=looked.sweeping)
        cancelled += sum(each.cancelled for each in swept)
    return cancelled


async def test_a_workflow_is_over_with_the_statement_that_ends_its_last_job(conn, line):
    flow, ids = await build(conn, line, {"a": "", "b": "a"})
    [closed] = await settle(conn, *await stock.claim(conn, line), line=line)
    assert (closed.released.unblocked, closed.released.over) == (1, 0)

    [closed] = await settle(conn, *await stock.claim(conn, line), line=line)

    assert (closed.job_id, closed.released.over) == (ids["b"], 1)
    assert await state_of(conn, flow) == "completed"
    assert await events(conn, str(flow)) == ["started", "completed"]


async def test_of_two_last_jobs_that_end_at_the_same_moment_one_ends_the_workflow(
    conn, rivals, line
):
    one, other = rivals
    flow, _ = await build(conn, line, {"a": "", "b": ""})
    first, second = await stock.claim(conn, line, 2)
    async with undecided(one) as ending:
        [closed] = await settle(one, first, line=line)
        assert closed.released.over == 0
        later = await blocked(conn, settle(other, second, line=line))
        await ending.commit()

    [closed] = await later
    assert closed.released.over == 1
    assert await state_of(conn, flow) == "completed"
    assert await events(conn, str(flow)) == ["started", "completed"]


async def test_who_retries_while_the_last_job_ends_keeps_the_workflow_open(
    conn, rivals, line
):
    one, other = rivals
    flow, ids = await build(conn, line, {"a": "", "b": ""})
    first, second = await stock.claim(conn, line, 2)
    await settle(conn, first, how="deadlettered", line=line)
    async with undecided(one) as retrying:
        assert len(await requeue(one, line, ids["a"])) == 1
        later = await blocked(conn, settle(other, second, line=line))
        await retrying.commit()
    assert [each.released.over for each in await later] == [0]
    assert await state_of(conn, flow) == "running"

    [closed] = await settle(conn, *await stock.claim(conn, line), line=line)
    assert closed.released.over == 1
    assert await state_of(conn, flow) == "completed"


async def test_a_workflow_that_was_locked_when_it_was_begun_is_found_to_be_running(
    conn, rivals, line
):
    """Who claims waits for nobody; that somebody must look is noted."""
    one, other = rivals
    flow, ids = await build(conn, line, {"a": "", "b": "", "c": ""})
    async with undecided(one) as cancelling:
        assert await cancel(one, line, ids["a"])
        [claimed] = await asyncio.wait_for(stock.claim(other, line), 5)
        await cancelling.commit()
    assert claimed.job_id == ids["b"]
    assert await state_of(conn, flow) == "pending"

    await look(conn)

    assert await state_of(conn, flow) == "running"
    assert await events(conn, str(flow)) == ["started"]


async def test_whoever_works_on_a_job_adds_others_before_it_ends_or_not_at_all(
    conn, rivals, line
):
    """Both take the job before its workflow: nobody waits in a circle."""
    one, other = rivals
    flow, ids = await build(conn, line, {"a": "", "b": ""})
    claimed, beside = await stock.claim(conn, line, 2)
    async with undecided(one) as adding:
        assert await workflows.hold_worker(
            one, workflow_id=flow, worker_id="pod", lease_id=claimed.lease_id
        ) in {ids["a"], ids["b"]}
        # Ends the other one, and has the workflow.
        await settle(other, beside, line=line)
        ending = await blocked(conn, settle(other, claimed, line=line))
        assert await workflows.lock_workflow(
            one, organization_id=line.organization_id, id_=flow
        )
        await adding.commit()
    assert [each.released.over for each in await ending] == [1]


# --- fail_fast ------------------------------------------------------------------------


async def test_what_failed_before_a_retry_is_no_reason_to_sweep_what_is_retried(
    conn, line
):
    flow, ids = await build(
        conn, line, {"a": "", "b": "", "c": "a", "d": "c"}, policy="fail_fast"
    )
    works = await stock.claim(conn, line, 2)
    await settle(conn, *works, how="deadlettered", line=line)
    assert await state_of(conn, flow) == "failed"

    [retried] = await requeue(conn, line, ids["a"])
    await look(conn)

    assert retried.job_id == ids["a"]
    assert await place_of(conn, ids["a"]) == "ready"
    assert await state_of(conn, flow) == "running"
    [closed] = await settle(conn, *await stock.claim(conn, line), line=line)
    # The other one has failed, still.
    assert closed.released.over == 1
    assert await state_of(conn, flow) == "failed"
    assert await events(conn, str(flow)) == ["started", "failed", "retried", "failed"]


async def test_what_fails_after_a_retry_is_a_reason_again(conn, line):
    flow, ids = await build(
        conn, line, {"a": "", "b": "", "c": "", "d": ""}, policy="fail_fast"
    )
    works = {each.job_id: each for each in await stock.claim(conn, line, 3)}
    await settle(conn, works[ids["a"]], works[ids["b"]], how="deadlettered", line=line)
    assert await look(conn) == 1
    assert await place_of(conn, ids["d"]) == "finished"
    assert len(await requeue(conn, line, ids["a"], ids["b"])) == 2
    assert await look(conn) == 0

    # The same job again.
    [again] = await stock.claim(conn, line)
    await settle(conn, again, how="deadlettered", line=line)

    assert again.job_id == ids["a"]
    assert await look(conn) == 1
    assert await place_of(conn, ids["b"]) == "finished"
    await settle(conn, works[ids["c"]], line=line)
    assert await state_of(conn, flow) == "failed"
