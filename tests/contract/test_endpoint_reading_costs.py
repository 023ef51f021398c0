"""What is read of endpoints and messages costs nothing that others have, or history.

Counted as in `test_reading_costs`, with the planner's own choice.
"""

from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
import pytest_asyncio

from libs.common.store import attempts, endpoints, messages, resends
from libs.common.store.messages import Filter
from tests.support import stock
from tests.support.databases import copy_of

MESSAGES = 4_000
#: Every so many of the messages go to the quiet endpoint, too.
QUIET = 400
READ = """
SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::int
  FROM pg_stat_xact_user_tables
"""
#: Messages of one organization; each goes to its busy endpoint, and fails and succeeds.
FILL = """
WITH made AS (
    SELECT n, (born || '7000a' || lpad(to_hex(n), 15, '0'))::uuid AS message_id,
           (born || '7000b' || lpad(to_hex(n), 15, '0'))::uuid AS job_id,
           now() - ($5 - n) * interval '1 millisecond' AS at
      FROM generate_series(1, $5) AS n
     CROSS JOIN LATERAL (
            SELECT lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint - $5 + n),
                        12, '0') AS born) AS moment
), bodies AS (
    INSERT INTO messages (id, organization_id, event_type, payload)
    SELECT message_id, $1, 'a', '{}' FROM made
), carried AS (
    INSERT INTO jobs (id, organization_id, queue_name, message_id, endpoint_id,
                      max_retries, timeout_seconds)
    SELECT job_id, $1, 'webhooks', message_id,
           CASE WHEN n % $6 = 0 THEN $4::uuid ELSE $2::uuid END, 9, 300 FROM made
), into_ready AS (
    INSERT INTO ready (lane_id, rank, ready_at, job_id)
    SELECT $3, 100, now(), job_id FROM made WHERE n % 2 = 0
), into_finished AS (
    INSERT INTO finished (job_id, lane_id, rank, attempt, retry_count, ending)
    SELECT job_id, $3, 100, 2, 1, 'completed' FROM made WHERE n % 2 = 1
)
INSERT INTO attempts (job_id, attempt, verdict, actor, started_at, duration_ms, error,
                      endpoint_id)
SELECT job_id, attempt,
       (CASE WHEN attempt = 2 OR n % $6 <> 0 THEN 'delivered'
             ELSE 'refused' END)::verdict,
       'pod', at, 1, NULL, CASE WHEN n % $6 = 0 THEN $4::uuid ELSE $2::uuid END
  FROM made CROSS JOIN generate_series(1, 2) AS attempt
"""


@pytest_asyncio.fixture(
    scope="module", loop_scope="session", params=["unknown", "analyzed"]
)
async def stocked(request, postgres_url, migrated_template):
    """A database in which somebody has much, and a busy and a quiet endpoint."""
    async with copy_of(migrated_template, server=postgres_url) as url:
        conn = await asyncpg.connect(url)
        for _ in range(2):
            busy = await stock.open_endpoint(conn)
            quiet = await stock.open_endpoint(
                conn, organization_id=busy.organization_id
            )
            for number in range(20):
                await stock.open_endpoint(
                    conn, organization_id=busy.organization_id, description=str(number)
                )
            await conn.execute(
                FILL,
                busy.organization_id,
                busy.endpoint_id,
                busy.id,
                quiet.endpoint_id,
                MESSAGES,
                QUIET,
            )
        if request.param == "analyzed":
            await conn.execute("ANALYZE")
        await conn.close()
        yield url, busy, quiet


async def read_one(conn, busy, quiet):
    await endpoints.read_endpoint(
        conn, organization_id=busy.organization_id, id_=quiet.endpoint_id
    )


async def list_all(conn, busy, quiet):
    found = await endpoints.list_endpoints(
        conn, organization_id=busy.organization_id, limit=20, offset=0
    )
    assert len(found) == 20


async def list_messages(conn, busy, quiet):
    found = await messages.list_messages(
        conn, organization_id=busy.organization_id, chosen=Filter(limit=10)
    )
    assert len(found) == 10


async def list_messages_since(conn, busy, quiet):
    since = datetime.now(UTC) - timedelta(minutes=1)
    found = await messages.list_messages(
        conn,
        organization_id=busy.organization_id,
        chosen=Filter(limit=10, created_after=since),
    )
    assert len(found) == 10


async def list_messages_of(conn, busy, quiet):
    found = await messages.list_messages_of(
        conn,
        organization_id=busy.organization_id,
        chosen=Filter(limit=5, endpoint_id=quiet.endpoint_id),
    )
    assert len(found) == 5


async def list_deliveries(conn, busy, quiet):
    [newest] = await messages.list_messages(
        conn, organization_id=busy.organization_id, chosen=Filter(limit=1)
    )
    found = await messages.list_deliveries(conn, message_id=newest["id"], limit=1000)
    assert len(found) == 1


async def list_attempts(conn, busy, quiet):
    found = await attempts.list_of_endpoint(
        conn, endpoint_id=busy.endpoint_id, delivered=False, limit=10, offset=0
    )
    assert len(found) == 10


async def list_failed(conn, busy, quiet):
    found = await attempts.list_failed_at_endpoint(
        conn, endpoint_id=quiet.endpoint_id, limit=5, offset=0
    )
    assert len(found) == 5
    none = await attempts.list_failed_at_endpoint(
        conn, endpoint_id=busy.endpoint_id, limit=5, offset=0
    )
    assert none == []


async def read_again(conn, busy, quiet):
    [newest] = await messages.list_messages(
        conn, organization_id=busy.organization_id, chosen=Filter(limit=1)
    )
    [job] = await messages.list_deliveries(conn, message_id=newest["id"], limit=1)
    await resends.read_again(
        conn, organization_id=busy.organization_id, job_ids=[job["job_id"]]
    )


@pytest.mark.parametrize(
    ("ask", "rows"),
    [
        (read_one, 100),
        (list_all, 500),
        (list_messages, 200),
        (list_messages_since, 200),
        (list_messages_of, 200),
        (list_deliveries, 100),
        (list_attempts, 200),
        (list_failed, 200),
        (read_again, 150),
    ],
)
async def test_reading_costs_what_is_shown(stocked, ask, rows):
    url, busy, quiet = stocked
    conn = await asyncpg.connect(url, server_settings={"jit": "off"})
    try:
        async with conn.transaction():
            await ask(conn, busy, quiet)
            read = await conn.fetchval(READ)
    finally:
        await conn.close()

    print(f"\n{ask.__name__}: {read} rows")
    assert read <= rows
