"""Events are read completely and in order, whoever commits when."""

import random

import asyncpg
import pytest

from libs.common.db import BY_KEY
from libs.common.ids import new_id
from libs.common.store import (
    announcing,
    journal,
    organizations,
    settlement,
    tallies,
)
from libs.common.store.announcing import Transitioned
from libs.common.store.journal import Position
from tests.support import stock

START = Position("0", 0)


@pytest.fixture
async def line(conn):
    id_ = new_id()
    await organizations.create_organization(
        conn, id_=id_, name="Acme", slug="acme", billing_email=None, plan_tier="free"
    )
    return await stock.open_line(conn, organization_id=id_)


@pytest.fixture
async def writers(database_url):
    """Five connections that write."""
    conns = [
        await asyncpg.connect(database_url, server_settings={"jit": "off", **BY_KEY})
        for _ in range(5)
    ]
    yield conns
    for conn in conns:
        await conn.close()


async def begun(conn):
    transaction = conn.transaction()
    await transaction.start()
    return transaction


def read(conn, after=START, limit=1000):
    return announcing.read_unannounced(conn, after=after, limit=limit)


def note(conn, before, upto):
    return tallies.count_announced(
        conn, before=before, upto=upto, tallies=[], credits_=[], happened=[]
    )


async def in_journal(conn):
    return {row["seq"] for row in await conn.fetch("SELECT seq FROM journal")}


async def in_notices(conn):
    return {row["seq"] for row in await conn.fetch("SELECT seq FROM notices")}


def seqs(found):
    return [one.position.seq for one in found]


def told(found):
    return [
        (one.entry.job_id, one.entry.transition)
        if isinstance(one, Transitioned)
        else one.event
        for one in found
    ]


async def notice(conn, line):
    """Make something happen that is no transition."""
    await stock.register(conn, line, str(new_id()))


async def test_nothing_is_read_past_a_transaction_that_is_still_open(
    conn, line, writers
):
    slow, quick, *_ = writers
    transaction = await begun(slow)
    [first] = await stock.create(slow, line)
    [second] = await stock.create(quick, line)

    # The later one is committed, and must wait for the earlier one.
    assert await read(conn) == []
    await transaction.commit()

    assert told(await read(conn)) == [(first, "created"), (second, "created")]


async def test_what_is_rolled_back_is_waited_for_and_never_read(conn, line, writers):
    slow, quick, *_ = writers
    transaction = await begun(slow)
    await stock.create(slow, line)
    [second] = await stock.create(quick, line)
    assert await read(conn) == []

    await transaction.rollback()

    assert told(await read(conn)) == [(second, "created")]


async def test_a_transaction_that_writes_late_is_not_skipped(conn, line, writers):
    """It has its number early, and its rows late: after others were announced."""
    late, quick, *_ = writers
    await stock.create(quick, line)
    position = (await read(conn))[-1].position
    transaction = await begun(late)
    await late.execute("SELECT pg_current_xact_id()")
    [second] = await stock.create(quick, line)
    assert await read(conn, after=position) == []

    [first] = await stock.create(late, line)
    await transaction.commit()

    assert told(await read(conn, after=position)) == [
        (second, "created"),
        (first, "created"),
    ]


async def test_who_only_reads_holds_nothing_up(conn, line, writers):
    reader, quick, *_ = writers
    transaction = await begun(reader)
    await reader.fetch("SELECT * FROM jobs")
    [job_id] = await stock.create(quick, line)

    assert told(await read(conn)) == [(job_id, "created")]
    await transaction.rollback()


@pytest.mark.parametrize("seed", range(4))
async def test_a_reader_misses_nothing_and_sees_nothing_twice(
    conn, line, writers, seed
):
    """Transactions begin, write and end in any order; a reader looks in between."""
    luck = random.Random(seed)
    seen: list[int] = []
    open_, position = {}, START
    for _ in range(150):
        writer = luck.choice(writers)
        match luck.choice(["begin", "write", "notice", "commit", "rollback", "read"]):
            case "begin" if writer not in open_:
                open_[writer] = await begun(writer)
            case "write":
                await stock.create(writer, line, luck.randint(1, 3))
            case "notice":
                await notice(writer, line)
            case "commit" if writer in open_:
                await open_.pop(writer).commit()
            case "rollback" if writer in open_:
                await open_.pop(writer).rollback()
            case "read":
                found = await read(conn, after=position, limit=luck.randint(1, 10))
                seen.extend(seqs(found))
                position = found[-1].position if found else position
    for transaction in open_.values():
        await transaction.commit()
    seen.extend(seqs(await read(conn, after=position)))

    assert len(seen) == len(set(seen))
    assert set(seen) == await in_journal(conn) | await in_notices(conn)
    assert await in_notices(conn)


@pytest.mark.parametrize("seed", range(3))
async def test_the_transitions_of_a_job_are_read_as_they_happened(
    conn, line, writers, seed
):
    """Each move is a statement of its own, on whichever connection."""
    luck = random.Random(seed)
    # Somebody with an old number is open all the while, and writes at last.
    transaction = await begun(writers[0])
    await writers[0].execute("SELECT pg_current_xact_id()")
    for _ in range(12):
        create, claim, settle = luck.choices(writers[1:], k=3)
        await stock.create(create, line, 2)
        claimed = await stock.claim(claim, line, luck.randint(1, 4))
        how = luck.choice(["completed", "released", "deadlettered"])
        await settlement.settle(
            settle, attempts=[stock.ended(each, how) for each in claimed], actor="pod"
        )
    await stock.create(writers[0], line)
    await transaction.commit()

    entries = [one.entry for one in await read(conn)]

    assert {entry.seq for entry in entries} == await in_journal(conn)
    for job_id in {entry.job_id for entry in entries}:
        mine = [entry for entry in entries if entry.job_id == job_id]
        assert mine[0].transition == "created"
        assert [entry.seq for entry in mine] == sorted(entry.seq for entry in mine)


async def test_a_notice_stands_among_the_transitions_of_its_transaction(conn, line):
    async with conn.transaction():
        [first] = await stock.create(conn, line)
        await notice(conn, line)
        [second] = await stock.create(conn, line)

    found = await read(conn)

    assert told(found) == [(first, "created"), "worker.registered", (second, "created")]
    for number, one in enumerate(found):
        assert told(await read(conn, after=one.position)) == told(found)[number + 1 :]


async def test_a_notice_waits_for_the_transitions_before_it(conn, line, writers):
    slow, quick, *_ = writers
    transaction = await begun(slow)
    [first] = await stock.create(slow, line)
    await notice(quick, line)
    assert await read(conn) == []

    await transaction.commit()

    assert told(await read(conn)) == [(first, "created"), "worker.registered"]


@pytest.mark.parametrize(
    ("tags", "read_back"),
    [
        (None, None),
        ('["eu", "vip"]', '["eu", "vip"]'),
        (f'["{"x" * 4092}"]', f'["{"x" * 4092}"]'),
        (f'["{"x" * 4093}"]', None),
    ],
    ids=["none", "some", "just small enough", "too large"],
)
async def test_of_a_job_it_is_told_what_it_may_be_asked_for_by(
    conn, line, tags, read_back
):
    await stock.create(conn, line, tags=tags, job_type="email")

    [found] = await read(conn)

    assert (found.job_type, found.tags) == ("email", read_back)


async def test_how_far_it_was_announced_never_goes_back(conn, line, writers):
    await stock.create(conn, line, 3)
    entries = await read(conn)
    assert await journal.read_announced(conn) == START

    assert await note(conn, START, entries[-1].position)
    # A second announcer that was slower comes after it.
    assert not await note(conn, START, entries[0].position)

    assert await journal.read_announced(conn) == entries[-1].position
    assert await read(conn, after=entries[-1].position) == []
