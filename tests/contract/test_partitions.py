"""Partitions stand ready before the first job of their week comes."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from libs.common.ids import first_id_at
from libs.common.store import partitions, settlement
from tests.support import stock

PARENTS = ("jobs", "finished", "attempts", "journal", "messages")
BACK, AHEAD = timedelta(weeks=1), timedelta(weeks=4)


def monday_of(moment):
    day = moment.date() - timedelta(days=moment.weekday())
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


async def bounds(conn):
    """The partitions: (parent, name) and (first id, first id that is too late)."""
    rows = await conn.fetch(
        """
        SELECT inhparent::regclass::text AS parent, relname AS name,
               pg_get_expr(relpartbound, pg_class.oid) AS bound
          FROM pg_class
          JOIN pg_inherits ON inhrelid = pg_class.oid
         WHERE relkind = 'r'
         ORDER BY relname
        """
    )
    found = {}
    for row in rows:
        since, until = re.findall(r"'([0-9a-f-]{36})'", row["bound"])
        found[row["parent"], row["name"]] = (UUID(since), UUID(until))
    return found


async def test_every_week_around_now_has_its_partitions(conn):
    this = monday_of(datetime.now(UTC))
    expected = {}
    for week in range(-1, 5):
        monday = this + timedelta(weeks=week)
        year, number, _ = monday.isocalendar()
        ids = first_id_at(monday), first_id_at(monday + timedelta(weeks=1))
        for parent in PARENTS:
            expected[parent, f"{parent}_{year}w{number:02}"] = ids

    assert await bounds(conn) == expected


async def test_creating_twice_is_harmless(conn):
    before = await bounds(conn)

    assert await partitions.create_ahead(conn, back=BACK, ahead=AHEAD) == 0
    assert await bounds(conn) == before
    # One week more is a partition more for each of them, and again none.
    further = AHEAD + timedelta(weeks=1)
    assert await partitions.create_ahead(conn, back=BACK, ahead=further) == len(PARENTS)
    assert await partitions.create_ahead(conn, back=BACK, ahead=further) == 0


async def test_creating_from_several_connections_at_once_creates_once(database_url):
    conns = [await asyncpg.connect(database_url) for _ in range(4)]
    try:
        created = await asyncio.gather(
            *(
                partitions.create_ahead(conn, back=BACK, ahead=timedelta(weeks=12))
                for conn in conns
            )
        )
    finally:
        for conn in conns:
            await conn.close()

    assert sorted(created) == [0, 0, 0, 8 * len(PARENTS)]


async def test_creating_waits_for_nobody_and_nobody_waits_for_it(database_url, conn):
    """A dump reads for an hour; the house must not stand still meanwhile."""
    line = await stock.open_line(conn)
    dump = await asyncpg.connect(database_url)
    writer = await asyncpg.connect(database_url)
    reading, writing = dump.transaction(), writer.transaction()
    await reading.start()
    await writing.start()
    for parent in PARENTS:
        await dump.execute(f"SELECT * FROM {parent}")
    await stock.create(writer, line)

    further = AHEAD + timedelta(weeks=2)
    async with asyncio.timeout(5), conn.transaction():
        assert await partitions.create_ahead(conn, back=BACK, ahead=further) == 2 * len(
            PARENTS
        )
        # Not even before it is committed.
        await stock.create(writer, line)
        await dump.execute("SELECT * FROM jobs")

    await writing.commit()
    await dump.close()
    await writer.close()


async def test_a_turn_of_the_year_has_its_weeks(conn):
    """2026 has 53 ISO weeks, and the first days of 2027 belong to the last of them."""
    since, until = datetime(2026, 12, 21, tzinfo=UTC), datetime(2027, 1, 12, tzinfo=UTC)
    await conn.execute(
        "SELECT create_partitions($1::timestamptz, $2::timestamptz)", since, until
    )

    names = {name for parent, name in await bounds(conn) if parent == "jobs"}

    assert {f"jobs_{w}" for w in ("2026w52", "2026w53", "2027w01", "2027w02")} <= names


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "America/Los_Angeles"])
async def test_a_week_begins_at_the_same_moment_wherever_the_server_is(
    database_url, zone
):
    conn = await asyncpg.connect(database_url, server_settings={"timezone": zone})
    try:
        # Whoever counts weeks in another zone would find that some are missing, or
        # that they overlap.
        assert await partitions.create_ahead(conn, back=BACK, ahead=AHEAD) == 0
        await partitions.create_ahead(conn, back=BACK, ahead=timedelta(weeks=6))
    finally:
        await conn.close()


async def test_a_job_born_in_any_of_the_coming_weeks_finds_its_partition(conn):
    line = await stock.open_line(conn)
    now = datetime.now(UTC)
    moments = [now - BACK + timedelta(days=day) for day in range(5 * 7 + 1)]
    born = [
        UUID(int=first_id_at(moment).int | 0x7000_8000_0000_0000_0001)
        for moment in moments
    ]
    for id_ in born:
        await stock.create(conn, line, id=id_)

    # It finds the partitions of what comes after it, too.
    for claimed in await stock.claim(conn, line, len(born)):
        await settlement.settle(conn, attempts=[stock.ended(claimed)], actor="pod")

    assert await conn.fetchval("SELECT count(*) FROM finished") == len(born)
    assert await conn.fetchval("SELECT count(*) FROM attempts") == len(born)


async def test_a_job_of_a_week_without_partition_is_refused_and_leaves_nothing(conn):
    line = await stock.open_line(conn)
    far = first_id_at(datetime.now(UTC) + timedelta(weeks=50))

    with pytest.raises(asyncpg.CheckViolationError):
        await stock.create(conn, line, id=far)

    assert await conn.fetchval("SELECT count(*) FROM ready") == 0
