"""Limits of queues: exact, whoever claims, and however many at once."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import timedelta

import asyncpg
import pytest

from libs.common.admission import admission
from libs.common.db import BY_KEY
from libs.common.ids import new_id
from libs.common.store import claims, invariants, leases, queues
from libs.common.store.claims import Claimed, ClaimedWork
from tests.support import stock
from tests.support.rivals import blocked, undecided


@pytest.fixture
async def connect(database_url):
    """Open connections as services have them for claims; all are closed in the end."""
    async with AsyncExitStack() as stack:

        async def opened():
            conn = await asyncpg.connect(
                database_url, server_settings={"jit": "off", **BY_KEY}
            )
            stack.push_async_callback(conn.close)
            return conn

        yield opened


@pytest.fixture
async def one(connect):
    return await connect()


@pytest.fixture
async def other(connect):
    return await connect()


@pytest.fixture(autouse=True)
async def every_job_is_in_one_place_afterwards(conn):
    yield
    assert await invariants.misplaced(conn) == []
    assert await invariants.unjournaled(conn) == []


@pytest.fixture
async def organization_id(conn):
    id_ = new_id()
    await conn.execute(
        "INSERT INTO organizations (id, name, slug) VALUES ($1, 'Acme', 'acme')", id_
    )
    return id_


@pytest.fixture
async def line(conn, organization_id):
    return await stock.open_line(conn, organization_id=organization_id, push=False)


@pytest.fixture
async def push(conn, organization_id):
    """A lane of push jobs of the same queue."""
    return await stock.open_line(conn, organization_id=organization_id)


async def configure(conn, line, **changes):
    given = {
        "max_retries": None,
        "default_timeout": None,
        "rate_limit": None,
        "enabled": None,
        "settings": None,
    }
    await queues.configure_queue(
        conn,
        id_=new_id(),
        organization_id=line.organization_id,
        name=line.queue_name,
        **{**given, **changes},
    )


async def claim(conn, line, count):
    """Claim as a service that was refused; return the jobs and the admission."""
    async with admission(conn, asked={line.id: count}) as admitted:
        quota = admitted.quotas.get(line.id, 0)
        jobs: Sequence[Claimed | ClaimedWork] = []
        if quota and line.push:
            jobs, _ = await claims.claim(
                conn,
                quotas=admitted.quotas,
                lease_jobs_max=64,
                owner="dispatcher",
                lease=timedelta(seconds=60),
                payload_bytes_max=100,
                admitted=admitted.gates_of,
            )
        elif quota:
            asked = stock.asks(line, quota)
            given = await claims.claim_work(
                conn, asked=[asked], admitted=admitted.gates_of
            )
            jobs = given.work.get(asked.lease_id, [])
        admitted.started(job.lane_id for job in jobs)
    return jobs, admitted


# --- jobs in work at once -------------------------------------------------------------


async def test_no_more_are_in_work_at_once_than_the_queue_allows(conn, one, line, push):
    for each in (line, push):
        await stock.create(conn, each, 10)
    await configure(conn, line, settings='{"concurrency": 5}')

    first, _ = await claim(one, line, 3)
    second, admitted = await claim(one, push, 10)
    third, _ = await claim(one, line, 1)

    assert (len(first), len(second), len(third)) == (3, 2, 0)
    # Who waits for a place is told, not woken by the clock.
    assert admitted.again == {}
    await leases.release_work(
        conn,
        organization_id=line.organization_id,
        owner="worker",
    )
    assert len((await claim(one, line, 10))[0]) == 3


async def test_thirty_who_race_start_exactly_as_many_as_allowed(
    conn, line, push, connect
):
    for each in (line, push):
        await stock.create(conn, each, 200)
    await configure(conn, line, settings='{"concurrency": 17}')
    seen = []

    async def race(number):
        mine = await connect()
        for _ in range(4):
            await claim(mine, (line, push)[number % 2], 2)
            seen.append(await conn_count(mine))

    async def conn_count(via):
        return await via.fetchval("SELECT count(*) FROM leased")

    await asyncio.gather(*(race(number) for number in range(30)))

    assert max(seen) == seen[-1] == 17


async def test_who_comes_second_sees_what_the_first_started(conn, line, one, other):
    await stock.create(conn, line, 10)
    await configure(conn, line, settings='{"concurrency": 4}')

    async with undecided(one) as transaction:
        first, _ = await claim(one, line, 3)
        second = await blocked(conn, claim(other, line, 3))
        await transaction.commit()

    assert (len(first), len((await asyncio.wait_for(second, 5))[0])) == (3, 1)


async def test_other_queues_do_not_wait_for_a_claim_within_a_limit(
    conn, line, one, other
):
    free = await stock.open_line(
        conn, organization_id=line.organization_id, queue_name="free", push=False
    )
    for each in (line, free):
        await stock.create(conn, each, 3)
    await configure(conn, line, settings='{"concurrency": 4}')

    async with undecided(one):
        await claim(one, line, 1)
        assert len(await asyncio.wait_for(stock.claim_work(other, free, 3), 5)) == 3


# --- starts a second ------------------------------------------------------------------


async def test_a_second_s_worth_may_start_at_once_and_then_the_rate_counts(
    conn, one, line
):
    await stock.create(conn, line, 100)
    await configure(conn, line, rate_limit=10)

    first, admitted = await claim(one, line, 50)
    assert len(first) == 10
    assert 0.02 <= admitted.again[line.id] <= 0.1

    none, admitted = await claim(one, line, 50)
    # The machine may have taken its time between the two.
    assert len(none) <= 5
    assert 0.02 <= admitted.again[line.id] <= 0.1

    await conn.execute("UPDATE queues SET rate_spent_until = now() + '500 ms'")
    some, _ = await claim(one, line, 50)
    assert 5 <= len(some) <= 9


async def test_what_was_not_started_is_not_spent(conn, one, line):
    await configure(conn, line, rate_limit=10)

    nothing, admitted = await claim(one, line, 50)

    assert (nothing, admitted.again) == ([], {})
    spent = await conn.fetchval("SELECT rate_spent_until = '-infinity' FROM queues")
    assert spent is True


@pytest.mark.parametrize(("rate", "burst"), [(1, 1), (3, 3), (70_000, 50)])
async def test_the_least_and_the_largest_rates(conn, one, line, rate, burst):
    await stock.create(conn, line, 50)
    await configure(conn, line, rate_limit=rate)

    claimed, _ = await claim(one, line, 50)

    assert len(claimed) == burst
    # Rounded up: never more than the rate.
    spent = await conn.fetchval(
        "SELECT extract(epoch FROM rate_spent_until - now()) FROM queues"
    )
    assert float(spent) <= len(claimed) / rate + 0.001


async def test_racers_share_one_rate(conn, line, push, connect):
    for each in (line, push):
        await stock.create(conn, each, 400)
    await configure(conn, line, rate_limit=100)
    loop = asyncio.get_running_loop()
    started: Counter[int] = Counter()
    begun = loop.time()

    async def race(number):
        mine = await connect()
        while loop.time() < begun + 1.5:
            jobs, admitted = await claim(mine, (line, push)[number % 2], 7)
            started[number] += len(jobs)
            await asyncio.sleep(max(admitted.again.values(), default=0))

    await asyncio.gather(*(race(number) for number in range(6)))

    # The burst of a second, and what the clock gave since.
    seconds = loop.time() - begun
    assert 200 <= sum(started.values()) <= 100 + 100 * seconds + 1


# --- both, and neither ----------------------------------------------------------------


async def test_the_narrower_of_two_limits_counts(conn, one, line):
    await stock.create(conn, line, 50)
    await configure(conn, line, rate_limit=20, settings='{"concurrency": 4}')

    claimed, admitted = await claim(one, line, 10)

    assert (len(claimed), admitted.again) == (4, {})


async def test_a_queue_whose_limit_is_gone_gives_what_is_asked(conn, one, line):
    await stock.create(conn, line, 5)
    await configure(conn, line, rate_limit=1)
    await conn.execute("UPDATE queues SET rate_limit = NULL")

    claimed, admitted = await claim(one, line, 5)

    assert (len(claimed), admitted.unlimited) == (5, {line.id})


async def test_a_paused_queue_with_a_limit_gives_nothing(conn, one, line):
    await stock.create(conn, line, 5)
    await configure(conn, line, rate_limit=100, enabled=False)

    assert (await claim(one, line, 5))[0] == []


async def test_lanes_of_one_queue_share_its_room_evenly(conn, one, organization_id):
    lines = [
        await stock.open_line(conn, organization_id=organization_id, push=push)
        for push in (False, True)
    ]
    await configure(conn, lines[0], settings='{"concurrency": 9}')
    few, many = (line.id for line in lines)

    async def quotas(**asked):
        async with admission(
            one, asked={few: asked["few"], many: asked["many"]}
        ) as admitted:
            return admitted.quotas

    assert await quotas(few=2, many=100) == {few: 2, many: 7}
    assert await quotas(few=100, many=100) == {few: 5, many: 4}
    assert await quotas(few=1, many=1) == {few: 1, many: 1}


async def test_what_one_lane_leaves_over_another_has_soon(conn, one, line, push):
    """The lane with jobs asks again, though nobody tells it of room."""
    await stock.create(conn, push, 20)
    await configure(conn, line, settings='{"concurrency": 10}')

    async with admission(one, asked={line.id: 20, push.id: 20}) as admitted:
        jobs, _ = await claims.claim(
            one,
            quotas={push.id: admitted.quotas[push.id]},
            lease_jobs_max=64,
            owner="dispatcher",
            lease=timedelta(seconds=60),
            payload_bytes_max=100,
            admitted=admitted.gates_of,
        )
        admitted.started(job.lane_id for job in jobs)

    assert len(jobs) == 5
    assert admitted.again.keys() == {push.id}
    rest, admitted = await claim(one, push, 20)
    assert (len(rest), admitted.again) == (5, {})
