"""What is over goes by the week; what is not stays whole and goes on."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest

from libs.common.store import (
    announcing,
    interventions,
    invariants,
    missed,
    partitions,
    retention,
)
from libs.common.store.journal import Position
from libs.common.store.retention import Week
from services.scheduler.retention import due
from tests.support import aging, stock
from tests.support.aging import age, create_old, finish, found, retaining

LONG_AGO = timedelta(days=150)
PLACES = ("jobs", "finished", "attempts", "journal")
ROOT = Path(__file__).parents[2]
BODIES = "SELECT * FROM jobs WHERE id = ANY ($1) ORDER BY id"


@pytest.fixture(autouse=True)
async def the_house_is_in_order_afterwards(conn):
    yield
    assert await invariants.misplaced(conn) == []
    assert await invariants.unjournaled(conn) == []
    assert await invariants.forgotten(conn) == []
    assert await invariants.out_of_turn(conn) == []
    left = await conn.fetch(
        "SELECT relname FROM pg_class WHERE relname ^@ 'kept_' AND relkind = 'r'"
    )
    assert left == []


async def sweep(database_url, **how):
    async with retaining(database_url, **how) as retainer:
        await retainer.sweep_due(asyncio.Event())


async def rows_of(conn, ids):
    """How many rows of these jobs there are, in each table that has a week's."""
    return {
        table: await conn.fetchval(
            f"SELECT count(*) FROM {table}"
            f" WHERE {'id' if table == 'jobs' else 'job_id'} = ANY ($1)",
            ids,
        )
        for table in PLACES
    }


async def weeks(conn):
    return [week.monday for week in await retention.list_weeks(conn)]


NOTHING = dict.fromkeys(PLACES, 0)


async def test_what_the_operator_says_of_a_plan_holds(conn, database_url):
    await aging.open_weeks(conn, 3)
    line = await stock.open_line(conn, organization_id=await found(conn))
    ids = await create_old(conn, line, 3, 3)
    await finish(conn, line, ids)
    await age(conn, ids, ago=timedelta(days=19))

    await sweep(database_url)
    assert (await rows_of(conn, ids))["jobs"] == 3

    days = {"job_retention_days": 18, "history_retention_days": 5}
    await conn.execute("DELETE FROM sweeps")
    await sweep(database_url, plan_limits={"enterprise": days})
    assert await rows_of(conn, ids) == NOTHING


async def test_a_week_of_which_nothing_is_to_be_kept_is_no_more(conn, database_url):
    await aging.open_weeks(conn, 20)
    line = await stock.open_line(conn, organization_id=await found(conn))
    ids = await create_old(conn, line, 20, 5, idempotency_key=None)
    await finish(conn, line, ids)
    await age(conn, ids, ago=LONG_AGO)
    before = await weeks(conn)

    await sweep(database_url)

    assert await weeks(conn) == [each for each in before if each != aging.monday(20)]
    for table in PLACES:
        name = await conn.fetchval("SELECT partition_of($1, $2)", table, before[0])
        assert await conn.fetchval("SELECT to_regclass($1)", name) is None


async def test_who_is_not_over_stays_with_body_attempts_and_history(conn, database_url):
    await aging.open_weeks(conn, 20)
    line = await stock.open_line(conn, organization_id=await found(conn))
    over = await create_old(conn, line, 20, 9)
    await finish(conn, line, over)
    (retried,) = await create_old(conn, line, 20)
    await aging.settle(conn, line, await stock.claim(conn, line), "retrying")
    (dead,) = await create_old(conn, line, 20)
    await aging.settle(conn, line, await stock.claim(conn, line), "deadlettered")
    (later,) = await create_old(
        conn, line, 20, run_at=datetime.now(UTC) + timedelta(days=9)
    )
    (leased,) = await create_old(conn, line, 20)
    claimed = await stock.claim(conn, line)
    (ready,) = await create_old(conn, line, 20)
    living = [retried, dead, later, leased, ready]
    await age(conn, [*over, *living], ago=LONG_AGO)
    before = await rows_of(conn, living)
    bodies = await conn.fetch(
        "SELECT * FROM jobs WHERE id = ANY ($1) ORDER BY id", living
    )

    await sweep(database_url)

    assert await rows_of(conn, over) == NOTHING
    assert await rows_of(conn, living) == before
    kept = await conn.fetch(
        "SELECT * FROM jobs WHERE id = ANY ($1) ORDER BY id", living
    )
    assert kept == bodies
    # And all of them go on.
    await aging.settle(conn, line, claimed)
    assert await interventions.requeue(
        conn,
        organization_id=line.organization_id,
        job_ids=[dead],
        queue_names=None,
        actor="key",
    )
    again = await stock.claim(conn, line, 2)
    assert {each.job_id for each in again} == {dead, ready}
    await aging.settle(conn, line, again)
    assert (await rows_of(conn, living))["finished"] == 3


async def test_everybody_keeps_as_long_as_their_plan_says(conn, database_url):
    await aging.open_weeks(conn, 3, 6)
    lines = {
        plan: await stock.open_line(conn, organization_id=await found(conn, plan=plan))
        for plan in ("free", "starter", "pro", "enterprise")
    }
    lines["own"] = await stock.open_line(
        conn,
        organization_id=await found(
            conn, plan="free", job_retention_days=365, history_retention_days=20
        ),
    )
    ids = {}
    for plan, line in lines.items():
        for weeks_ago in (3, 6):
            ids[plan, weeks_ago] = await create_old(conn, line, weeks_ago, 3)
            await finish(conn, line, ids[plan, weeks_ago])
            await age(
                conn, ids[plan, weeks_ago], ago=timedelta(weeks=weeks_ago, days=-2)
            )

    await sweep(database_url)

    left = {whose: await rows_of(conn, those) for whose, those in ids.items()}
    # Created, started, completed.
    whole = dict.fromkeys(PLACES, 3) | {"journal": 9}
    assert left["free", 3] == left["free", 6] == NOTHING
    assert left["starter", 3] == left["starter", 6] == NOTHING
    assert left["pro", 3] == whole
    assert left["pro", 6] == NOTHING
    assert left["enterprise", 3] == left["enterprise", 6] == whole
    assert left["own", 3] == whole
    assert left["own", 6] == whole | {"attempts": 0, "journal": 0}


async def test_what_is_recent_in_the_journal_stays_for_who_was_away(conn, database_url):
    await aging.open_weeks(conn, 20)
    line = await stock.open_line(conn, organization_id=await found(conn))
    over = await create_old(conn, line, 20, 4)
    await finish(conn, line, over)
    (purged,) = await create_old(conn, line, 20)
    await aging.settle(conn, line, await stock.claim(conn, line), "deadlettered")
    await age(conn, [*over, purged], ago=LONG_AGO)
    await interventions.purge(
        conn,
        organization_id=line.organization_id,
        job_ids=[purged],
        actor="key",
    )
    await conn.execute("UPDATE announced SET xid = '9999999', tell_xid = '9999999'")

    await sweep(database_url)

    assert await rows_of(conn, over) == NOTHING
    said = await conn.fetch("SELECT transition::text FROM journal")
    assert [row["transition"] for row in said] == ["purged"]


async def test_who_announces_and_who_comes_back_read_what_they_would_have(
    conn, database_url
):
    await aging.open_weeks(conn, 20)
    line = await stock.open_line(conn, organization_id=await found(conn))
    over = await create_old(conn, line, 20, 9)
    await finish(conn, line, over)
    living = await create_old(conn, line, 20, 3)
    await age(conn, [*over, *living], ago=LONG_AGO)
    since = Position(*await conn.fetchrow("SELECT xid::text, seq FROM announced"))
    await stock.create(conn, line)
    await aging.settle(conn, line, await stock.claim(conn, line, 4), "retrying")

    async def told():
        horizon = await missed.read_horizon(conn)
        page = await missed.read_page(
            conn,
            organization_id=line.organization_id,
            after=since,
            horizon=horizon,
            limit=100,
        )
        news = await announcing.read_unannounced(conn, after=since, limit=100)
        return page.found, news

    before = await told()
    assert [len(each) for each in before] == [9, 9]

    await sweep(database_url)

    assert await rows_of(conn, over) == NOTHING
    assert await told() == before


async def test_nothing_goes_that_was_not_told(conn, database_url):
    await aging.open_weeks(conn, 20)
    line = await stock.open_line(conn, organization_id=await found(conn))
    ids = await create_old(conn, line, 20, 3)
    await finish(conn, line, ids)
    await age(conn, ids, ago=LONG_AGO)
    await conn.execute("UPDATE announced SET tell_xid = '0', tell_seq = 0")

    await sweep(database_url)

    assert (await rows_of(conn, ids))["jobs"] == 3


async def test_who_reads_for_long_is_not_disturbed_and_disturbs_nobody(
    conn, database_url
):
    """A dump has every table locked: the week stays, and goes the next time."""
    await aging.open_weeks(conn, 20)
    line = await stock.open_line(conn, organization_id=await found(conn))
    ids = await create_old(conn, line, 20, 3)
    await finish(conn, line, ids)
    await age(conn, ids, ago=LONG_AGO)
    dump = await asyncpg.connect(database_url)
    reading = dump.transaction()
    await reading.start()
    await dump.execute("LOCK TABLE attempts IN ACCESS SHARE MODE")

    await sweep(database_url)

    assert (await rows_of(conn, ids))["jobs"] == 3
    assert await conn.fetchval("SELECT count(*) FROM kept_jobs") == 0
    await dump.close()
    # What the first one left is of no use any more.
    await sweep(database_url)
    assert await rows_of(conn, ids) == NOTHING
    # The next weeks are created as ever.
    assert await partitions.create_ahead(
        conn, back=timedelta(weeks=21), ahead=timedelta(weeks=4)
    )


def test_a_week_is_due_once_for_every_age_and_again_after_a_week():
    week, recent = aging.monday(0), timedelta(days=7)
    end = datetime(week.year, week.month, week.day, tzinfo=UTC) + timedelta(weeks=1)

    def at(days, **swept):
        then = end + timedelta(days=days)
        return due(Week(week, **swept), {1, 30, 90}, now=then, recent=recent)

    assert [at(days) for days in (-9, 0, 6.9, 7, 29.9, 30, 365)] == [
        *(None, None, None),
        *(1, 1, 30, 90),
    ]
    # Last week's partitions are made anew when they are missing.
    recent = timedelta(0)
    assert [at(days) for days in (6.9, 7)] == [None, 1]
    swept = {"swept_days": 30, "swept_at": end + timedelta(days=31)}
    assert [at(days, **swept) for days in (31, 37.9, 38, 90)] == [None, None, 30, 90]


def tables_of_the_page():
    page = (ROOT / "docs/retention.md").read_text()
    section = page.partition("\n## Every table\n")[2]
    cells = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    return sorted(re.findall(r"`([a-z_]+)`", "".join(cells)))


async def test_every_table_is_named_with_how_long_it_is_kept(conn):
    """Nothing may grow for ever because nobody has thought of it."""
    tables = await conn.fetch(
        "SELECT relname FROM pg_class"
        " WHERE relkind IN ('r', 'p') AND NOT relispartition"
        "   AND relnamespace = 'public'::regnamespace"
    )

    assert sorted(row["relname"] for row in tables) == tables_of_the_page()
