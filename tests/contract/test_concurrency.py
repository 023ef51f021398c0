"""What two connections may do to each other, step by step and all at once."""

import asyncio
import random
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from libs.common.db import BY_KEY
from libs.common.store import (
    interventions,
    invariants,
    jobs,
    leases,
    timers,
)
from tests.support import stock
from tests.support.rivals import blocked, cancel, place_of, run_out, settle, undecided


@pytest.fixture
async def connect(database_url):
    """Open connections as the dispatcher has them; all are closed in the end."""
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
async def line(conn):
    return await stock.open_line(conn)


# --- two verdicts ---------------------------------------------------------------------


@pytest.mark.parametrize("first_wins", [True, False])
async def test_of_two_settlements_of_one_lease_one_wins(
    conn, line, one, other, first_wins
):
    await stock.create(conn, line)
    [claimed] = await stock.claim(conn, line)

    async with undecided(one) as transaction:
        assert len(await settle(one, claimed)) == 1
        second = await blocked(conn, settle(other, claimed, how="retrying"))
        await (transaction.commit() if first_wins else transaction.rollback())

    closed = await asyncio.wait_for(second, 5)
    assert len(closed) == (0 if first_wins else 1)
    place = "finished" if first_wins else "scheduled"
    assert await place_of(conn, claimed.job_id) == place


async def test_overlapping_settlements_meet_in_one_order(conn, line, connect):
    """Both are told in the opposite order; both hold what the other wants."""
    for _ in range(10):
        await stock.create(conn, line, 60)
        claimed = await stock.claim(conn, line, 60)
        one, other = await connect(), await connect()

        first, second = await asyncio.gather(
            settle(one, *claimed[:50]), settle(other, *reversed(claimed[10:]))
        )

        closed = sorted(each.job_id for each in [*first, *second])
        assert closed == sorted(each.job_id for each in claimed)


async def test_a_settlement_waits_for_the_jobs_before_it_and_no_others(
    conn, line, one, other
):
    """Locks are taken in the order of ids, so that a circle cannot close."""
    await stock.create(conn, line, 3)
    claimed = sorted(await stock.claim(conn, line, 3), key=lambda each: each.job_id)
    low, middle, high = claimed

    async with undecided(one):
        await settle(one, middle)
        waiting = await blocked(conn, settle(other, high, middle, low))
        async with undecided(conn):
            # The one that waits has taken what comes before, and nothing after.
            assert len(await settle(conn, high)) == 1
            with pytest.raises(asyncpg.LockNotAvailableError):
                await conn.execute(
                    "SELECT FROM leased WHERE job_id = $1 FOR UPDATE NOWAIT", low.job_id
                )

    assert len(await asyncio.wait_for(waiting, 5)) == 3


# --- the dead and the living ----------------------------------------------------------


async def test_a_verdict_under_way_is_not_recovered(conn, line, one, other):
    await stock.create(conn, line)
    [claimed] = await stock.claim(conn, line)
    await run_out(conn)

    async with undecided(one) as transaction:
        await settle(one, claimed)
        recovering = await blocked(conn, leases.recover(other, limit=10))
        await transaction.commit()

    assert await asyncio.wait_for(recovering, 5) == ([], False)
    assert await place_of(conn, claimed.job_id) == "finished"


async def test_a_verdict_that_comes_while_its_job_is_recovered_is_stale(
    conn, line, one, other
):
    await stock.create(conn, line)
    [claimed] = await stock.claim(conn, line)
    await run_out(conn)

    async with undecided(one) as transaction:
        assert len((await leases.recover(one, limit=10))[0]) == 1
        settling = await blocked(conn, settle(other, claimed))
        await transaction.commit()

    assert await asyncio.wait_for(settling, 5) == []
    assert await place_of(conn, claimed.job_id) == "ready"


async def test_a_lease_renewed_in_time_is_not_recovered(conn, line, one, other):
    await stock.create(conn, line)
    [claimed] = await stock.claim(conn, line)
    await run_out(conn)

    async with undecided(one) as transaction:
        await leases.renew(
            one, lease_ids=[claimed.lease_id], lease=timedelta(seconds=9)
        )
        # Whoever recovers steps around it.
        assert (await leases.recover(other, limit=10))[0] == []
        await transaction.commit()

    assert (await leases.recover(other, limit=10))[0] == []
    assert len(await settle(other, claimed)) == 1


async def test_a_renewal_that_comes_too_late_says_so(conn, line, one, other):
    await stock.create(conn, line)
    [claimed] = await stock.claim(conn, line)
    await run_out(conn)
    renewal = leases.renew(
        other, lease_ids=[claimed.lease_id], lease=timedelta(seconds=9)
    )

    async with undecided(one) as transaction:
        await leases.recover(one, limit=10)
        renewing = await blocked(conn, renewal)
        await transaction.commit()

    assert await asyncio.wait_for(renewing, 5) == set()


async def test_two_renewals_of_one_lease_both_count(conn, line, one, other):
    await stock.create(conn, line)
    [claimed] = await stock.claim(conn, line, seconds=1)

    def renew(via, seconds):
        return leases.renew(
            via, lease_ids=[claimed.lease_id], lease=timedelta(seconds=seconds)
        )

    async with undecided(one) as transaction:
        await renew(one, 50)
        second = await blocked(conn, renew(other, 90))
        await transaction.commit()

    assert await asyncio.wait_for(second, 5) == {claimed.lease_id}
    left = await conn.fetchval(
        "SELECT extract(epoch FROM deadline - now()) FROM leases"
    )
    assert left > 60


@pytest.mark.parametrize("verb", ["recover", "promote", "expire"])
async def test_what_two_janitors_do_at_once_is_done_once(conn, line, one, other, verb):
    past = datetime.now(UTC) + timedelta(seconds=0.3)
    await stock.create(conn, line, 40, run_at=past if verb == "promote" else None)
    if verb == "recover":
        await stock.claim(conn, line, 40, lease_jobs_max=4)
        await run_out(conn)
    if verb == "promote":
        await conn.execute("UPDATE scheduled SET run_at = run_at - interval '1 hour'")
    if verb == "expire":
        await conn.execute(
            "INSERT INTO expiries SELECT now() - interval '1 hour', id FROM jobs"
        )

    async def turn(via):
        match verb:
            case "recover":
                return len((await leases.recover(via, limit=6))[0])
            case "promote":
                return sum(
                    lane.jobs for lane in await timers.promote_due(via, limit=25)
                )
            case _:
                return len((await timers.expire(via, limit=25)).job_ids)

    async with undecided(one) as transaction:
        first = await turn(one)
        second = await asyncio.wait_for(turn(other), 5)
        await transaction.commit()

    assert (first, second) == ((24, 16) if verb == "recover" else (25, 15))


async def test_what_is_promoted_while_it_expires_expires_later(conn, line, one, other):
    soon = datetime.now(UTC) + timedelta(hours=1)
    [job_id] = await stock.create(conn, line, run_at=soon, expires_at=soon)
    await conn.execute("UPDATE scheduled SET run_at = now()")
    await conn.execute("UPDATE expiries SET expires_at = now()")

    async with undecided(one) as transaction:
        await timers.promote_due(one, limit=10)
        expiring = await blocked(conn, timers.expire(other, limit=10))
        await transaction.commit()

    assert (await asyncio.wait_for(expiring, 5)).job_ids == []
    assert await place_of(conn, job_id) == "ready"
    assert (await timers.expire(other, limit=10)).job_ids == [job_id]


# --- by hand --------------------------------------------------------------------------


async def test_who_cancels_what_is_being_claimed_comes_too_late(conn, line, one, other):
    [job_id] = await stock.create(conn, line)

    async with undecided(one) as transaction:
        await stock.claim(one, line)
        cancelling = await blocked(conn, cancel(other, line, job_id))
        await transaction.commit()

    assert await asyncio.wait_for(cancelling, 5) is None
    assert await place_of(conn, job_id) == "leased"


async def test_what_is_being_cancelled_is_not_claimed(conn, line, one, other):
    [job_id] = await stock.create(conn, line)

    async with undecided(one) as transaction:
        assert await cancel(one, line, job_id)
        assert await asyncio.wait_for(stock.claim(other, line), 5) == []
        await transaction.commit()

    assert await place_of(conn, job_id) == "finished"


async def test_a_dead_letter_is_requeued_or_purged_but_not_both(conn, line, one, other):
    await stock.create(conn, line, 6)
    claimed = await stock.claim(conn, line, 6)
    await settle(conn, *claimed, how="deadlettered")
    chosen = {
        "organization_id": line.organization_id,
        "job_ids": [each.job_id for each in claimed],
        "actor": "key",
    }

    async with undecided(one) as transaction:
        requeued = await interventions.requeue(
            one, **{**chosen, "job_ids": chosen["job_ids"][:4]}
        )
        purged = await asyncio.wait_for(interventions.purge(other, **chosen), 5)
        await transaction.commit()

    assert (len(requeued), purged.jobs) == (4, 2)
    assert await conn.fetchval("SELECT count(*) FROM jobs") == 4


# --- idempotency keys -----------------------------------------------------------------


async def test_of_many_creates_with_one_key_one_makes_the_job(conn, line, connect):
    conns = [await connect() for _ in range(20)]
    wanted = [stock.new_job(line, idempotency_key="once") for _ in conns]

    created = await asyncio.gather(
        *(jobs.create(via, jobs=[job]) for via, job in zip(conns, wanted, strict=True))
    )

    [winner] = set().union(*created)
    holders = await jobs.find_by_keys(conn, keys=[(line.organization_id, "once")])
    assert [holder.job_id for holder in holders.values()] == [winner]
    assert await conn.fetchval("SELECT count(*) FROM jobs") == 1
    assert await conn.fetchval("SELECT count(*) FROM journal") == 1


@pytest.mark.parametrize("kept", [True, False])
async def test_who_comes_second_with_a_key_waits_for_the_first(
    conn, line, one, other, kept
):
    first = stock.new_job(line, idempotency_key="once")
    second = stock.new_job(line, idempotency_key="once")

    async with undecided(one) as transaction:
        await jobs.create(one, jobs=[first])
        creating = await blocked(conn, jobs.create(other, jobs=[second]))
        await (transaction.commit() if kept else transaction.rollback())

    assert await asyncio.wait_for(creating, 5) == (set() if kept else {second.id})


async def test_batches_with_the_same_keys_in_another_order_meet_in_one_order(
    line, one, other
):
    for turn in range(10):
        keys = [f"{turn}-{number}" for number in range(30)]
        random.Random(turn).shuffle(keys)
        batches = [
            [stock.new_job(line, idempotency_key=key) for key in order]
            for order in (keys, keys[::-1])
        ]

        created = await asyncio.gather(
            jobs.create(one, jobs=batches[0]), jobs.create(other, jobs=batches[1])
        )

        assert sorted(len(each) for each in created) in ([0, 30], [15, 15])
        assert sum(len(each) for each in created) == 30


async def test_one_key_means_two_jobs_to_two_organizations(conn, line, one, other):
    stranger = await stock.open_line(conn)

    created = await asyncio.gather(
        jobs.create(one, jobs=[stock.new_job(line, idempotency_key="once")]),
        jobs.create(other, jobs=[stock.new_job(stranger, idempotency_key="once")]),
    )

    assert [len(each) for each in created] == [1, 1]


# --- everything at once ---------------------------------------------------------------


async def keep(conn, line, claimed):
    """Let the worker ``pod`` keep its jobs."""
    renewals = [
        stock.renewal(line, each, owner="pod") for each in claimed if not line.push
    ]
    await leases.renew_work(conn, renewals=renewals)


async def take_from_workers(conn, line, turn):
    """Recover what ran out; now and then the worker ``pod`` leaves, or falls silent."""
    organization_id = line.organization_id
    await leases.recover_work(conn, limit=5)
    if turn % 8 == 0:
        await leases.release_work(conn, organization_id=organization_id, owner="pod")
    if turn % 8 == 4:
        await leases.expire_leases_of(conn, workers=[(organization_id, "pod")])


async def test_nothing_is_lost_when_everybody_works_at_once(conn, line, connect):
    """No deadlock, no job twice, none lost: whoever does what, and as often."""
    worker_line = await stock.open_line(conn, push=False)
    luck = random.Random(5)
    ids = []

    async def creator(via):
        for _ in range(15):
            for each in (line, worker_line):
                ids.extend(await stock.create(via, each, 10))

    async def worker(via):
        for turn in range(40):
            each = luck.choice([line, worker_line])
            claimed = await stock.claim(via, each, 20, lease_jobs_max=7)
            how = ("completed", "retrying", "deadlettered", "released")[turn % 4]
            told = [*claimed, *luck.choices(claimed, k=3)] if claimed else []
            luck.shuffle(told)
            await keep(via, each, told)
            await settle(via, *told[: len(told) // 2], how=how, line=each)
            await settle(via, *told, how="completed", line=each)

    async def janitor(via):
        for turn in range(40):
            await via.execute(
                "UPDATE scheduled SET run_at = now() WHERE run_at > now()"
            )
            await timers.promote_due(via, limit=20)
            await timers.expire(via, limit=20)
            await leases.grant_grace(via, grace=timedelta(seconds=1))
            await leases.recover(via, limit=5)
            await take_from_workers(via, worker_line, turn)

    actors = [creator, creator, worker, worker, worker, janitor, janitor]
    async with asyncio.TaskGroup() as group:
        for actor in actors:
            group.create_task(actor(await connect()))

    assert await conn.fetchval("SELECT count(*) FROM jobs") == len(ids) == 600
    assert await conn.fetchval("SELECT count(*) FROM places") == 600
