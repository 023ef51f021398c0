"""What is counted of organizations with limits, straight through the store."""

import pytest

from libs.common.ids import new_id
from libs.common.store import usage


@pytest.fixture
async def organization_id(conn):
    id_ = new_id()
    await conn.execute(
        "INSERT INTO organizations (id, name, slug) VALUES ($1, 'Acme', 'acme')", id_
    )
    return id_


async def test_who_is_no_more_is_not_counted_and_spoils_nobody_else_s(
    conn, organization_id
):
    gone = new_id()

    assert await usage.lock(conn, organization_ids=[gone, organization_id]) == {
        organization_id: 0
    }
    await conn.execute("UPDATE organizations SET erased_at = now()")
    assert await usage.lock(conn, organization_ids=[organization_id]) == {}


async def test_the_days_that_are_over_are_forgotten_a_piece_at_a_time(
    conn, organization_id
):
    await conn.execute(
        "INSERT INTO daily_usage (organization_id, day, jobs)"
        " SELECT $1, (now() AT TIME ZONE 'UTC')::date - ago, 1"
        "   FROM generate_series(0, 5) AS ago",
        organization_id,
    )
    left = "SELECT count(*) FROM daily_usage"

    await usage.forget_days(conn, at_most=3)
    assert await conn.fetchval(left) == 3
    await usage.forget_days(conn, at_most=3)
    await usage.forget_days(conn, at_most=3)

    # Today counts, and yesterday may still be somebody's today.
    assert await conn.fetchval(left) == 2
    assert await usage.lock(conn, organization_ids=[organization_id]) == {
        organization_id: 1
    }
