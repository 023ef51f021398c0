"""What two connections may do at once to a job that a worker has."""

import asyncio
from contextlib import AsyncExitStack

import asyncpg
import pytest

from libs.common.db import BY_KEY
from libs.common.store import invariants, leases, settlement
from tests.support import stock
from tests.support.rivals import blocked, place_of, undecided


@pytest.fixture
async def connect(database_url):
    """Open connections as a service has them for what is hot."""
    async with AsyncExitStack() as stack:

        async def opened():
            conn = await asyncpg.connect(
                database_url, server_settings={"jit": "off", **BY_KEY}
            )
            stack.push_async_callback(conn.close)
            return conn

        yield opened


@pytest.fixture
async def line(conn):
    return await stock.open_line(conn, push=False)


@pytest.fixture
async def claimed(conn, line):
    """A job that `worker` has for a minute."""
    await stock.create(conn, line)
    [claimed] = await stock.claim_work(conn, line)
    return claimed


@pytest.fixture(autouse=True)
async def every_job_is_in_one_place_afterwards(conn):
    yield
    assert await invariants.misplaced(conn) == []
    assert await invariants.unjournaled(conn) == []


async def settle(conn, *attempts):
    return await settlement.settle(conn, attempts=attempts, actor="dispatcher")


async def run_out(conn):
    await conn.execute("UPDATE leased SET deadline = now() - interval '1 second'")


def renew(conn, *renewals):
    return leases.renew_work(conn, renewals=renewals)


async def test_a_job_renewed_while_it_is_settled_leaves_its_place(
    conn, line, claimed, connect
):
    """The row that was renewed is another version of it than the one we looked for."""
    one, other = await connect(), await connect()

    async with undecided(one) as transaction:
        await renew(one, stock.renewal(line, claimed))
        settling = await blocked(conn, settle(other, stock.worked(line, claimed)))
        await transaction.commit()

    [closed] = await asyncio.wait_for(settling, 5)
    assert closed.job_id == claimed.job_id
    assert await conn.fetchval("SELECT count(*) FROM leased") == 0
    assert await place_of(conn, claimed.job_id) == "finished"


async def test_a_job_settled_while_it_is_renewed_is_not_renewed(
    conn, line, claimed, connect
):
    one, other = await connect(), await connect()

    async with undecided(one) as transaction:
        await settle(one, stock.worked(line, claimed))
        renewing = await blocked(conn, renew(other, stock.renewal(line, claimed)))
        await transaction.commit()

    assert await asyncio.wait_for(renewing, 5) == {}


async def test_a_job_renewed_while_its_worker_leaves_is_given_back(
    conn, line, claimed, connect
):
    one, other = await connect(), await connect()
    leaving = leases.release_work(
        other, organization_id=line.organization_id, owner="worker"
    )

    async with undecided(one) as transaction:
        await renew(one, stock.renewal(line, claimed))
        released = await blocked(conn, leaving)
        await transaction.commit()

    assert len(await asyncio.wait_for(released, 5)) == 1
    assert await place_of(conn, claimed.job_id) == "ready"


async def test_a_job_is_settled_or_recovered_but_not_both(conn, line, claimed, connect):
    one, other = await connect(), await connect()
    await run_out(conn)

    async with undecided(one) as transaction:
        assert len(await leases.recover_work(one, limit=10)) == 1
        # Whoever recovers steps around what another is recovering.
        assert await leases.recover_work(other, limit=10) == []
        late = settle(other, stock.worked(line, claimed))
        assert await asyncio.wait_for(late, 5) == []
        await transaction.commit()

    assert await place_of(conn, claimed.job_id) == "ready"


async def test_settlements_and_renewals_in_any_order_meet_in_one(conn, line, connect):
    one, other = await connect(), await connect()
    for _ in range(10):
        await stock.create(conn, line, 60)
        claimed = await stock.claim_work(conn, line, 60)
        told = [stock.worked(line, each) for each in claimed[:40]]
        asked = [stock.renewal(line, each) for each in claimed[20:]]

        closed, _ = await asyncio.gather(
            settle(one, *told), renew(other, *reversed(asked))
        )

        assert len(closed) == 40
