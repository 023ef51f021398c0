"""Of one job, events stand in the order in which they happened."""

import asyncpg
import pytest

from libs.common.db import BY_KEY
from libs.common.store import announcing
from libs.common.store.announcing import Transitioned
from libs.common.store.journal import Position
from tests.support import stock

START = Position("0", 0)


@pytest.fixture
async def three(database_url):
    """Three connections."""
    conns = [
        await asyncpg.connect(database_url, server_settings={"jit": "off", **BY_KEY})
        for _ in range(3)
    ]
    yield conns
    for conn in conns:
        await conn.close()


async def told(conn, after=START):
    found = await announcing.read_unannounced(conn, after=after, limit=100)
    return [
        one.entry.transition for one in found if isinstance(one, Transitioned)
    ], found[-1].position if found else after


async def numbered(conn):
    """Give the transaction its number, as a lock does."""
    await conn.execute("SELECT pg_current_xact_id()")


async def test_a_claim_stands_behind_what_was_created_while_it_waited(conn, three):
    claimer, bystander, creator = three
    line = await stock.open_line(conn)
    claiming, standing = claimer.transaction(), bystander.transaction()
    await claiming.start()
    await numbered(claimer)
    await standing.start()
    await numbered(bystander)

    await stock.create(creator, line)
    assert len(await stock.claim(claimer, line)) == 1
    await claiming.commit()
    before, position = await told(conn)
    await standing.commit()
    after, _ = await told(conn, position)

    assert before + after == ["created", "started"]


async def test_nothing_is_read_that_something_may_still_come_before(conn, three):
    claimer, _, creator = three
    line = await stock.open_line(conn)
    claiming = claimer.transaction()
    await claiming.start()
    await numbered(claimer)
    await stock.create(creator, line, 2)
    await stock.claim(claimer, line)
    await stock.create(creator, line)

    assert await told(conn) == ([], START)
    await claiming.commit()

    transitions, position = await told(conn)
    assert transitions == ["created", "created", "started", "created"]
    assert await told(conn, position) == ([], position)
