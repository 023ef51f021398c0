"""What was missed is read by key, a page at a time, and is all there is."""

import json
from functools import partial

import pytest

from libs.common.db import BY_KEY
from libs.common.ids import new_id
from libs.common.store import announcing, journal, missed, tallies
from libs.common.store.announcing import Transitioned
from libs.common.store.journal import Position
from tests.support import stock

START = Position("0", 0)


async def pages(conn, organization_id, *, limit, after=START):
    """Read page after page; return what stands in each, and where each ends."""
    read = []
    horizon = await missed.read_horizon(conn)
    while after != horizon:
        page = await missed.read_page(
            conn,
            organization_id=organization_id,
            after=after,
            horizon=horizon,
            limit=limit,
        )
        read.append(page)
        after = page.upto
    return read


def jobs(page):
    return [one.entry.job_id for one in page.found if isinstance(one, Transitioned)]


async def test_pages_are_of_one_organization_in_order_and_complete(conn):
    mine, other = await stock.open_line(conn), await stock.open_line(conn)
    created = []
    for _ in range(7):
        created += await stock.create(conn, mine)
        await stock.create(conn, other, 3)

    read = await pages(conn, mine.organization_id, limit=3)

    assert [len(page.found) for page in read] == [3, 3, 1, 0]
    assert [job for page in read for job in jobs(page)] == created
    # A page that is full ends with its last event, another one where it looked last.
    assert read[0].upto == read[0].found[-1].position
    assert read[2].upto != read[2].found[-1].position


async def test_others_are_passed_over_in_bounded_steps(conn, monkeypatch):
    monkeypatch.setattr(missed, "_SCAN_MAX", 10)
    mine, other = await stock.open_line(conn), await stock.open_line(conn)
    await stock.create(conn, other, 25)
    [job] = await stock.create(conn, mine)

    read = await pages(conn, mine.organization_id, limit=200)

    assert [jobs(page) for page in read] == [[], [], [job], []]


async def announce(conn, *, charted=True):
    """Remember that all was announced, as an announcer does that knows of stretches."""
    before = await journal.read_announced(conn)
    found = await announcing.read_unannounced(conn, after=before, limit=10_000)
    if charted:
        assert await tallies.count_announced(
            conn,
            before=before,
            upto=found[-1].position,
            tallies=[],
            credits_=[],
            happened=[
                (
                    one.entry.organization_id
                    if isinstance(one, Transitioned)
                    else one.organization_id,
                    one.position.xid,
                )
                for one in found
            ],
        )
    else:
        upto = found[-1].position
        await conn.execute(
            "UPDATE announced SET xid = $1::text::xid8, seq = $2", upto.xid, upto.seq
        )
    return found[-1].position


async def test_stretches_of_others_are_passed_over_and_nothing_else(conn):
    mine, other = await stock.open_line(conn), await stock.open_line(conn)
    onward = partial(missed.read_onward, conn, organization_id=mine.organization_id)
    await stock.create(conn, mine)
    start = await announce(conn)
    await stock.create(conn, other, 3)
    # Its own stretch began with something of its own.
    late = await announce(conn)
    assert await onward(after=start) is None
    await stock.a_stretch_later(conn)
    await stock.create(conn, other, 3)
    foreign = await announce(conn)
    assert await onward(after=late) is None
    await stock.a_stretch_later(conn)
    await stock.create(conn, other, 3)
    [job] = await stock.create(conn, mine)
    last = await announce(conn)

    goal = await onward(after=foreign)
    assert goal is not None
    assert int(foreign.xid) < int(goal.xid) <= int(last.xid)
    [page, *_] = await pages(conn, mine.organization_id, limit=200, after=goal)
    assert jobs(page) == [job]
    # Where it was announced, and no further.
    await stock.a_stretch_later(conn)
    await stock.create(conn, other)
    end = await announce(conn)
    await stock.create(conn, mine)
    assert await onward(after=last) is None
    assert await onward(after=Position(str(int(end.xid) - 1), 0)) == end
    assert await onward(after=end) is None


async def test_who_announces_without_noting_stretches_leaves_a_gap_that_is_read(conn):
    mine, other = await stock.open_line(conn), await stock.open_line(conn)
    onward = partial(missed.read_onward, conn, organization_id=mine.organization_id)
    await stock.create(conn, other)
    start = await announce(conn)
    await stock.create(conn, other)
    await announce(conn)
    behind = Position(str(int(start.xid) + 1), 0)
    await stock.a_stretch_later(conn)
    await stock.create(conn, mine)
    await announce(conn, charted=False)
    assert await onward(after=behind) != await journal.read_announced(conn)
    await stock.a_stretch_later(conn)
    await stock.create(conn, other)
    end = await announce(conn)

    assert await onward(after=behind) is None
    assert await onward(after=Position(str(int(end.xid) - 1), 0)) == end


async def test_stretches_are_forgotten_when_the_journal_has_nothing_of_them(conn):
    line = await stock.open_line(conn)
    await stock.create(conn, line)
    await announce(conn)
    await stock.a_stretch_later(conn)
    await stock.create(conn, line)
    await announce(conn)
    assert await missed.forget_stretches(conn, limit=10) == 0

    await conn.execute("DELETE FROM journal WHERE xid < (SELECT max(xid) FROM journal)")

    assert await missed.forget_stretches(conn, limit=10) == 1
    assert await conn.fetchval("SELECT count(*) FROM stretches") == 1


async def test_nothing_is_read_past_the_horizon(conn, database_url):
    line = await stock.open_line(conn)
    async with conn.transaction():
        await conn.execute("SELECT pg_current_xact_id()")
        horizon = await missed.read_horizon(conn)
        await stock.create(conn, line)
    page = await missed.read_page(
        conn,
        organization_id=line.organization_id,
        after=START,
        horizon=horizon,
        limit=200,
    )
    assert (page.found, page.upto) == ([], horizon)


async def test_a_job_stands_where_its_last_transition_put_it(conn):
    line = await stock.open_line(conn)
    mine = {"organization_id": line.organization_id}
    [job] = await stock.create(conn, line)
    created = await missed.read_standing(conn, job_id=job, **mine)
    await stock.claim(conn, line)
    started = await missed.read_standing(conn, job_id=job, **mine)

    assert created is not None
    assert started is not None
    assert (created.status, started.status) == ("pending", "processing")
    found = await missed.read_of_job(
        conn,
        job_id=job,
        after=created.position,
        horizon=await missed.read_horizon(conn),
        limit=9,
        **mine,
    )
    assert [one.position for one in found] == [started.position]
    assert await missed.read_standing(conn, job_id=new_id(), **mine) is None
    assert (
        await missed.read_standing(conn, job_id=job, organization_id=new_id()) is None
    )


async def test_the_first_is_so_by_number(conn):
    line = await stock.open_line(conn)
    jobs = await stock.create(conn, line, 2)
    for job, xid in zip(jobs, ("1000", "999"), strict=True):
        await conn.execute(
            "UPDATE journal SET xid = $2::text::xid8 WHERE job_id = $1", job, xid
        )

    found = [await missed.read_first(conn, xid=xid) for xid in ("5", "999", "1000")]

    assert [one and one[0].xid for one in found] == ["999", "999", "1000"]


def read_whole(node):
    """Yield the tables that a plan reads whole; `announced` is one row."""
    if node["Node Type"] == "Seq Scan":
        yield node["Relation Name"]
    for part in node.get("Plans", ()):
        yield from read_whole(part)


CALLS = {
    "read_page": (new_id(), "5", 0, "900", 5_000, 200, 4_096),
    "read_onward": (new_id(), "5", 0),
    "forget_stretches": (1000,),
    "is_forgotten": ("5",),
    "read_of_job": (new_id(), new_id(), "5", 0, "900", 200, 4_096),
    "read_standing": (new_id(), new_id()),
    "read_first": ("5",),
}


@pytest.mark.parametrize("statement", CALLS)
async def test_nothing_is_read_whole(conn, statement):
    line = await stock.open_line(conn)
    await stock.create(conn, line, 500)
    await conn.execute("ANALYZE")
    for name, value in BY_KEY.items():
        await conn.execute(f"SET {name} = {value}")
    plan = await conn.fetchval(
        f"EXPLAIN (FORMAT JSON) {missed.SQL[statement]}", *CALLS[statement]
    )

    assert set(read_whole(json.loads(plan)[0]["Plan"])) <= {"announced"}
