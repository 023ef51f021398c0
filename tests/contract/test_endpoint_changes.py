"""Changing an endpoint while the house itself changes it: nothing is undone."""

from contextlib import AsyncExitStack

import asyncpg
import pytest

from libs.common.store import endpoints, organizations
from tests.support import stock
from tests.support.rivals import blocked, undecided

DISABLE = """
UPDATE endpoints
   SET enabled = false, disabled_reason = 'gone', disabled_at = now(),
       version = version + 1
 WHERE id = $1
"""


@pytest.fixture
async def connect(database_url):
    async with AsyncExitStack() as stack:

        async def opened():
            conn = await asyncpg.connect(database_url)
            stack.push_async_callback(conn.close)
            return conn

        yield opened


async def change(conn, line, **changes):
    async with conn.transaction():
        await organizations.lock_organization(conn, id_=line.organization_id)
        return await endpoints.change_endpoint(
            conn,
            organization_id=line.organization_id,
            id_=line.endpoint_id,
            changes=changes,
        )


async def test_a_change_that_waits_keeps_what_it_waited_for(conn, connect):
    line = await stock.open_endpoint(conn)
    house, person = await connect(), await connect()

    async with undecided(house) as transaction:
        await house.execute(DISABLE, line.endpoint_id)
        waiting = await blocked(conn, change(person, line, description="mine"))
        await transaction.commit()

    assert await waiting
    row = await conn.fetchrow("SELECT * FROM endpoints")
    assert (row["enabled"], row["disabled_reason"]) == (False, "gone")
    assert (row["description"], row["version"]) == ("mine", 3)


async def test_who_enables_at_the_same_moment_begins_as_healthy(conn, connect):
    line = await stock.open_endpoint(conn)
    await conn.execute("UPDATE endpoint_health SET consecutive_failures = 7")
    house, person = await connect(), await connect()

    async with undecided(house) as transaction:
        await house.execute(DISABLE, line.endpoint_id)
        waiting = await blocked(conn, change(person, line, enabled=True))
        await transaction.commit()

    assert await waiting
    row = await conn.fetchrow("SELECT * FROM endpoints")
    assert (row["enabled"], row["disabled_reason"], row["version"]) == (True, None, 3)
    health = await conn.fetchrow("SELECT * FROM endpoint_health")
    assert health["consecutive_failures"] == 0


async def test_a_change_of_what_is_gone_meanwhile_changes_nothing(conn, connect):
    line = await stock.open_endpoint(conn)
    house, person = await connect(), await connect()

    async with undecided(house) as transaction:
        await house.execute("UPDATE endpoints SET deleted_at = now()")
        waiting = await blocked(conn, change(person, line, description="mine"))
        await transaction.commit()

    assert await waiting is False
    assert await conn.fetchval("SELECT description FROM endpoints") is None
