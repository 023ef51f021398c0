"""The log of webhooks that came in: kept for a month, found by key, erased with all."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from libs.common.db import BY_KEY
from libs.common.ids import first_id_at, new_id
from libs.common.store import incoming
from libs.common.store.incoming import Delivery, Entry, NewSource
from tests.support import stock
from tests.support.plans import connected, plan_of, prepare

MONTH = timedelta(days=30)
FILL = """
INSERT INTO incoming_deliveries
       (id, organization_id, provider, event_type, matched_queue, job_id, status,
        created_at)
SELECT overlay(gen_random_uuid()::text placing substr(first_id_at(moment)::text, 1, 13)
               from 1 for 13)::uuid,
       $1, 'github', 'push', $2, gen_random_uuid(), 'created', moment
  FROM (SELECT now() - i * interval '1 minute' AS moment
          FROM generate_series(1, $3) AS i) AS made
"""


def entry(line, job_id, *, delivery_id="d", queue_name="mail"):
    return Entry(
        id=new_id(),
        organization_id=line.organization_id,
        delivery=Delivery(
            provider="github", event_type="push", delivery_id=delivery_id
        ),
        queue_name=queue_name,
        job_id=job_id,
    )


async def left(conn, organization_id=None):
    return await conn.fetchval(
        "SELECT count(*) FROM incoming_deliveries"
        " WHERE $1::uuid IS NULL OR organization_id = $1",
        organization_id,
    )


def page(conn, organization_id, **chosen):
    asked = {"status": None, "since": None, "queue_name": None, "offset": 0}
    return incoming.list_deliveries(
        conn, organization_id=organization_id, **{**asked, "limit": 10, **chosen}
    )


async def test_a_repeat_is_logged_with_the_queue_of_its_job(conn):
    line = await stock.open_line(conn, push=False)
    [job_id] = await stock.create(conn, line)
    first = entry(line, job_id)
    await incoming.note_created(conn, entries=[first])

    moved = entry(line, job_id, queue_name="elsewhere")
    gone = entry(line, new_id(), queue_name="elsewhere")
    queues = await incoming.note_repeated(conn, entries=[moved, gone])

    assert queues == {moved.id: "mail", gone.id: "elsewhere"}
    rows = await page(conn, line.organization_id)
    assert {row["id"]: (row["status"], row["matched_queue"]) for row in rows} == {
        first.id: ("created", "mail"),
        moved.id: ("duplicate", "mail"),
        gone.id: ("duplicate", "elsewhere"),
    }


async def test_what_is_older_than_a_month_is_forgotten_piece_by_piece(conn):
    organization_id, day = new_id(), 24 * 60
    await conn.execute(FILL, organization_id, "mail", 40 * day)

    first = await incoming.forget_deliveries(conn, older_than=MONTH, at_most=1000)
    rest = await incoming.forget_deliveries(conn, older_than=MONTH, at_most=10**6)
    more = await incoming.forget_deliveries(conn, older_than=MONTH, at_most=1000)

    assert first == 1000
    assert abs(first + rest - 10 * day) <= 2
    assert more == 0
    oldest = await conn.fetchval("SELECT min(created_at) FROM incoming_deliveries")
    assert datetime.now(UTC) - oldest < MONTH + timedelta(minutes=2)


async def test_what_came_for_one_organization_is_erased_and_nothing_else(conn):
    mine, others = new_id(), new_id()
    for organization_id in (mine, others):
        await conn.execute(FILL, organization_id, "mail", 25)

    erased = [
        await incoming.erase_deliveries(conn, organization_id=mine, at_most=10)
        for _ in range(4)
    ]

    assert erased == [10, 10, 5, 0]
    assert (await left(conn, mine), await left(conn, others)) == (0, 25)


async def test_a_secret_whose_overlap_is_over_is_forgotten(conn):
    line = await stock.open_endpoint(conn)
    now = datetime.now(UTC)
    for provider, until in (
        ("github", now - timedelta(seconds=1)),
        ("slack", now + timedelta(hours=1)),
    ):
        await incoming.put_source(
            conn,
            source=NewSource(
                organization_id=line.organization_id,
                provider=provider,
                sealed=b"new",
                previous_sealed=b"old",
                previous_until=until,
                enabled=True,
                queue_name=None,
                as_message=False,
            ),
        )

    await incoming.forget_secrets(conn)

    sources = await incoming.list_sources(conn, organization_id=line.organization_id)
    assert [(row["provider"], row["previous_sealed"]) for row in sources] == [
        ("github", None),
        ("slack", b"old"),
    ]


async def note_created(conn, line):
    entries = [entry(line, new_id()) for _ in range(100)]
    await incoming.note_created(conn, entries=entries)


async def note_repeated(conn, line):
    entries = [entry(line, new_id()) for _ in range(100)]
    await incoming.note_repeated(conn, entries=entries)


async def forget_deliveries(conn, _):
    await incoming.forget_deliveries(conn, older_than=MONTH, at_most=5000)


async def erase_deliveries(conn, line):
    await incoming.erase_deliveries(
        conn, organization_id=line.organization_id, at_most=500
    )


@pytest.mark.parametrize(
    "function", [note_created, note_repeated, forget_deliveries, erase_deliveries]
)
@pytest.mark.parametrize("analyzed", [False, True])
async def test_the_log_is_written_and_pruned_by_key(
    conn, database_url, function, analyzed
):
    line = await stock.open_line(conn, push=False)
    await conn.execute(FILL, line.organization_id, "mail", 5000)
    await conn.execute(FILL, new_id(), "mail", 5000)
    if analyzed:
        await conn.execute("ANALYZE")

    async with connected(database_url, BY_KEY) as service:
        statement = incoming.SQL[function.__name__]
        call = await prepare(service, statement, function, line)
        plan = await plan_of(service, call)

    whole = [
        node
        for node in plan
        if node.get("Relation Name", "").startswith(("incoming", "jobs"))
        and node["Node Type"] in {"Seq Scan", "Index Scan", "Index Only Scan"}
        and "Index Cond" not in node
    ]
    assert whole == []


@pytest.mark.parametrize("analyzed", [False, True])
async def test_reading_the_log_costs_what_is_read(conn, analyzed):
    mine, others = new_id(), new_id()
    await conn.execute(FILL, others, "mail", 20_000)
    await conn.execute(FILL, mine, "mail", 20_000)
    await conn.execute(FILL, mine, "rare", 5)
    if analyzed:
        await conn.execute("ANALYZE")
    now = datetime.now(UTC)
    for chosen, found in (
        ({}, 10),
        ({"queue_name": "rare"}, 5),
        ({"queue_name": "none"}, 0),
        ({"status": "created", "queue_name": "mail"}, 10),
        ({"since": now - timedelta(minutes=3)}, 4),
        ({"since": now - timedelta(minutes=3), "queue_name": "rare"}, 2),
        ({"offset": 50}, 10),
    ):
        # Postgres makes its plans anew for so long, and may then keep one.
        for _ in range(7):
            assert await reads(conn, mine, chosen) == found, chosen


async def reads(conn, organization_id: UUID, chosen) -> int:
    """Read a page and return its length; few rows are touched for it."""
    async with conn.transaction():
        before = await conn.fetchval(TOUCHED)
        rows = await page(conn, organization_id, **chosen)
        assert await conn.fetchval(TOUCHED) - before < 500, chosen
    return len(rows)


TOUCHED = """
SELECT coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0)::int
  FROM pg_stat_xact_user_tables
 WHERE relname = 'incoming_deliveries'
"""


def test_an_id_begins_with_its_moment():
    """What `forget_deliveries` goes by."""
    assert first_id_at(datetime.now(UTC) - timedelta(minutes=1)) < new_id()
