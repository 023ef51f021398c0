"""What was missed is read by key, a page at a time, and is all there is."""

import pytest

from libs.common.db import BY_KEY
from libs.common.ids import new_id
from libs.common.store import missed
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


CALLS = {
    "read_page": (new_id(), "5", 0, "900", 5_000, 200, 4_096),
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

    assert '"Seq Scan"' not in plan
