"""Children whose parents end while somebody else looks, adds an edge or cancels."""

from contextlib import AsyncExitStack

import asyncpg
import pytest

from libs.common.db import BY_KEY
from libs.common.lifecycle import CRASHES_MAX
from libs.common.store import dependencies, interventions, invariants, leases
from tests.support import stock
from tests.support.rivals import blocked, cancel, place_of, run_out, settle, undecided


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


@pytest.fixture(autouse=True)
async def nobody_is_forgotten_afterwards(conn):
    yield
    assert await invariants.misplaced(conn) == []
    assert await invariants.unjournaled(conn) == []
    assert await invariants.forgotten(conn) == []


async def add_edge(conn, line, child, parent, *, mode="all"):
    async with conn.transaction():
        await dependencies.lock_graph(conn, organization_id=line.organization_id)
        return await dependencies.depend(
            conn, job_id=child, parents=[parent], mode=mode, actor="key"
        )


async def a_while_later(conn):
    await conn.execute("UPDATE rechecks SET at = at - interval '5 seconds'")


async def test_an_edge_that_the_parents_end_could_not_see_is_not_forgotten(
    conn, rivals
):
    """The parent's end began before the edge was committed, and commits after it."""
    one, _ = rivals
    line = await stock.open_line(conn)
    parent, child = await stock.create(conn, line, 2)
    claimed = await stock.claim(conn, line, 1)
    assert claimed[0].job_id == parent
    async with undecided(one) as ending:
        await settle(one, *claimed)
        assert await add_edge(conn, line, child, parent) == [parent]
        # Who looks now sees nothing, and must look again.
        _, looked = await dependencies.release(conn, limit=10)
        assert looked.unblocked == 0
        await ending.commit()
    assert await place_of(conn, child) == "waiting"

    await a_while_later(conn)
    _, looked = await dependencies.release(conn, limit=10)

    assert (looked.unblocked, looked.push_lanes) == (1, (line.id,))
    assert await place_of(conn, child) == "ready"


async def test_who_ends_a_parent_waits_for_an_edge_that_is_added_and_sees_it(
    conn, rivals
):
    one, other = rivals
    line = await stock.open_line(conn)
    first, second, child = await stock.create(conn, line, 3)
    await add_edge(conn, line, child, first)
    [claimed] = await stock.claim(conn, line, 1)
    async with undecided(one) as adding:
        await dependencies.lock_graph(one, organization_id=line.organization_id)
        await dependencies.depend(
            one, job_id=child, parents=[second], mode="all", actor="key"
        )
        ending = await blocked(conn, settle(other, claimed))
        await adding.commit()
    [closed] = await ending
    assert closed.released.unblocked == 0
    assert await place_of(conn, child) == "waiting"

    cancelled = await cancel(conn, line, second)
    assert cancelled is not None
    assert cancelled.cancelled == 1


async def test_a_child_that_is_cancelled_while_it_is_let_go_ends_once(conn, rivals):
    one, other = rivals
    line = await stock.open_line(conn)
    parent, child = await stock.create(conn, line, 2)
    await add_edge(conn, line, child, parent)
    [claimed] = await stock.claim(conn, line, 1)
    async with undecided(one) as cancelling:
        assert await cancel(one, line, child)
        ending = await blocked(conn, settle(other, claimed))
        await cancelling.commit()

    [closed] = await ending
    assert closed.released.unblocked == 0
    assert await place_of(conn, child) == "finished"


async def test_who_cancels_waits_for_nobody_who_may_wait_for_that(conn, rivals):
    """The parent's end has the child in hands, and waits for the one between them."""
    one, other = rivals
    line = await stock.open_line(conn)
    parent, child, between = await stock.create(conn, line, 3)
    await add_edge(conn, line, between, parent)
    await add_edge(conn, line, child, parent)
    await add_edge(conn, line, child, between)
    claimed = await stock.claim(conn, line, 1)
    async with undecided(one) as cancelling:
        await one.execute("SELECT FROM waiting WHERE job_id = $1 FOR UPDATE", between)
        ending = await blocked(conn, settle(other, *claimed))

        released = await cancel(one, line, between)

        assert released is not None
        assert (released.cancelled, released.left_over) == (0, 1)
        await cancelling.commit()
    [closed] = await ending
    assert (closed.job_id, closed.released.cancelled) == (parent, 1)
    assert await place_of(conn, child) == "finished"


async def test_a_new_edge_is_looked_at_for_a_minute_and_no_longer(conn):
    line = await stock.open_line(conn)
    parent, child = await stock.create(conn, line, 2)
    await add_edge(conn, line, child, parent)
    waits = []
    for _ in range(20):
        await dependencies.release(conn, limit=10)
        wait = await conn.fetchval("SELECT min(at) - now() FROM rechecks")
        if wait is None:
            break
        waits.append(round(wait.total_seconds()))
        # The wait is over.
        for statement in (
            "UPDATE rechecks SET at = at - $1::interval",
            "UPDATE dependencies SET created_at = created_at - $1::interval",
        ):
            await conn.execute(statement, wait)

    assert waits[0] <= 2
    assert waits == sorted(waits)
    assert 30 < sum(waits) < 130
    assert await place_of(conn, child) == "waiting"


async def test_who_waits_for_a_job_that_is_no_more_waits_no_longer(conn):
    line = await stock.open_line(conn)
    parent, other, child = await stock.create(conn, line, 3)
    await add_edge(conn, line, child, parent, mode="any")
    await add_edge(conn, line, child, other, mode="any")
    [claimed] = await stock.claim(conn, line, 1)
    [closed] = await settle(conn, claimed, how="deadlettered")
    assert (closed.job_id, closed.released.cancelled) == (parent, 0)

    gone = await interventions.purge(
        conn, organization_id=line.organization_id, job_ids=[parent], actor="key"
    )

    assert (gone.jobs, gone.released.unblocked) == (1, 1)


async def test_who_waits_for_a_job_that_is_quarantined_is_cancelled(conn):
    line = await stock.open_line(conn)
    parent, child = await stock.create(conn, line, 2)
    await add_edge(conn, line, child, parent)
    await conn.execute("DELETE FROM rechecks")
    for crash in range(1, CRASHES_MAX + 1):
        [claimed] = await stock.claim(conn, line, 1)
        await leases.note_taken_up(conn, lease_ids={claimed.lease_id})
        await run_out(conn)
        [recovered], _ = await leases.recover(conn, limit=10)
        assert recovered.dead is (crash == CRASHES_MAX)

    assert recovered.released.cancelled == 1
    assert await place_of(conn, child) == "finished"
