"""Erasing: whole jobs only, whatever else happens to them, and only one tenant's."""

import asyncio
import random
from contextlib import AsyncExitStack
from datetime import timedelta

import asyncpg
import pytest

from libs.common.db import BY_KEY
from libs.common.ids import new_id
from libs.common.store import (
    completions,
    dependencies,
    erasures,
    interventions,
    invariants,
    messages,
    organizations,
)
from libs.common.store.jobs import Completion
from tests.support import stock
from tests.support.plans import connected, plan_of, prepare, read_whole
from tests.support.rivals import cancel, place_of, settle, undecided

EVERYTHING = (
    "ready",
    "scheduled",
    "waiting",
    "held",
    "leased",
    "finished",
    "dead",
    "jobs",
    "attempts",
    "journal",
    "expiries",
    "idempotency",
    "dependencies",
    "completion_webhooks",
)


@pytest.fixture
async def connect(database_url):
    async with AsyncExitStack() as stack:

        async def opened():
            conn = await asyncpg.connect(
                database_url, server_settings={"jit": "off", **BY_KEY}
            )
            stack.push_async_callback(conn.close)
            return conn

        yield opened


@pytest.fixture(autouse=True)
async def every_job_is_in_one_place_afterwards(conn):
    yield
    assert await invariants.misplaced(conn) == []
    assert await invariants.unjournaled(conn) == []


def erase(conn, line, job_ids):
    return erasures.erase(conn, organization_id=line.organization_id, job_ids=job_ids)


async def left(conn):
    """The tables that are not empty."""
    counts = {
        table: await conn.fetchval(f"SELECT count(*) FROM {table}")
        for table in EVERYTHING
    }
    return {table: count for table, count in counts.items() if count}


async def test_an_erased_job_leaves_nothing_wherever_it_stood(conn):
    line = await stock.open_line(conn, push=False)
    worked = await stock.create(conn, line, 4, idempotency_key=None)
    done, again, dead, held = await stock.claim(conn, line, 4)
    await settle(conn, done, line=line, how="completed")
    await settle(conn, again, line=line, how="retrying")
    await settle(conn, dead, line=line, how="deadlettered")
    ready = await stock.create(conn, line, idempotency_key="key")
    gone = await stock.create(conn, line)
    await cancel(conn, line, gone[0])
    ids = [*worked, *ready, *gone]
    url = Completion(url="https://example.com/", origin="https://example.com:443")
    await completions.attach(conn, completions=dict.fromkeys(ids, url))
    assert {await place_of(conn, id_) for id_ in ids} == {
        "ready",
        "scheduled",
        "leased",
        "finished",
        "dead",
    }
    assert held.job_id in ids

    assert await erase(conn, line, ids) == len(ids)

    assert await left(conn) == {}


async def test_another_organizations_jobs_are_not_erased(conn):
    line = await stock.open_line(conn)
    other = await stock.open_line(conn)
    mine = await stock.create(conn, line, 2)
    theirs = await stock.create(conn, other, 2)

    assert await erase(conn, line, [*mine, *theirs]) == 2

    assert [await place_of(conn, id_) for id_ in theirs] == ["ready", "ready"]
    chosen = await erasures.choose_jobs(
        conn, organization_id=other.organization_id, after=theirs[0], limit=10
    )
    assert chosen == theirs[1:]


async def test_a_job_that_moves_at_this_moment_is_left_whole(conn, connect):
    line = await stock.open_line(conn)
    ids = await stock.create(conn, line, 10)
    one, other = await connect(), await connect()

    async with undecided(one) as transaction:
        claimed = await stock.claim(one, line, 4)
        erased = await asyncio.wait_for(erase(other, line, ids), 5)
        await transaction.commit()

    assert erased == 6
    assert {await place_of(conn, each.job_id) for each in claimed} == {"leased"}
    assert await erase(other, line, ids) == 4
    assert await left(conn) == {}


@pytest.mark.parametrize("seed", range(3))
async def test_erasing_in_the_middle_of_everything_halves_no_job(conn, connect, seed):
    luck = random.Random(seed)
    line = await stock.open_line(conn)
    ids = await stock.create(conn, line, 300)

    async def work(rival):
        for _ in range(12):
            claimed = await stock.claim(rival, line, luck.randint(1, 20))
            for each in claimed:
                how = luck.choice(["completed", "retrying", "released", "deadlettered"])
                await settle(rival, each, how=how)

    async def walk(rival):
        for start in range(0, len(ids), 25):
            await erase(rival, line, ids[start : start + 25])

    rivals = [await connect() for _ in range(5)]
    await asyncio.gather(*map(work, rivals[:3]), *map(walk, rivals[3:]))
    assert await invariants.misplaced(conn) == []

    await erase(conn, line, ids)

    assert await left(conn) == {}


async def test_a_child_does_not_run_because_its_parent_was_erased(conn):
    line = await stock.open_line(conn)
    [parent] = await stock.create(conn, line)
    [child] = await stock.create(conn, line)
    async with conn.transaction():
        await dependencies.lock_graph(conn, organization_id=line.organization_id)
        await dependencies.depend(
            conn, job_id=child, parents=[parent], mode="all", actor="key"
        )
    await conn.execute("DELETE FROM rechecks")

    await erase(conn, line, [parent])

    looks, _ = await dependencies.release(conn, limit=10)
    assert looks == 0
    assert await place_of(conn, child) == "waiting"
    assert await invariants.forgotten(conn) == []
    await erase(conn, line, [child])
    assert await left(conn) == {}


async def test_what_is_left_goes_after_the_grace_and_never_with_jobs(conn):
    line = await stock.open_line(conn)
    ids = await stock.create(conn, line)
    id_ = line.organization_id
    await organizations.create_organization(
        conn, id_=id_, name="Acme", slug="acme", billing_email=None, plan_tier="free"
    )
    day, none = timedelta(days=1), timedelta(0)
    assert await erasures.next_erasure(conn) is None
    assert not await erasures.erase_rest(conn, organization_id=id_, grace=none)

    assert await organizations.give_up(conn, id_=id_)
    assert not await organizations.give_up(conn, id_=id_)

    assert await erasures.next_erasure(conn) == id_
    assert not await erasures.erase_rest(conn, organization_id=id_, grace=none)
    await erase(conn, line, ids)
    assert not await erasures.erase_rest(conn, organization_id=id_, grace=day)
    assert await erasures.erase_rest(conn, organization_id=id_, grace=none)
    assert await erasures.next_erasure(conn) is None
    assert await conn.fetchval("SELECT count(*) FROM lanes") == 0


async def test_a_message_goes_when_the_last_of_its_deliveries_is_gone(conn):
    line, other = await stock.open_endpoint(conn), await stock.open_endpoint(conn)
    mine = await send(conn, line, "a"), await send(conn, line, "b")
    theirs = await send(conn, other, "a")
    [job] = await stock.create(conn, line, payload=None, message_id=mine[0])
    id_ = line.organization_id

    assert await erasures.erase_messages(conn, organization_id=id_, at_most=10) == 1

    assert await kept(conn) == ({mine[0], theirs}, {mine[0], theirs})
    assert not await rest(conn, id_)
    await erase(conn, line, [job])
    assert not await rest(conn, id_)
    assert await erasures.erase_messages(conn, organization_id=id_, at_most=10) == 1
    assert await kept(conn) == ({theirs}, {theirs})
    assert await rest(conn, id_)
    # With its endpoints, and what hangs on them; another's are left.
    endpoints = await conn.fetch("SELECT organization_id AS id FROM endpoints")
    assert [row["id"] for row in endpoints] == [other.organization_id]
    assert await conn.fetchval("SELECT count(*) FROM endpoint_health") == 1


async def test_a_purged_delivery_leaves_its_message(conn):
    endpoint = await stock.open_endpoint(conn)
    line = await stock.open_line(conn, organization_id=endpoint.organization_id)
    message = await send(conn, line, "a")
    [job] = await stock.create(conn, line, payload=None, message_id=message)
    [claimed] = await stock.claim(conn, line, 1)
    await settle(conn, claimed, how="deadlettered")

    purged = await interventions.purge(
        conn, organization_id=line.organization_id, job_ids=[job], actor="key"
    )

    assert purged.jobs == 1
    assert await kept(conn) == ({message}, {message})


async def send(conn, line, key):
    """Create a message with an idempotency key; return its id."""
    new = messages.NewMessage(
        id=new_id(),
        organization_id=line.organization_id,
        version=1,
        event_type="a",
        payload="{}",
        idempotency_key=key,
        fingerprint=b"",
    )
    assert await messages.create(conn, messages=[new]) == {new.id: "created"}
    return new.id


async def kept(conn):
    """The messages there are, and those that have keys."""
    bodies = await conn.fetch("SELECT id FROM messages")
    keys = await conn.fetch("SELECT message_id AS id FROM message_keys")
    return {row["id"] for row in bodies}, {row["id"] for row in keys}


async def rest(conn, organization_id):
    """Erase what is left of an organization; return whether it was."""
    await conn.execute(
        "UPDATE organizations SET erased_at = now() - interval '1 day' WHERE id = $1",
        organization_id,
    )
    return await erasures.erase_rest(
        conn, organization_id=organization_id, grace=timedelta(0)
    )


async def test_erasing_reads_no_table_whole(conn, database_url):
    line = await stock.open_line(conn)

    async def erase_many(conn, line):
        await erase(conn, line, [new_id() for _ in range(500)])

    async with connected(database_url, BY_KEY) as service:
        call = await prepare(service, erasures.SQL["erase"], erase_many, line)
        plan = await plan_of(service, call)

    assert read_whole(plan) == set()
