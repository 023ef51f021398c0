"""A thousand parents of one child, and a thousand children of one parent.

Each child is let go once, by the statement that ends the last of its parents, however
many end at the same moment.  How long it takes is printed.
"""

import asyncio
import random
import time
from contextlib import AsyncExitStack
from itertools import chain as joined
from itertools import pairwise

import asyncpg
import pytest

from libs.common.db import BY_KEY
from libs.common.store import dependencies, invariants, settlement
from tests.support import stock
from tests.support.rivals import blocked, place_of, undecided

MANY = 1000
AT_ONCE = 4


@pytest.fixture
async def several(database_url):
    """Connections as the services have them."""
    async with AsyncExitStack() as stack:
        opened = []
        for _ in range(AT_ONCE):
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


async def wait_for(conn, line, child, parents, *, mode="all", kind="success"):
    async with conn.transaction():
        await dependencies.lock_graph(conn, organization_id=line.organization_id)
        added = await dependencies.depend(
            conn, job_id=child, parents=parents, mode=mode, kind=kind, actor="key"
        )
    assert set(added or ()) == set(parents)
    # Who adds an edge is looked after; here nobody is, but by who ends the parents.
    await conn.execute("DELETE FROM rechecks")


async def end(conn, line, works, how="completed"):
    """Settle some jobs; return what came of it."""
    attempts = [stock.worked(line, work, how, owner="pod") for work in works]
    closed = await settlement.settle(conn, attempts=attempts, actor="")
    assert len(closed) == len(works)
    return closed[0].released


async def let_go(conn, ids):
    return await conn.fetchval(
        "SELECT count(*) FROM journal"
        " WHERE job_id = ANY ($1::uuid[]) AND transition = 'unblocked'",
        ids,
    )


def in_random_batches(works, *, most):
    luck = random.Random(0)
    works = luck.sample(works, len(works))
    while works:
        size = luck.randint(1, most)
        yield works[:size]
        works = works[size:]


async def test_the_last_of_a_thousand_parents_lets_their_child_go_once(
    conn, several, line
):
    parents = await stock.create(conn, line, MANY)
    [child] = await stock.create(conn, line, 1)
    await wait_for(conn, line, child, parents)
    works = await stock.claim(conn, line, MANY)
    assert len(works) == MANY
    batches = in_random_batches(works, most=20)

    async def settle_some(own):
        return [await end(own, line, batch) for batch in batches]

    began = time.monotonic()
    found = list(joined(*await asyncio.gather(*map(settle_some, several))))
    took = time.monotonic() - began

    print(f"{MANY} parents ended in {len(found)} statements in {1000 * took:.0f} ms")
    assert sorted(each.unblocked for each in found)[-2:] == [0, 1]
    assert sum(each.left_over for each in found) == 0
    [told] = [each for each in found if each.unblocked]
    assert told.work_lanes == (line.id,)
    assert await let_go(conn, [child]) == 1
    assert await place_of(conn, child) == "ready"


async def test_a_parent_lets_a_thousand_children_go_at_once(conn, line):
    [parent] = await stock.create(conn, line, 1)
    [work] = await stock.claim(conn, line, 1)
    children = await stock.create(conn, line, MANY, parent_id=parent)
    began = time.monotonic()

    released = await end(conn, line, [work])

    took = time.monotonic() - began
    print(f"a parent let {MANY} children go in {1000 * took:.1f} ms")
    assert (released.unblocked, released.left_over) == (MANY, 0)
    assert await let_go(conn, children) == MANY


async def test_a_statement_that_is_undone_lets_nobody_go(conn, several, line):
    [parent] = await stock.create(conn, line, 1)
    works = await stock.claim(conn, line, 1)
    [child] = await stock.create(conn, line, parent_id=parent)
    one, other, *_ = several
    async with undecided(one) as ending:
        assert (await end(one, line, works)).unblocked == 1
        await ending.rollback()
    assert await place_of(conn, child) == "waiting"

    assert (await end(other, line, works)).unblocked == 1


@pytest.mark.parametrize("first_commits", [True, False])
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_of_two_parents_that_end_at_the_same_moment_the_later_lets_go(
    conn, several, line, order, first_commits
):
    """Neither statement can see the other one's end when it begins."""
    parents = await stock.create(conn, line, 2)
    [child] = await stock.create(conn, line, 1)
    await wait_for(conn, line, child, parents)
    works = await stock.claim(conn, line, 2)
    one, other, *_ = several
    async with undecided(one) as ending:
        assert (await end(one, line, [works[order[0]]])).unblocked == 0
        later = await blocked(conn, end(other, line, [works[order[1]]]))
        await (ending.commit() if first_commits else ending.rollback())

    assert (await later).unblocked == (1 if first_commits else 0)
    if not first_commits:
        assert (await end(one, line, [works[order[0]]])).unblocked == 1
    assert await let_go(conn, [child]) == 1


async def test_many_pairs_of_parents_in_any_order_neither_wait_in_a_circle_nor_forget(
    conn, several, line
):
    """Each statement ends parents of many children, which share them with others."""
    luck = random.Random(1)
    parents = await stock.create(conn, line, 60)
    children = await stock.create(conn, line, 60)
    works = await stock.claim(conn, line, 60)
    for child in children:
        await wait_for(conn, line, child, luck.sample(parents, 5))
    batches = in_random_batches(works, most=6)

    async def settle_some(own):
        return [await end(own, line, batch) for batch in batches]

    found = list(joined(*await asyncio.gather(*map(settle_some, several))))

    assert sum(each.unblocked for each in found) == len(children)
    assert await let_go(conn, children) == len(children)


@pytest.mark.parametrize(
    ("mode", "kind", "hows", "expected"),
    [
        ("all", "success", ("completed", "completed"), (0, 1)),
        ("all", "success", ("deadlettered", "completed"), (-1, 0)),
        ("all", "completion", ("deadlettered", "completed"), (0, 1)),
        ("all", "failure", ("deadlettered", "deadlettered"), (0, 1)),
        ("all", "failure", ("deadlettered", "completed"), (0, -1)),
        ("all", "failure", ("completed", "deadlettered"), (-1, 0)),
        ("any", "success", ("deadlettered", "completed"), (0, 1)),
        ("any", "success", ("deadlettered", "deadlettered"), (0, -1)),
        ("any", "completion", ("deadlettered", "completed"), (1, 0)),
        ("any", "failure", ("completed", "deadlettered"), (0, 1)),
        ("any", "failure", ("completed", "completed"), (0, -1)),
    ],
)
async def test_what_a_child_waits_for_decides_in_the_statement_that_ends_it(
    conn, line, mode, kind, hows, expected
):
    parents = await stock.create(conn, line, 2)
    [child] = await stock.create(conn, line, 1)
    await wait_for(conn, line, child, parents, mode=mode, kind=kind)
    works = await stock.claim(conn, line, 2)

    found = [
        await end(conn, line, [work], how)
        for work, how in zip(works, hows, strict=True)
    ]

    assert tuple(each.unblocked - each.cancelled for each in found) == expected


async def test_a_failure_reaches_the_end_of_a_chain_of_a_thousand(conn, line):
    """In the statement as far as it goes, and then wherever somebody looks."""
    [parent] = await stock.create(conn, line, 1)
    works = await stock.claim(conn, line, 1)
    chain = [parent, *await stock.create(conn, line, MANY)]
    for before, after in pairwise(chain):
        await wait_for(conn, line, after, [before])
    began = time.monotonic()

    released = await end(conn, line, works, "deadlettered")
    cancelled = released.cancelled
    while released.left_over:
        _, released = await dependencies.release(conn, limit=500)
        cancelled += released.cancelled

    took = time.monotonic() - began
    print(f"a failure ended a chain of {MANY} in {1000 * took:.0f} ms")
    assert cancelled == MANY


async def test_a_failure_does_not_wait_for_whoever_has_a_grandchild_in_hands(
    conn, several, line
):
    """Who comes later by cascade is left to whoever looks right after the commit."""
    parent, other = await stock.create(conn, line, 2)
    works = await stock.claim(conn, line, 2)
    child, grandchild = await stock.create(conn, line, 2)
    await wait_for(conn, line, child, [parent])
    await wait_for(conn, line, grandchild, [child, other])
    one, two, *_ = several
    async with undecided(one) as ending:
        await end(one, line, works[1:])
        released = await end(two, line, works[:1], "deadlettered")
        assert (released.cancelled, released.left_over) == (1, 1)
        await ending.commit()

    _, released = await dependencies.release(conn, limit=10)
    assert released.cancelled == 1
    assert await place_of(conn, grandchild) == "finished"
