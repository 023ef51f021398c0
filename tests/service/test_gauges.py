"""What is measured of the house: what is late, and what waits because it should."""

from datetime import UTC, datetime, timedelta

from libs.common.store import gauges
from tests.support.work import claim

TARGET = "http://127.0.0.1:9/"


async def test_who_waits_on_purpose_is_not_late(still, conn):
    for queue in ("mail", "paused"):
        await still.create(TARGET, queue_name=queue)
    await still.ask("POST", "/queues/paused/pause", json={}, expect=200)
    await conn.execute("UPDATE ready SET ready_at = now() - interval '1 minute'")

    due = await gauges.count_due(conn)

    assert (due.deliveries, due.work, due.kept_back) == (1, 0, 1)
    assert 60 <= due.deliveries_seconds < 120


async def test_what_is_asked_for_later_is_not_late_until_it_is_due(still, conn):
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    await still.create(TARGET, scheduled_at=later)
    await still.create(scheduled_at=later)

    due, places = await gauges.count_due(conn), await gauges.count_places(conn)
    assert (due.deliveries, due.work, due.deliveries_seconds) == (0, 0, 0)
    assert (places.scheduled, places.deliveries_scheduled) == (2, 1)
    assert places.retrying == 0

    # Nobody promotes it.
    await conn.execute("UPDATE scheduled SET run_at = now() - interval '1 minute'")

    due = await gauges.count_due(conn)
    assert (due.deliveries, due.work) == (1, 1)
    assert due.deliveries_seconds >= 60
    assert due.work_seconds >= 60


async def test_an_endpoint_that_rests_keeps_its_deliveries_back(still, conn):
    made = await still.ask("POST", "/endpoints", json={"url": TARGET}, expect=201)
    target = {"endpoint_id": made["id"]}
    await still.create(target)
    assert (await gauges.count_due(conn)).deliveries == 1

    await conn.execute(
        "INSERT INTO endpoint_health (endpoint_id, open_until) "
        "VALUES ($1, now() + interval '1 minute') ON CONFLICT (endpoint_id) "
        "DO UPDATE SET open_until = excluded.open_until",
        made["id"],
    )

    due = await gauges.count_due(conn)
    assert (due.deliveries, due.kept_back) == (0, 1)
    assert await gauges.count_endpoints(conn) == gauges.Endpoints(
        disabled=0, open=1, throttled=0, enabled=0
    )


async def test_each_place_is_counted(still, conn):
    for _ in range(3):
        await still.create()
    await claim(still, limit=1)

    places = await gauges.count_places(conn)

    assert (places.ready, places.leased, places.dead) == (2, 1, 0)
    assert (await gauges.read_outbox(conn)).events == 4
    assert (await gauges.read_outbox(conn, limit=2)).events == 2


async def test_partitions_stand_ready_until_the_first_of_their_tables_ends(conn):
    server = await gauges.read_server(conn)

    ends = datetime.fromtimestamp(server.partitions_until, UTC)
    assert timedelta(0) < ends - datetime.now(UTC) < timedelta(weeks=60)
    assert (ends.weekday(), ends.hour) == (0, 0)
    assert server.bytes > 0
    # Our own does not count, and nobody else is here.
    assert server.oldest_transaction_seconds < 60
