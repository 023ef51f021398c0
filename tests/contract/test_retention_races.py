"""A week changes places under whoever works on its jobs, and loses none of them."""

import asyncio
import random
from contextlib import AsyncExitStack
from datetime import timedelta

import asyncpg
import pytest

from libs.common.db import BY_KEY
from libs.common.store import invariants, leaders, retention
from libs.common.store.retention import Sweep
from services.scheduler import sweeping
from tests.support import aging, stock
from tests.support.aging import age, create_old, finish, found, retaining
from tests.support.rivals import undecided

LONG_AGO = timedelta(days=150)
RECENT = timedelta(days=7)
WEEK = aging.monday(20)
ROUNDS = 4
#: Which table a week is.
TABLE = "SELECT partition_of('jobs', $1)::regclass::oid"
#: How many rows this connection has read lately.
READ = """
    SELECT coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0)::int
      FROM pg_stat_xact_user_tables
"""
#: Of five jobs: body, place, attempt, transitions, each looked at a few times.
ROWS_MAX = 100


@pytest.fixture
async def connect(database_url):
    async with AsyncExitStack() as stack:

        async def opened():
            conn = await asyncpg.connect(
                database_url, server_settings={"jit": "off", **BY_KEY}
            )
            stack.push_async_callback(conn.close)
            return conn

        yield opened


@pytest.fixture(autouse=True)
async def the_house_is_in_order_afterwards(conn):
    yield
    assert await invariants.misplaced(conn) == []
    assert await invariants.unjournaled(conn) == []


async def an_old_week(conn, *, over, living):
    """A week of long ago; returns the line, and who is over and who is not."""
    await aging.open_weeks(conn, 20)
    line = await stock.open_line(
        conn, organization_id=await found(conn), push=False, queue_name="work"
    )
    done = await create_old(conn, line, 20, over)
    await finish(conn, line, done)
    rest = await create_old(conn, line, 20, living)
    await age(conn, [*done, *rest], ago=LONG_AGO)
    return line, done, rest


async def sweep_all(conn, retainer, done):
    """Sweep until these are gone: on a busy machine somebody may be in the way."""
    for _ in range(10):
        await retainer.sweep_due(asyncio.Event())
        await conn.execute("DELETE FROM sweeps")
        there = "SELECT 1 FROM jobs WHERE id = ANY ($1)"
        if not await conn.fetchval(there, done):
            return
    pytest.fail("nothing goes")


async def swept_by(conn, sweeper):
    """A sweep of the old week by somebody who has the duty."""
    assert await leaders.elect(
        conn, duty="sweep", holder=sweeper, lasting=timedelta(seconds=60)
    )
    await retention.put_retentions(
        conn,
        retentions=[
            retention.Retention(row["organization_id"], 90, 90)
            for row in await retention.read_plans(conn)
        ],
    )
    now = await conn.fetchval("SELECT now()")
    return Sweep(sweeper, WEEK, now, now - RECENT)


@pytest.mark.parametrize("seed", range(3))
async def test_claims_settlements_and_retries_go_on_meanwhile(
    conn, connect, database_url, seed
):
    line, done, rest = await an_old_week(conn, over=200, living=120)
    quiet = await stock.open_line(conn, organization_id=line.organization_id)
    luck = random.Random(seed)
    busy = asyncio.Event()
    moves = 0
    tables = {await conn.fetchval(TABLE, WEEK)}

    async def work():
        nonlocal moves
        mine = await connect()
        while not busy.is_set():
            for claimed in await stock.claim(mine, line, luck.randrange(1, 4)):
                # What was claimed has its body, always.
                assert claimed.payload is not None
                how = luck.choice(["completed", "retrying", "retrying"])
                soon = {"delay_seconds": 0.0} if how == "retrying" else {}
                ended = stock.worked(line, claimed, how, owner="pod", **soon)
                await aging.settle_all(mine, [ended])
                moves += 1
            await aging.promote(mine)
            await asyncio.sleep(luck.uniform(0.01, 0.08))

    workers = [asyncio.create_task(work()) for _ in range(2)]
    async with retaining(database_url) as retainer:
        for _ in range(ROUNDS):
            await sweep_all(conn, retainer, done)
            tables.add(await conn.fetchval(TABLE, WEEK))
            done = await create_old(conn, quiet, 20, 200)
            for _ in range(4):
                await aging.settle(conn, quiet, await stock.claim(conn, quiet, 50))
            await age(conn, done, ago=LONG_AGO)
    busy.set()
    await asyncio.gather(*workers)

    left = await conn.fetch("SELECT id FROM jobs ORDER BY id")
    assert [row["id"] for row in left] == sorted([*rest, *done])
    attempts = await conn.fetchval("SELECT count(*) FROM attempts")
    assert attempts - len(done) == moves > 0
    assert len(tables) > 1


async def test_what_moves_after_it_was_copied_is_copied_again(conn, connect):
    line, done, rest = await an_old_week(conn, over=5, living=2)
    sweep = await swept_by(conn, "one")
    mark, _ = await retention.begin_sweep(conn, sweep=sweep)
    mark, _ = await retention.choose_moved(conn, monday=WEEK, mark=mark)
    await retention.gather(conn, sweep=sweep, job_ids=[*done, *rest])
    async with undecided(other := await connect()):
        (claimed,) = await stock.claim(other, line)
        # Nobody has committed yet, but somebody has the tables.
        assert await retention.swap_week(conn, sweep=sweep, mark=mark) == "refused"

    await stock.claim(conn, line)
    assert await retention.swap_week(conn, sweep=sweep, mark=mark) == "moved"
    mark, moved = await retention.choose_moved(conn, monday=WEEK, mark=mark)
    assert moved == [claimed.job_id]
    await retention.gather(conn, sweep=sweep, job_ids=moved)

    assert await retention.swap_week(conn, sweep=sweep, mark=mark) == "swapped"
    said = await conn.fetch(
        "SELECT transition::text FROM journal WHERE job_id = $1 ORDER BY seq",
        claimed.job_id,
    )
    assert [row["transition"] for row in said] == ["created", "started"]


async def test_who_lost_the_duty_can_copy_and_change_nothing_any_more(conn):
    _, done, rest = await an_old_week(conn, over=5, living=2)
    sweep = await swept_by(conn, "one")
    mark, _ = await retention.begin_sweep(conn, sweep=sweep)
    await conn.execute("UPDATE leaders SET expires_at = now() - interval '1 s'")
    other = await swept_by(conn, "two")

    for late in (
        retention.begin_sweep(conn, sweep=sweep),
        retention.gather(conn, sweep=sweep, job_ids=[*done, *rest]),
        retention.forget_past(conn, sweep=sweep, job_ids=done),
        retention.swap_week(conn, sweep=sweep, mark=mark),
    ):
        with pytest.raises(asyncpg.SerializationError):
            await late
    # The next one begins anew, whatever was left.
    mark, _ = await retention.begin_sweep(conn, sweep=other)
    mark, _ = await retention.choose_moved(conn, monday=WEEK, mark=mark)
    await retention.gather(conn, sweep=other, job_ids=[*done, *rest])
    assert await retention.swap_week(conn, sweep=other, mark=mark) == "swapped"


async def test_a_view_from_before_the_copies_is_waited_for(conn, connect):
    _, done, rest = await an_old_week(conn, over=5, living=2)
    sweep = await swept_by(conn, "one")
    await retention.begin_sweep(conn, sweep=sweep)
    reader = await connect()
    async with reader.transaction(isolation="repeatable_read"):
        await reader.fetch("SELECT 1 FROM leaders")
        xid = await retention.gather(conn, sweep=sweep, job_ids=[*done, *rest])
        assert not await retention.is_seen_by_all(conn, xid=xid)

    assert await retention.is_seen_by_all(conn, xid=xid)
    await conn.execute(
        "DROP TABLE kept_jobs, kept_finished, kept_attempts, kept_journal"
    )


async def test_nothing_changes_places_while_an_organization_is_erased(conn):
    _, done, rest = await an_old_week(conn, over=5, living=2)
    sweep = await swept_by(conn, "one")
    mark, _ = await retention.begin_sweep(conn, sweep=sweep)
    mark, _ = await retention.choose_moved(conn, monday=WEEK, mark=mark)
    await retention.gather(conn, sweep=sweep, job_ids=[*done, *rest])

    await conn.execute("UPDATE organizations SET erased_at = now()")
    assert await retention.swap_week(conn, sweep=sweep, mark=mark) == "erasing"
    await conn.execute("DELETE FROM organizations")
    assert await retention.swap_week(conn, sweep=sweep, mark=mark) == "erasing"


async def test_a_step_reads_what_it_needs_and_no_more(conn, connect):
    """However much there is in the week, and however many letters are dead."""
    line, done, _ = await an_old_week(conn, over=1500, living=2)
    for _ in range(6):
        await create_old(conn, line, 20, 50)
        claimed = await stock.claim(conn, line, 50)
        letters = [
            stock.worked(line, each, "deadlettered", owner="pod") for each in claimed
        ]
        await aging.settle_all(conn, letters)
    sweep = await swept_by(conn, "one")
    mark, _ = await retention.begin_sweep(conn, sweep=sweep)
    await conn.execute("ANALYZE")
    now, _ = await retention.choose_moved(conn, monday=WEEK, mark=mark)
    few = done[-5:]
    steps = {
        "choose_ids": lambda conn: retention.choose_ids(
            conn, monday=WEEK, after=done[-6], limit=5
        ),
        "count_past": lambda conn: retention.count_past(conn, sweep=sweep, job_ids=few),
        "gather": lambda conn: retention.gather(conn, sweep=sweep, job_ids=few),
        "choose_moved": lambda conn: retention.choose_moved(
            conn, monday=WEEK, mark=now
        ),
        "forget_past": lambda conn: retention.forget_past(
            conn, sweep=sweep, job_ids=few
        ),
        "swap_week": lambda conn: retention.swap_week(conn, sweep=sweep, mark=mark),
    }
    by_key = await connect()

    read = {}
    for step, run in steps.items():
        transaction = by_key.transaction()
        await transaction.start()
        before = await by_key.fetchval(READ)
        await run(by_key)
        read[step] = await by_key.fetchval(READ) - before
        await transaction.rollback()

    assert {step: rows for step, rows in read.items() if rows > ROWS_MAX} == {}


async def test_who_dies_between_copies_leaves_nothing_that_matters(
    conn, database_url, monkeypatch
):
    """The next one begins anew when the duty is free; until then nobody sweeps."""
    _, done, rest = await an_old_week(conn, over=5, living=2)
    gather, copied = retention.gather, asyncio.Event()

    async def die(*arguments, **more):
        await gather(*arguments, **more)
        copied.set()
        await asyncio.Event().wait()

    with monkeypatch.context() as patch:
        patch.setattr(retention, "gather", die)
        async with retaining(database_url) as retainer:
            dying = asyncio.create_task(retainer.sweep_due(asyncio.Event()))
            await copied.wait()
            dying.cancel()
            with pytest.raises(asyncio.CancelledError):
                await dying
    assert await conn.fetchval("SELECT count(*) FROM kept_jobs") == len(rest)
    # A process that is killed gives nothing back.
    await conn.execute(
        "UPDATE leaders SET holder = 'dead', expires_at = now() + interval '1 minute'"
        " WHERE duty = 'sweep'"
    )
    async with retaining(database_url) as retainer:
        await retainer.sweep_due(asyncio.Event())
        assert await conn.fetchval("SELECT count(*) FROM jobs") == len(done + rest)
        await conn.execute("UPDATE leaders SET expires_at = now()")
        await retainer.sweep_due(asyncio.Event())

    left = await conn.fetch("SELECT id FROM jobs ORDER BY id")
    assert [row["id"] for row in left] == rest
    assert await conn.fetchval("SELECT to_regclass('kept_jobs')") is None


async def test_nothing_is_copied_while_somebody_reads_for_long(
    conn, connect, database_url, monkeypatch
):
    _, done, rest = await an_old_week(conn, over=5, living=2)
    monkeypatch.setattr(sweeping, "_SEEN_SECONDS_MAX", 0.2)
    reader = await connect()
    async with retaining(database_url) as retainer:
        async with reader.transaction(isolation="repeatable_read"):
            await reader.fetch("SELECT 1 FROM leaders")
            await retainer.sweep_due(asyncio.Event())
            assert await conn.fetchval("SELECT count(*) FROM kept_jobs") == 0
        assert await conn.fetchval("SELECT count(*) FROM jobs") == len(done + rest)
        await retainer.sweep_due(asyncio.Event())

    assert await conn.fetchval("SELECT count(*) FROM jobs") == len(rest)


async def test_a_week_that_never_rests_shrinks_all_the_same(
    conn, database_url, monkeypatch
):
    _, _, rest = await an_old_week(conn, over=5, living=2)

    async def swap_week(*_, **__):
        return "moved"

    monkeypatch.setattr(retention, "swap_week", swap_week)
    async with retaining(database_url) as retainer:
        await retainer.sweep_due(asyncio.Event())

    left = await conn.fetch("SELECT id FROM jobs ORDER BY id")
    assert [row["id"] for row in left] == rest
