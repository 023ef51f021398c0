"""A claim that took long: what is left of its lease, and what a pod is told of it."""

import asyncio
from datetime import timedelta

import nats
import pytest

from libs.common.bus import open_bus
from libs.common.db import BY_KEY, open_pool
from libs.common.loops import Doorbell
from libs.common.messages import AttemptDeliveries
from libs.common.store import lanes, leases
from services.dispatcher.fanout import Fanout
from services.dispatcher.ledger import Ledger
from services.dispatcher.settings import Settings
from tests.support import stock
from tests.support.waiting import until

LEASE_SECONDS = 7.0
LEFT = "SELECT extract(epoch FROM deadline - now()) FROM leases"


@pytest.fixture
async def ledger():
    """Where the dispatcher notes what it handed out."""
    return Ledger("dispatcher-1")


@pytest.fixture
async def fanout(database_url, nats_url, ledger):
    """The actor without its turns: what it claimed is put to it directly."""
    settings = Settings(
        database_url=database_url, nats_url=nats_url, lease_seconds=LEASE_SECONDS
    )
    async with (
        open_pool(database_url, service="test", size=2, planner=BY_KEY) as pool,
        open_bus(nats_url, service="test") as bus,
    ):
        await until(lambda: bus.connected)
        yield Fanout(settings, pool, bus, ledger, Doorbell(asyncio.Event()))


@pytest.fixture
async def pod(nats_url):
    """What arrives for the pods, in order."""
    client = await nats.connect(nats_url)
    subscription = await client.subscribe(AttemptDeliveries.subject)
    await client.flush()
    yield subscription
    await client.close()


@pytest.fixture
async def claimed(conn, ledger):
    """A job that was claimed just now."""
    line = await stock.open_line(conn)
    await stock.create(conn, line)
    ledger.see(await lanes.read_lanes(conn, ids=[line.id]))
    return await stock.claim(conn, line, seconds=LEASE_SECONDS, owner="dispatcher-1")


async def told(pod):
    """Return the next batch that arrives."""
    letter = await pod.next_msg(timeout=10)
    return AttemptDeliveries.decode(letter.data)


def ago(seconds):
    return asyncio.get_running_loop().time() - seconds


async def test_a_pod_is_told_how_long_the_lease_lives_from_now(fanout, claimed, pod):
    assert await fanout._send_all(claimed, began=ago(0.5))

    batch = await told(pod)
    assert batch.lease_id == str(claimed[0].lease_id)
    assert batch.lease_seconds <= LEASE_SECONDS - 0.5


async def test_a_lease_that_is_no_longer_young_is_renewed_first(
    fanout, claimed, pod, conn
):
    # Postgres, or this process, stood still for five seconds.
    await conn.execute(
        "UPDATE leases SET deadline = deadline - $1::interval", timedelta(0, 5)
    )

    assert await fanout._send_all(claimed, began=ago(5))

    batch = await told(pod)
    left = float(await conn.fetchval(LEFT))
    assert left > LEASE_SECONDS - 5
    # What a pod is told is never more than there was when it was told.
    assert LEASE_SECONDS - 5 < batch.lease_seconds <= LEASE_SECONDS


async def test_a_batch_whose_lease_is_gone_is_not_sent(
    fanout, claimed, pod, conn, ledger
):
    await conn.execute("UPDATE leases SET deadline = now() - interval '1 second'")
    await leases.recover(conn, limit=10)

    assert await fanout._send_all(claimed, began=ago(9))

    assert ledger.handed_out == {}
    with pytest.raises(nats.errors.TimeoutError):
        await pod.next_msg(timeout=0.3)
