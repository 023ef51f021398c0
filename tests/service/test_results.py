"""Verdicts as they come: late, twice, and under a lease that somebody else has now."""

import asyncio

import pytest

from libs.common.bus import open_bus
from libs.common.db import BY_KEY, open_pool
from libs.common.loops import Doorbell
from libs.common.messages import Verdict
from libs.common.store import leases
from services.dispatcher.ledger import Ledger
from services.dispatcher.results import Results
from tests.support import stock


@pytest.fixture
async def results(database_url, nats_url):
    """The actor without its mailbox: what it hears is put to it directly."""
    async with (
        open_pool(database_url, service="test", size=2, planner=BY_KEY) as pool,
        open_bus(nats_url, service="test") as bus,
    ):
        bell = Doorbell(asyncio.Event())
        yield Results(pool, bus, Ledger("dispatcher-1"), bell, batch_max=100)


def verdict(claimed, **fields):
    return Verdict(job_id=str(claimed.job_id), lease_id=str(claimed.lease_id), **fields)


@pytest.fixture
async def twice_claimed(conn):
    """A job whose first pod was taken for dead: its claims, the lost one first."""
    line = await stock.open_line(conn)
    await stock.create(conn, line)
    [lost] = await stock.claim(conn, line)
    await leases.note_taken_up(conn, lease_ids=[lost.lease_id])
    await conn.execute("UPDATE leases SET deadline = now() - interval '1 second'")
    await leases.recover(conn, limit=1)
    [live] = await stock.claim(conn, line)
    return lost, live


@pytest.mark.parametrize("late_one_last", [True, False])
@pytest.mark.parametrize("late_status", [200, 500])
async def test_a_late_verdict_does_not_hide_the_one_that_counts(
    conn, results, twice_claimed, late_one_last, late_status
):
    """Both are answered, so whatever is not settled now never will be."""
    lost, live = twice_claimed
    told = [verdict(live, status=204), verdict(lost, status=late_status)]

    await results._settle(told if late_one_last else told[::-1])

    [row] = await conn.fetch("SELECT place, ending, attempt FROM places")
    assert tuple(row) == ("finished", "completed", 2)


async def test_a_verdict_told_twice_counts_once(conn, results):
    line = await stock.open_line(conn)
    await stock.create(conn, line)
    [claimed] = await stock.claim(conn, line)
    told = verdict(claimed, status=503, retry_after="60")

    await results._settle([told, told])
    await results._settle([told])

    [row] = await conn.fetch("SELECT place, retry_count FROM places")
    assert tuple(row) == ("scheduled", 1)
    assert await conn.fetchval("SELECT count(*) FROM attempts") == 1
