"""What happens beside the transitions of jobs is noted as it happens, and told once."""

import json
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from libs.common.db import BY_KEY
from libs.common.ids import new_id
from libs.common.store import notices, organizations, queues, tallies, workers
from libs.common.store.journal import Position
from tests.support import stock

START = Position("0", 0)


@pytest.fixture
async def line(conn):
    id_ = new_id()
    await organizations.create_organization(
        conn, id_=id_, name="Acme", slug="acme", billing_email=None, plan_tier="free"
    )
    return await stock.open_line(conn, organization_id=id_, push=False)


@pytest.fixture
async def other(database_url):
    connection = await asyncpg.connect(
        database_url, server_settings={"jit": "off", **BY_KEY}
    )
    yield connection
    await connection.close()


async def noted(conn):
    """Return what was noted: event and data."""
    found = await notices.read_untold(conn, after=START, limit=100)
    return [(one.event, json.loads(one.data)) for one in found]


async def test_pausing_and_resuming_is_noted_when_something_changes(conn, line):
    mine = {"organization_id": line.organization_id, "name": "mail"}
    for reason in ("fire", "still fire"):
        await queues.pause_queue(conn, id_=new_id(), reason=reason, **mine)
    for _ in range(2):
        await queues.resume_queue(conn, **mine)

    assert await noted(conn) == [
        ("queue.paused", {"queue_name": "mail", "reason": "fire"}),
        ("queue.resumed", {"queue_name": "mail", "paused_duration_secs": 0}),
    ]


@pytest.mark.parametrize(
    ("since", "seconds"),
    [
        (timedelta(hours=2), 7200),
        ("yesterday-ish", 0),
        ("infinity", 0),
        ("2026-13-45T99:00:00Z", 0),
        (None, 0),
    ],
)
async def test_for_how_long_it_was_paused_is_told_whatever_stands_there(
    conn, line, since, seconds
):
    if isinstance(since, timedelta):
        since = (datetime.now(UTC) - since).isoformat()
    await queues.configure_queue(
        conn,
        id_=new_id(),
        organization_id=line.organization_id,
        name="mail",
        max_retries=None,
        default_timeout=None,
        rate_limit=None,
        enabled=None,
        settings=json.dumps({"paused": True, "paused_at": since}),
    )

    await queues.resume_queue(conn, organization_id=line.organization_id, name="mail")

    [_, (event, data)] = await noted(conn)
    assert event == "queue.resumed"
    assert seconds <= data["paused_duration_secs"] <= seconds + 600


async def test_workers_that_come_and_go_are_noted(conn, line):
    async def sign_off():
        await workers.sign_off(
            conn, organization_id=line.organization_id, scope=None, worker_id="w"
        )

    await stock.register(conn, line, "w")
    await stock.register(conn, line, "w")
    await sign_off()
    await sign_off()
    await stock.register(conn, line, "w")
    await conn.execute("UPDATE workers SET last_heartbeat_at = '-infinity'")
    await workers.mark_silent(conn, silence=timedelta(seconds=1), limit=10)

    found = await noted(conn)
    data = {"worker_id": "w", "queue_name": "mail", "hostname": "h"}
    assert found == [
        ("worker.registered", data),
        ("worker.deregistered", data),
        ("worker.registered", data),
        ("worker.offline", data),
    ]


async def test_notices_are_read_past_no_open_transaction_and_told_once(
    conn, line, other
):
    mine = {"organization_id": line.organization_id, "name": "mail"}
    transaction = other.transaction()
    await transaction.start()
    await queues.pause_queue(other, id_=new_id(), reason=None, **mine)
    await stock.register(conn, line, "w")
    assert await noted(conn) == []
    await transaction.commit()

    found = await notices.read_untold(conn, after=START, limit=10)
    assert [one.event for one in found] == ["queue.paused", "worker.registered"]
    upto = found[-1].position
    assert await notices.note_told(conn, before=START, upto=upto)
    assert not await notices.note_told(conn, before=START, upto=found[0].position)
    assert await notices.read_told(conn) == upto
    assert await notices.read_untold(conn, after=upto, limit=10) == []


async def test_notices_are_kept_until_told_and_announced_and_old(conn, line):
    mine = {"organization_id": line.organization_id, "name": "mail"}
    await queues.pause_queue(conn, id_=new_id(), reason=None, **mine)
    await queues.resume_queue(conn, **mine)
    first, _ = await notices.read_untold(conn, after=START, limit=10)

    async def left(older_than):
        await notices.forget_told(conn, older_than=older_than, at_most=10)
        return await conn.fetchval("SELECT count(*) FROM notices")

    assert await left(timedelta(0)) == 2
    await notices.note_told(conn, before=START, upto=first.position)
    assert await left(timedelta(0)) == 2
    await tallies.count_announced(
        conn, before=START, upto=first.position, tallies=[], credits_=[], happened=[]
    )
    assert await left(timedelta(hours=1)) == 2
    assert await left(timedelta(0)) == 1


async def test_they_are_told_in_the_order_of_numbers(conn, line):
    for xid in ("1000", "999", "99"):
        await conn.execute(
            "INSERT INTO notices (organization_id, event, data, xid)"
            " VALUES ($1, 'queue.resumed', '{}', $2::text::xid8)",
            *(line.organization_id, xid),
        )

    first = await notices.read_untold(conn, after=START, limit=2)
    rest = await notices.read_untold(conn, after=first[-1].position, limit=2)

    assert [one.position.xid for one in (*first, *rest)] == ["99", "999", "1000"]
