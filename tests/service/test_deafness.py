"""A dispatcher that is cut off takes nobody's silence for a death."""

import asyncio
from urllib.parse import urlsplit

import pytest

from libs.common.bus import open_bus
from libs.common.db import BY_KEY, open_pool
from libs.common.loops import Doorbell
from libs.common.messages import DispatcherAlive, LeasesHeld
from services.dispatcher.ledger import Ledger
from services.dispatcher.upkeep import Upkeep
from tests.support import stock
from tests.support.waiting import until
from tests.support.wire import wire_to

#: Longer than it takes to notice that nothing is heard.
LEASE_SECONDS = 4.0


@pytest.fixture
async def wire(nats_url):
    place = urlsplit(nats_url)
    async with wire_to(place.hostname, place.port) as wire:
        yield wire


@pytest.fixture
async def upkeep(database_url, nats_url, wire):
    """The actor, at work, on a wire of its own to NATS."""
    stopping = asyncio.Event()
    async with (
        open_pool(database_url, service="test", size=2, planner=BY_KEY) as pool,
        open_bus(wire.through(nats_url), service="test") as bus,
    ):
        ledger, bell = Ledger("dispatcher-1"), Doorbell(stopping)
        upkeep = Upkeep(pool, bus, ledger, bell, lease_seconds=7)
        async with asyncio.TaskGroup() as actors:
            for actor in (
                upkeep.be_heard,
                upkeep.listen_dispatchers,
                upkeep.listen_pods,
                upkeep.run,
            ):
                actors.create_task(actor(stopping))
            yield upkeep
            wire.mend()
            stopping.set()


async def test_who_is_cut_off_recovers_nothing(upkeep, wire, nats_url, conn):
    async def place(job_id):
        return await conn.fetchval(
            "SELECT place::text FROM places WHERE job_id = $1", job_id
        )

    await until(lambda: upkeep._heard_since > 0)
    line = await stock.open_line(conn)
    await stock.create(conn, line, 2)
    kept, lost = await stock.claim(
        conn, line, 2, seconds=LEASE_SECONDS, lease_jobs_max=1, owner="dispatcher-1"
    )
    assert kept.lease_id != lost.lease_id
    wire.freeze()
    # All the while its connection seems to be there.
    await asyncio.sleep(LEASE_SECONDS + 1)
    assert await place(kept.job_id) == await place(lost.job_id) == "leased"

    wire.mend()
    async with open_bus(nats_url, service="test") as pod:
        await pod.until_connected(asyncio.Event())
        word = LeasesHeld(
            pod="pod", slots=1, leases={"dispatcher-1": [str(kept.lease_id)]}
        )

        async def recovered():
            await pod.ring(word)
            return await place(lost.job_id) == "ready"

        await until(recovered, at_most=10)
    assert await place(kept.job_id) == "leased"


async def test_what_a_pod_holds_is_spared_though_another_forgets_to_renew_it(
    upkeep, nats_url, conn
):
    """Who handed it out is up, and cut off from Postgres."""

    async def place(job_id):
        return await conn.fetchval(
            "SELECT place::text FROM places WHERE job_id = $1", job_id
        )

    await until(lambda: upkeep._heard_since > 0)
    line = await stock.open_line(conn)
    [job_id] = await stock.create(conn, line, 1)
    [claimed] = await stock.claim(conn, line, 1, seconds=1.0, owner="dispatcher-2")
    await conn.execute("UPDATE leases SET taken_up = true")
    word = LeasesHeld(
        pod="pod", slots=1, leases={"dispatcher-2": [str(claimed.lease_id)]}
    )
    async with open_bus(nats_url, service="test") as pod:
        await pod.until_connected(asyncio.Event())
        for _ in range(12):
            await pod.ring(DispatcherAlive(dispatcher="dispatcher-2"))
            await pod.ring(word)
            await asyncio.sleep(0.3)
            assert await place(job_id) == "leased"

    async def recovered():
        return await place(job_id) == "ready"

    # Its pod died.
    await until(recovered, at_most=15)
