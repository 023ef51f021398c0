"""Limits of endpoints: exact, however many dispatchers claim at once."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from datetime import timedelta
from uuid import UUID

import pytest

from libs.common.ids import new_id
from libs.common.store import (
    claims,
    endpoint_health,
    invariants,
    leases,
    settlement,
)
from libs.common.store.endpoint_health import Outcomes
from tests.support import stock
from tests.support.gates import change, claim, dispatching, retry, trip
from tests.support.rivals import settle


@pytest.fixture
async def connect(database_url):
    """Open connections as dispatchers have them; all are closed in the end."""
    async with AsyncExitStack() as stack:

        async def opened():
            return await stack.enter_async_context(dispatching(database_url))

        yield opened


@pytest.fixture
async def one(connect):
    return await connect()


@pytest.fixture(autouse=True)
async def every_job_is_in_one_place_afterwards(conn):
    yield
    assert await invariants.misplaced(conn) == []
    assert await invariants.unjournaled(conn) == []


@pytest.fixture
async def line(conn):
    """The lane of an endpoint with the limits that everybody has."""
    return await stock.open_endpoint(conn)


# --- who is refused -------------------------------------------------------------------


async def test_an_endpoint_gives_nothing_unless_it_is_admitted(conn, one, line):
    await stock.create(conn, line, 3)

    claimed, refused = await claims.claim(
        one,
        quotas={line.id: 3},
        lease_jobs_max=64,
        owner="dispatcher",
        lease=timedelta(seconds=60),
        payload_bytes_max=100,
    )

    assert (claimed, refused) == ([], {line.id})
    jobs, _ = await claim(one, {line.id: 3})
    assert [(job.endpoint_id, job.endpoint_version) for job in jobs] == [
        (line.endpoint_id, 1)
    ] * 3


@pytest.mark.parametrize("deleted", [False, True])
async def test_a_disabled_endpoint_gives_nothing(conn, one, line, deleted):
    await stock.create(conn, line, 3)
    if deleted:
        await conn.execute("UPDATE endpoints SET deleted_at = now()")
    else:
        await conn.execute(
            "UPDATE endpoints"
            "   SET enabled = false, disabled_reason = 'gone', disabled_at = now()"
        )

    jobs, admitted = await claim(one, {line.id: 3})
    assert (jobs, admitted.again) == ([], {})
    # Not even to who was admitted a moment before.
    jobs, refused = await claims.claim(
        one,
        quotas={line.id: 3},
        lease_jobs_max=64,
        owner="dispatcher",
        lease=timedelta(seconds=60),
        payload_bytes_max=100,
        admitted=[line.id],
    )
    assert (jobs, refused) == ([], set())
    assert (await claims.ready_lanes(one, after=0, limit=10)).lanes == []


async def test_an_endpoint_that_is_no_more_gives_nothing(conn, one, line):
    await stock.create(conn, line, 3)
    await conn.execute("DELETE FROM endpoints")

    jobs, admitted = await claim(one, {line.id: 3})

    assert (jobs, admitted.again) == ([], {})
    assert (await claims.ready_lanes(one, after=0, limit=10)).lanes == []


async def test_the_limits_of_queue_and_endpoint_count_both(conn, one, line):
    await stock.create(conn, line, 20)
    await conn.execute(
        "INSERT INTO queues (id, organization_id, name, settings)"
        " VALUES ($1, $2, 'webhooks', '{\"concurrency\": 4}')",
        new_id(),
        line.organization_id,
    )

    assert len((await claim(one, {line.id: 20}))[0]) == 4

    await conn.execute("UPDATE queues SET settings = '{\"concurrency\": 40}'")
    assert len((await claim(one, {line.id: 20}))[0]) == 6
    await conn.execute("UPDATE queues SET settings = '{\"paused\": true}'")
    await change(conn, line, max_concurrency=20)
    assert len((await claim(one, {line.id: 20}))[0]) == 0


# --- concurrency ----------------------------------------------------------------------


async def test_one_concurrency_holds_over_all_lanes_of_an_endpoint(conn, one, line):
    other = await stock.open_endpoint(
        conn,
        organization_id=line.organization_id,
        queue_name="mail",
        endpoint_id=line.endpoint_id,
    )
    for each in (line, other):
        await stock.create(conn, each, 20)

    first, _ = await claim(one, {line.id: 7})
    both, admitted = await claim(one, {line.id: 20, other.id: 20})

    assert (len(first), Counter(job.lane_id for job in both)) == (
        7,
        {line.id: 2, other.id: 1},
    )
    # Who waits for a place is told, not woken by the clock.
    assert admitted.again == {}
    closed = await settle(one, *first)
    assert all(job.limited for job in closed)
    room = await settlement.find_room(one, lanes={line.id})
    assert room == {line.id: True, other.id: True}


async def test_three_dispatchers_never_have_more_out_than_the_endpoint_allows(
    conn, line, connect
):
    await stock.create(conn, line, 150)
    await retry(conn, line, 150)
    await change(conn, line, max_concurrency=7)
    seen: list[int] = []
    done = 0

    async def dispatch():
        nonlocal done
        mine = await connect()
        while done < 300:
            jobs, _ = await claim(mine, {line.id: 5, line.retry_id: 5})
            seen.append(await mine.fetchval("SELECT count(*) FROM leased"))
            if jobs:
                await settle(mine, *jobs)
                done += len(jobs)

    await asyncio.gather(*(dispatch() for _ in range(3)))

    assert max(seen) == 7


async def test_dispatchers_that_claim_settle_and_note_never_lock_each_other_out(
    conn, connect
):
    lines = [await stock.open_endpoint(conn, max_concurrency=5) for _ in range(4)]
    for line in lines:
        await stock.create(conn, line, 60)
        await retry(conn, line, 60)
    lanes = [lane for line in lines for lane in (line.id, line.retry_id)]
    done: Counter[UUID] = Counter()

    async def dispatch(number):
        mine = await connect()
        order = lanes[number:] + lanes[:number]
        while done.total() < 480:
            jobs, _ = await claim(mine, dict.fromkeys(order, 3))
            if not jobs:
                continue
            async with mine.transaction():
                await settle(mine, *jobs)
                told = Counter(job.endpoint_id for job in jobs if job.endpoint_id)
                outcomes = [
                    Outcomes(
                        endpoint_id=id_, url_version=1, succeeded=count, duration_ms=1.0
                    )
                    for id_, count in told.items()
                ]
                await endpoint_health.lock_health(mine, endpoint_ids=told)
                await endpoint_health.note_outcomes(mine, outcomes=outcomes)
            done.update(told)

    await asyncio.gather(*(dispatch(number) for number in range(4)))

    assert done == {line.endpoint_id: 120 for line in lines}
    counted = await conn.fetch(
        "SELECT endpoint_id, sum(succeeded) AS jobs FROM endpoint_minutes GROUP BY 1"
    )
    assert {row["endpoint_id"]: row["jobs"] for row in counted} == done


# --- rate -----------------------------------------------------------------------------


async def test_three_dispatchers_share_one_rate(conn, line, connect):
    await stock.create(conn, line, 600)
    await change(conn, line, max_concurrency=10_000, rate_limit_per_second=100.0)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    started = 0

    async def dispatch():
        nonlocal started
        mine = await connect()
        while loop.time() < begun + 1.5 or started < 200:
            jobs, admitted = await claim(mine, {line.id: 7})
            started += len(jobs)
            await asyncio.sleep(max(admitted.again.values(), default=0))

    await asyncio.gather(*(dispatch() for _ in range(3)))

    # The burst of a second, and what the clock gave since.
    assert started <= 100 + 100 * (loop.time() - begun) + 1


@pytest.mark.parametrize(
    ("rate", "burst", "again"),
    [(0.1, 1, 10), (0.3, 1, 10 / 3), (1.0, 1, 1), (2.5, 2, 0.2), (7.0, 7, 1 / 7)],
)
async def test_rates_below_one_and_between(conn, one, line, rate, burst, again):
    await stock.create(conn, line, 10)
    await change(conn, line, rate_limit_per_second=rate)

    jobs, admitted = await claim(one, {line.id: 10})
    assert len(jobs) == burst
    assert 0 < admitted.again[line.id] <= again + 0.001

    jobs, admitted = await claim(one, {line.id: 10})
    assert len(jobs) == 0
    assert 0 < admitted.again[line.id] <= again + 0.001

    await trip(conn, line, rate_spent_until=f"now() + interval '1 s' * {burst / rate}")
    await trip(
        conn,
        line,
        rate_spent_until=f"rate_spent_until - interval '1 s' * {again}",
    )
    assert len((await claim(one, {line.id: 10}))[0]) == 1


# --- breaker and throttle -------------------------------------------------------------


@pytest.mark.parametrize("what", ["open_until", "throttled_until"])
async def test_nothing_passes_while_the_breaker_is_open(conn, one, line, what):
    await stock.create(conn, line, 3)
    await trip(conn, line, **{what: "now() + interval '5 s'"})

    jobs, admitted = await claim(one, {line.id: 3})

    assert jobs == []
    assert 4 < admitted.again[line.id] <= 5
    await trip(conn, line, throttled_until="now() - interval '1 s'", open_until="NULL")
    assert len((await claim(one, {line.id: 3}))[0]) == 3


async def test_one_probe_at_a_time_while_the_endpoint_is_on_trial(conn, line, connect):
    await stock.create(conn, line, 30)
    await retry(conn, line, 30)
    await trip(conn, line, open_until="now() - interval '1 s'")
    rivals = [await connect() for _ in range(3)]

    for _ in range(3):
        claimed = await asyncio.gather(
            *(claim(each, {line.id: 10, line.retry_id: 10}) for each in rivals)
        )
        jobs = [job for jobs, _ in claimed for job in jobs]
        assert len(jobs) == 1
        # Not tried after all: so somebody else may.
        await settle(conn, *jobs, how="released")

    # Nor while what began before is under way.
    await trip(conn, line, open_until="NULL")
    jobs, _ = await claim(rivals[0], {line.id: 2})
    await trip(conn, line, open_until="now() - interval '1 s'")
    assert (await claim(rivals[1], {line.id: 2}))[0] == []
    await settle(conn, *jobs)
    assert len((await claim(rivals[1], {line.id: 2}))[0]) == 1


async def test_a_probe_that_died_makes_room_for_the_next(conn, one, line):
    await stock.create(conn, line, 3)
    await trip(conn, line, open_until="now() - interval '1 s'")
    assert len((await claim(one, {line.id: 3}))[0]) == 1
    await conn.execute("UPDATE leases SET deadline = now() - interval '1 s'")

    await leases.recover(conn, limit=10)

    assert len((await claim(one, {line.id: 3}))[0]) == 1
