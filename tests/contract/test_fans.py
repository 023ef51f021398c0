"""A thousand parents of one child, and a thousand children of one parent.

Each child is let go once, however many end and look at the same moment.  How long it
takes is printed.
"""

import asyncio
import time
from contextlib import AsyncExitStack

import asyncpg
import pytest

from libs.common.db import BY_KEY
from libs.common.store import dependencies, invariants, settlement
from tests.support import stock

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


async def wait_for(conn, line, child, parents):
    async with conn.transaction():
        await dependencies.lock_graph(conn, organization_id=line.organization_id)
        added = await dependencies.depend(
            conn, job_id=child, parents=parents, mode="all", actor="key"
        )
    assert set(added or ()) == set(parents)


async def look(conn):
    """Look until nothing is left; return how many were let go."""
    unblocked, looks = 0, 1
    while looks:
        looked = await dependencies.release(conn, limit=500)
        unblocked += looked.unblocked
        looks = looked.looks
    return unblocked


async def end(conn, line, works):
    """Settle some jobs, and look, as a service does."""
    attempts = [stock.worked(line, work, "completed", owner="pod") for work in works]
    closed = await settlement.settle(conn, attempts=attempts, actor="")
    assert len(closed) == len(works)
    return await look(conn)


async def let_go(conn, ids):
    return await conn.fetchval(
        "SELECT count(*) FROM journal"
        " WHERE job_id = ANY ($1::uuid[]) AND transition = 'unblocked'",
        ids,
    )


async def test_a_thousand_parents_let_their_child_go_once(conn, several, line):
    parents = await stock.create(conn, line, MANY)
    [child] = await stock.create(conn, line, 1)
    await wait_for(conn, line, child, parents)
    works = await stock.claim(conn, line, MANY)
    assert len(works) == MANY
    *others, last = works
    chunks = [others[n::50] for n in range(50)]

    async def settle_some(own):
        return [await end(own, line, chunks.pop()) for _ in iter(lambda: chunks, [])]

    found = await asyncio.gather(*map(settle_some, several))
    assert sum(map(sum, found)) == 0
    began = time.monotonic()
    released = await end(several[0], line, [last])
    took = time.monotonic() - began

    print(f"the last of {MANY} parents let its child go in {1000 * took:.1f} ms")
    assert released == 1
    assert await let_go(conn, [child]) == 1
    assert await invariants.forgotten(conn) == []


async def test_the_last_parents_may_end_at_the_same_moment(conn, several, line):
    parents = await stock.create(conn, line, AT_ONCE * 10)
    [child] = await stock.create(conn, line, 1)
    await wait_for(conn, line, child, parents)
    works = await stock.claim(conn, line, len(parents))

    found = await asyncio.gather(
        *(end(own, line, works[n::AT_ONCE]) for n, own in enumerate(several))
    )

    assert sum(found) == 1
    assert await let_go(conn, [child]) == 1


async def test_a_parent_lets_a_thousand_children_go_once(conn, several, line):
    [parent] = await stock.create(conn, line, 1)
    [work] = await stock.claim(conn, line, 1)
    children = await stock.create(conn, line, MANY, parent_id=parent)
    await look(conn)
    began = time.monotonic()

    attempts = [stock.worked(line, work, "completed", owner="pod")]
    await settlement.settle(conn, attempts=attempts, actor="")
    found = await asyncio.gather(*map(look, several))
    took = time.monotonic() - began

    print(f"a parent let {MANY} children go in {1000 * took:.1f} ms")
    assert sum(found) == MANY
    assert await let_go(conn, children) == MANY
    assert await invariants.forgotten(conn) == []
