"""A week of jobs changes places under a house that works, and nobody can tell."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from libs.common.store import journal, retention
from tests.support import aging, stock
from tests.support.house import run_house
from tests.support.waiting import until
from tests.support.watching import open_gallery
from tests.support.watching import tenant as watching_tenant

LONG_AGO = timedelta(days=150)
WORKER = "worker"


@pytest.fixture
async def line(conn, tenant):
    await aging.open_weeks(conn, 20)
    await conn.execute("UPDATE organizations SET plan_tier = 'enterprise'")
    return await stock.open_line(
        conn, organization_id=tenant.id, push=False, queue_name="mail"
    )


async def shown(api, ids):
    """What is to be read of these jobs: themselves, what happened, how it went."""
    return {
        (id_, what): await api.ask("GET", f"/jobs/{id_}{what}", expect=200)
        for id_ in ids
        for what in ("", "/history", "/attempts")
    }


async def sweep(conn, database_url, over):
    """Look through all weeks, when all that happened was told, until *over* are gone.

    The house's own scheduler may have looked a moment ago, when they were still new.
    """

    async def all_is_told():
        return await retention.read_untold(conn) is None

    await until(all_is_told)
    async with aging.retaining(database_url) as retainer:

        async def all_are_gone():
            await conn.execute("DELETE FROM sweeps")
            await retainer.sweep_due(asyncio.Event())
            left = "SELECT count(*) FROM jobs WHERE id = ANY ($1)"
            return await conn.fetchval(left, over) == 0

        await until(all_are_gone, at_most=30)


async def claim(api):
    body = {"queue_name": "mail", "worker_id": WORKER, "limit": 10}
    return (await api.ask("POST", "/jobs/claim", json=body, expect=200))["jobs"]


async def test_what_is_over_is_gone_and_what_is_not_is_read_claimed_and_retried(
    conn, api, line, database_url
):
    over = await aging.create_old(conn, line, 20, 6)
    await aging.finish(conn, line, over)
    [dead] = await aging.create_old(conn, line, 20, payload='{"dead": true}')
    await aging.settle(conn, line, await stock.claim(conn, line), "deadlettered")
    [ready] = await aging.create_old(conn, line, 20, payload='{"ready": true}')
    later = datetime.now(UTC) + timedelta(days=99)
    [scheduled] = await aging.create_old(conn, line, 20, run_at=later)
    living = [dead, ready, scheduled]
    await aging.let_be(conn, [*over, *living], ago=LONG_AGO)
    before = await shown(api, living)
    await shown(api, over)

    await sweep(conn, database_url, over)

    for id_ in over:
        for what in ("", "/history", "/attempts"):
            await api.ask("GET", f"/jobs/{id_}{what}", expect=404)
    assert await shown(api, living) == before
    listed = await api.ask("GET", "/jobs", expect=200)
    assert {job["id"] for job in listed} == {str(id_) for id_ in living}
    await api.ask("POST", f"/jobs/{dead}/retry", expect=200)
    claimed = await claim(api)
    assert {job["id"]: job["payload"] for job in claimed} == {
        str(dead): {"dead": True},
        str(ready): {"ready": True},
    }
    for job in claimed:
        body = {"worker_id": WORKER, "lease_id": job["lease_id"]}
        await api.ask("POST", f"/jobs/{job['id']}/complete", json=body, expect=200)
    for id_ in (dead, ready):
        assert (await api.job(id_))["status"] == "completed"


async def test_who_was_away_for_so_long_that_it_is_forgotten_is_told_so(
    conn, database_url, nats_url
):
    """Though nothing that is left is older than what may be asked for."""
    acme = await watching_tenant(conn, "acme")
    await aging.open_weeks(conn, 20)
    line = await stock.open_line(conn, organization_id=acme.organization_id)
    over = await aging.create_old(conn, line, 20, 3)
    await aging.finish(conn, line, over)
    await aging.let_be(conn, over, ago=LONG_AGO)
    async with (
        run_house(database_url, nats_url, services=("scheduler",)),
        open_gallery(database_url, nats_url, recent_bytes_max=0) as gallery,
    ):
        async with gallery.stream(acme, last="1-0") as stream:
            assert (await stream.event())[1] == "EventsLost"
        await sweep(conn, database_url, over)
        assert await conn.fetchval("SELECT count(*) FROM journal") == 0
        lately = await journal.read_announced(conn)
        await stock.create(conn, line)

        async with gallery.stream(acme, last="1-0") as stream:
            assert (await stream.event())[1] == "EventsLost"
        mark = f"{int(lately.xid) + 1}-0"
        async with gallery.stream(acme, last=mark) as stream:
            assert (await stream.event())[1] == "JobCreated"
