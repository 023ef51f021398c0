"""Signs of life of workers reach whoever watches; they are no events."""

import pytest

from libs.common.messages import WorkerSeen
from tests.support.watching import open_gallery, tenant


@pytest.fixture
async def gallery(database_url, nats_url):
    async with open_gallery(database_url, nats_url) as gallery:
        yield gallery


def seen(whose, worker_id="host-1", queue_name="mail"):
    return WorkerSeen(
        organization_id=str(whose.organization_id),
        worker_id=worker_id,
        queue_name=queue_name,
        status="degraded",
        current_jobs=3,
        time="2026-01-02T03:04:05+00:00",
    )


async def test_a_heartbeat_is_told_in_the_contracts_words(gallery, conn):
    acme, other = await tenant(conn, "acme"), await tenant(conn, "other")
    async with gallery.stream(acme) as stream:
        for each in (seen(other), seen(acme)):
            await gallery.bus.ring(each)
        mark, kind, data = await stream.event()

    assert (mark, kind) == (None, "WorkerHeartbeat")
    assert data == {
        "worker_id": "host-1",
        "queue_name": "mail",
        "status": "degraded",
        "current_jobs": 3,
        "timestamp": "2026-01-02T03:04:05+00:00",
    }


async def test_it_is_told_to_who_asked_for_it(gallery, conn):
    acme = await tenant(conn, "acme")
    async with gallery.stream(acme, events="worker.heartbeat", queue="mail") as stream:
        await gallery.announce(acme.changed("started"))
        for queue_name in ("other", "mail"):
            await gallery.bus.ring(seen(acme, queue_name, queue_name))
        _, kind, data = await stream.event()

    assert (kind, data["worker_id"]) == ("WorkerHeartbeat", "mail")


async def test_a_key_that_is_limited_to_queues_is_not_told(gallery, conn):
    scoped = await tenant(conn, "scoped", queues=["mail"])
    async with gallery.stream(scoped) as stream:
        await gallery.bus.ring(seen(scoped))
        await gallery.announce(scoped.changed("started"))
        _, kind, _ = await stream.event()

    assert kind == "JobStatusChange"
