"""What scales delivery asks for what calls for pods, and is asked cheaply."""

import json
import re
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import yaml

from libs.common.store import gauges
from tests.support import stock

ROOT = Path(__file__).parents[2]
SCALED = ROOT / "deploy/k8s/overlays/production/scaled-object.yaml"
ROLE = "bellhop_keda_test"


def query():
    scaled, _ = yaml.safe_load_all(SCALED.read_text())
    [asked] = [
        one["metadata"]["query"]
        for one in scaled["spec"]["triggers"]
        if one["type"] == "postgresql"
    ]
    return asked


@asynccontextmanager
async def as_keda(conn):
    """Be somebody who may do what the manual says, and nothing else."""
    manual = (ROOT / "docs/operations.md").read_text()
    grants = re.findall(r"^GRANT .* TO bellhop_keda;$", manual, re.MULTILINE)
    assert grants
    await conn.execute(f"CREATE ROLE {ROLE}")
    try:
        for grant in grants:
            await conn.execute(grant.replace("bellhop_keda", ROLE))
        await conn.execute(f"SET ROLE {ROLE}")
        yield
    finally:
        await conn.execute(f"RESET ROLE; DROP OWNED BY {ROLE}")
        await conn.execute(f"DROP ROLE {ROLE}")


async def counted(conn):
    async with as_keda(conn):
        return await conn.fetchval(query())


async def queue_of(conn, line, settings):
    """Let the queue of a line exist, with these settings."""
    await conn.execute(
        "INSERT INTO organizations (id, name, slug) VALUES ($1, 'Acme', $2)"
        " ON CONFLICT DO NOTHING",
        *(line.organization_id, str(line.organization_id)),
    )
    await conn.execute(
        "INSERT INTO queues (id, organization_id, name, settings)"
        " VALUES (gen_random_uuid(), $1, $2, $3)",
        *(line.organization_id, line.queue_name, settings),
    )


async def rest(conn, line, column):
    await conn.execute(
        f"UPDATE endpoint_health SET {column} = now() + interval '1 minute'"
        " WHERE endpoint_id = $1",
        line.endpoint_id,
    )


async def test_nobody_is_called_when_nothing_waits(conn):
    assert await counted(conn) == 0


async def test_what_may_go_is_counted_and_nothing_of_workers(conn):
    plain, open_one = await stock.open_line(conn), await stock.open_endpoint(conn)
    workers = await stock.open_line(conn, push=False)
    await queue_of(conn, plain, "{}")
    for line, count in ((plain, 3), (open_one, 4), (workers, 5)):
        await stock.create(conn, line, count)

    assert await counted(conn) == 7


async def test_what_waits_because_it_should_calls_for_nobody(conn):
    paused, resting, throttled, disabled, deleted = (
        await stock.open_line(conn),
        await stock.open_endpoint(conn),
        await stock.open_endpoint(conn),
        await stock.open_endpoint(conn),
        await stock.open_endpoint(conn),
    )
    lines = (paused, resting, throttled, disabled, deleted)
    for line in lines:
        await stock.create(conn, line, 2)
    assert await counted(conn) == 10

    await queue_of(conn, paused, '{"paused": true}')
    await rest(conn, resting, "open_until")
    await rest(conn, throttled, "throttled_until")
    for line, change in (
        (disabled, "enabled = false, disabled_reason = 'gone', disabled_at = now()"),
        (deleted, "deleted_at = now()"),
    ):
        await conn.execute(
            f"UPDATE endpoints SET {change} WHERE id = $1", line.endpoint_id
        )

    assert await counted(conn) == 0
    # As the house itself sees it.
    due = await gauges.count_due(conn)
    assert (due.deliveries, due.kept_back) == (0, 10)


async def test_who_has_rested_counts_again(conn):
    line = await stock.open_endpoint(conn)
    await stock.create(conn, line, 2)
    await rest(conn, line, "open_until")
    assert await counted(conn) == 0

    await conn.execute("UPDATE endpoint_health SET open_until = now()")

    assert await counted(conn) == 2


async def blocks(conn):
    explained = await conn.fetchval(
        "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + query()
    )
    plan = json.loads(explained)[0]["Plan"]
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


@pytest.mark.parametrize("paused", [1, 20])
async def test_what_is_held_back_costs_a_look_a_lane_however_much_it_is(conn, paused):
    lines = [await stock.open_line(conn) for _ in range(paused)]
    for line in lines:
        await queue_of(conn, line, '{"paused": true}')
        await conn.execute(
            "INSERT INTO ready (lane_id, rank, ready_at, job_id)"
            " SELECT $1, 100, now(), gen_random_uuid() FROM generate_series(1, 5000)",
            line.id,
        )
    await stock.create(conn, await stock.open_line(conn), 3)
    await conn.execute("VACUUM ANALYZE ready, lanes, queues")

    assert await counted(conn) == 3
    assert await blocks(conn) < 40 + 20 * paused
