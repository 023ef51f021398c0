"""How attempts went, told while somebody changes the endpoint, or tells as well."""

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from libs.common.bus import open_bus
from libs.common.db import BY_KEY, open_pool
from libs.common.messages import Verdict as Word
from libs.common.store import (
    claims,
    endpoint_health,
    endpoints,
    organizations,
    outgoing,
)
from libs.common.store.endpoint_health import Outcomes, Verdict
from services.dispatcher.settling import Settling
from tests.support import stock
from tests.support.rivals import blocked, place_of, undecided

ELSEWHERE = {"url": "https://elsewhere.example/"}


@pytest.fixture
async def connect(database_url):
    """Open connections as the services have them; all are closed in the end."""
    async with AsyncExitStack() as stack:

        async def opened():
            conn = await asyncpg.connect(database_url, server_settings=BY_KEY)
            stack.push_async_callback(conn.close)
            return conn

        yield opened


@pytest.fixture
async def one(connect):
    return await connect()


@pytest.fixture
async def other(connect):
    return await connect()


@pytest.fixture
async def line(conn):
    return await stock.open_endpoint(conn)


@pytest.fixture
async def webhook(conn):
    """The lane of an outgoing webhook."""
    return await stock.open_endpoint(
        conn, kind="outgoing", format="json", signature_scheme="contract"
    )


async def hold(conn, line):
    await organizations.lock_organization(conn, id_=line.organization_id)


async def change(conn, line, **changes):
    await hold(conn, line)
    await endpoints.change_endpoint(
        conn,
        organization_id=line.organization_id,
        id_=line.endpoint_id,
        changes=changes,
    )


async def change_webhook(conn, line, **changes):
    await hold(conn, line)
    nothing = dict.fromkeys(("name", "url", "events", "format_", "enabled"))
    await outgoing.change_webhook(
        conn,
        organization_id=line.organization_id,
        id_=line.endpoint_id,
        **nothing | changes,
    )


async def fail(conn, line, failed, url_version=1):
    """Tell of failures, in a transaction as settling does."""
    async with conn.transaction():
        await endpoint_health.lock_health(conn, endpoint_ids=[line.endpoint_id])
        return await endpoint_health.note_outcomes(
            conn,
            outcomes=[
                Outcomes(
                    endpoint_id=line.endpoint_id,
                    url_version=url_version,
                    failed=failed,
                    failed_last=failed,
                    throttle_seconds=60.0,
                    error="HTTP 500",
                )
            ],
        )


async def disable(conn, line, url_version=1):
    verdict = Verdict(
        endpoint_id=line.endpoint_id,
        url_version=url_version,
        reason="gone",
        since=datetime.now(UTC),
    )
    async with conn.transaction():
        await endpoint_health.lock_owners(conn, endpoint_ids=[line.endpoint_id])
        return await endpoint_health.disable(conn, verdicts=[verdict])


async def url_version(conn):
    return await conn.fetchval("SELECT url_version FROM endpoints")


async def is_healthy(conn):
    return await conn.fetchval(
        "SELECT open_until IS NULL AND consecutive_failures = 0"
        "   AND throttled_until = '-infinity' AND failing_since IS NULL"
        "  FROM endpoint_health"
    )


# --- an older URL ---------------------------------------------------------------------


async def test_another_url_and_being_enabled_again_begin_anew(conn, line):
    seen = []
    for changes in (
        {"description": "new"},
        {"url": f"{stock.ORIGIN}/endpoint"},
        ELSEWHERE,
        {"enabled": True},
        {"enabled": False},
        {"enabled": True},
    ):
        await change(conn, line, **changes)
        seen.append(await url_version(conn))

    assert seen == [1, 1, 2, 2, 2, 3]


async def test_so_do_they_of_an_outgoing_webhook(conn, webhook):
    seen = []
    for changes in ({"name": "new"}, ELSEWHERE, {"enabled": False}, {"enabled": True}):
        await change_webhook(conn, webhook, **changes)
        seen.append(await url_version(conn))

    assert seen == [1, 2, 2, 3]


async def test_what_an_older_url_did_says_nothing(conn, line):
    await change(conn, line, **ELSEWHERE)

    assert await fail(conn, line, 50) == []
    assert await disable(conn, line) == []

    assert await is_healthy(conn)
    assert await conn.fetchval("SELECT enabled FROM endpoints")
    assert await conn.fetchval("SELECT count(*) FROM endpoint_minutes") == 0
    [noted] = await fail(conn, line, 50, url_version=2)
    assert noted.opened
    assert len(await disable(conn, line, url_version=2)) == 1


@pytest.mark.parametrize("told", [fail, disable])
@pytest.mark.parametrize("changed", [True, False])
async def test_who_tells_while_the_url_changes_sees_which_it_is(
    conn, line, one, other, told, changed
):
    async with undecided(one) as transaction:
        await change(one, line, **ELSEWHERE)
        arguments = (other, line) if told is disable else (other, line, 50)
        second = await blocked(conn, told(*arguments))
        await (transaction.commit() if changed else transaction.rollback())

    assert bool(await asyncio.wait_for(second, 5)) != changed
    assert await is_healthy(conn) == (changed or told is disable)


# --- nobody waits in a circle ---------------------------------------------------------


async def test_who_deletes_waits_for_who_changes(conn, line, one, other):
    async def delete():
        async with other.transaction():
            await hold(other, line)
            return await endpoints.delete_endpoint(
                other, organization_id=line.organization_id, id_=line.endpoint_id
            )

    async with undecided(one) as transaction:
        await hold(one, line)
        second = await blocked(conn, delete())
        await change(one, line, description="new")
        await transaction.commit()

    assert await asyncio.wait_for(second, 5)


@pytest.mark.parametrize("outgoing_one", [True, False])
async def test_who_changes_waits_for_who_tells(
    conn, line, webhook, one, other, outgoing_one
):
    changing = webhook if outgoing_one else line
    alter = change_webhook if outgoing_one else change
    async with undecided(one) as transaction:
        await endpoint_health.lock_health(one, endpoint_ids=[changing.endpoint_id])

        async def altered():
            async with other.transaction():
                await alter(other, changing, **ELSEWHERE)

        second = await blocked(conn, altered())
        # It holds the endpoint, which what is counted refers to.
        assert len(await fail(one, changing, 1)) == 1
        await transaction.commit()

    await asyncio.wait_for(second, 5)


# --- two who tell ---------------------------------------------------------------------


async def test_failures_told_by_two_at_once_are_added_up(conn, line, one, other):
    """Six of six and six of six are twelve of twelve, and not twice six."""
    async with undecided(one) as transaction:
        assert not (await fail(one, line, 6))[0].opened
        second = await blocked(conn, fail(other, line, 6))
        await transaction.commit()

    [noted] = await asyncio.wait_for(second, 5)
    assert noted.opened


# --- gone -----------------------------------------------------------------------------


@pytest.mark.parametrize("changed", [True, False])
async def test_a_410_is_settled_and_its_endpoint_disabled_at_once(
    conn, line, one, database_url, nats_url, changed
):
    await stock.create(conn, line)
    [claimed], _ = await claims.claim(
        conn,
        quotas={line.id: 1},
        lease_jobs_max=1,
        owner="dispatcher",
        lease=timedelta(seconds=60),
        payload_bytes_max=100,
        admitted={line.id},
    )
    word = Word(
        job_id=str(claimed.job_id),
        lease_id=str(claimed.lease_id),
        endpoint_id=str(line.endpoint_id),
        url_version=1,
        status=410,
    )
    told = [(word, stock.ended(claimed, "deadlettered", death="gone"))]
    async with (
        open_pool(database_url, service="test", size=1) as pool,
        open_bus(nats_url, service="test") as bus,
    ):
        settling = Settling(pool, bus, actor="dispatcher")
        async with undecided(one) as transaction:
            await change(one, line, **ELSEWHERE)
            second = await blocked(conn, settling.settle(told))
            assert await place_of(conn, claimed.job_id) == "leased"
            await (transaction.commit() if changed else transaction.rollback())
        closed = await asyncio.wait_for(second, 5)

    assert [job.job_id for job in closed] == [claimed.job_id]
    assert await place_of(conn, claimed.job_id) == "dead"
    assert await conn.fetchval("SELECT enabled FROM endpoints") == changed
    together = "SELECT dead.xmin::text = endpoints.xmin::text FROM dead, endpoints"
    assert await conn.fetchval(together) != changed
