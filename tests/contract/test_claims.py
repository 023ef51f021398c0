"""Who gets which job: the order, whose turn it is, and when nobody gets any."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from libs.common.db import BY_KEY
from libs.common.ids import new_id
from libs.common.store import claims, invariants, queues
from libs.common.store.claims import Claimed, ClaimedWork
from tests.support import stock
from tests.support.rivals import place_of, undecided


@pytest.fixture
async def connect(database_url):
    """Open connections as ingest has them for claims; all are closed in the end."""
    async with AsyncExitStack() as stack:

        async def opened():
            conn = await asyncpg.connect(
                database_url, server_settings={"jit": "off", **BY_KEY}
            )
            stack.push_async_callback(conn.close)
            return conn

        yield opened


@pytest.fixture
async def one(connect):
    return await connect()


@pytest.fixture
async def other(connect):
    return await connect()


@pytest.fixture(autouse=True)
async def every_job_is_in_one_place_afterwards(conn):
    yield
    assert await invariants.misplaced(conn) == []
    assert await invariants.unjournaled(conn) == []


@pytest.fixture
async def organization_id(conn):
    """An organization: queues that are configured belong to one."""
    id_ = new_id()
    await conn.execute(
        "INSERT INTO organizations (id, name, slug) VALUES ($1, 'Acme', 'acme')", id_
    )
    return id_


@pytest.fixture
async def line(conn, organization_id):
    return await stock.open_line(conn, organization_id=organization_id, push=False)


@pytest.fixture
async def pushed(conn):
    """A lane of push jobs."""
    return await stock.open_line(conn)


async def configure(conn, line, **changes):
    """Configure the queue of *line* as the API does."""
    given = {
        "max_retries": None,
        "default_timeout": None,
        "rate_limit": None,
        "enabled": None,
        "settings": None,
    }
    await queues.configure_queue(
        conn,
        id_=new_id(),
        organization_id=line.organization_id,
        name=line.queue_name,
        **{**given, **changes},
    )


# --- the order ------------------------------------------------------------------------


async def test_the_most_urgent_come_first_and_then_the_longest_ready(conn, line):
    later = [(await stock.create(conn, line, rank=rank))[0] for rank in (100, 50, 100)]
    first, *rest = await stock.create(conn, line, 3, rank=10)

    claimed = await stock.claim_work(conn, line, 10)

    assert [each.job_id for each in claimed] == [
        *[first, *rest],
        *[later[1], later[0], later[2]],
    ]


async def test_who_asked_first_is_served_first(one, line):
    ids = await stock.create(one, line, 7)
    asked = [stock.asks(line, count, owner=f"w{count}") for count in (2, 3, 4)]

    given = await claims.claim_work(one, asked=asked)

    got = [[job.job_id for job in given.work.get(each.lease_id, [])] for each in asked]
    assert got == [ids[:2], ids[2:5], ids[5:]]


async def test_each_request_gets_its_own_lease_owner_and_deadline(one, line):
    stranger = await stock.open_line(one, queue_name="other", push=False)
    await stock.create(one, line, 3)
    await stock.create(one, stranger, 3)
    asked = [
        stock.asks(line, 1, owner="short", seconds=5),
        stock.asks(stranger, 2, owner="stranger", seconds=60),
        stock.asks(line, 2, owner="long", seconds=3600),
    ]

    given = await claims.claim_work(one, asked=asked)

    for each in asked:
        rows = await one.fetch(
            "SELECT job_id, owner, lane_id, deadline - claimed_at AS lease, attempt"
            "  FROM leased WHERE lease_id = $1",
            each.lease_id,
        )
        assert len(rows) == each.limit
        assert {row["job_id"] for row in rows} == {
            job.job_id for job in given.work[each.lease_id]
        }
        assert {(row["owner"], row["lane_id"], row["lease"]) for row in rows} == {
            (each.owner, each.lane_id, each.lease)
        }
    told = given.work[asked[2].lease_id][0]
    assert told.lease_expires_at - told.claimed_at == timedelta(hours=1)
    assert (told.attempt, told.retry_count, told.payload) == (1, 0, '{"n": 1}')
    actors = await one.fetch("SELECT actor FROM journal WHERE transition = 'started'")
    assert Counter(row["actor"] for row in actors) == {
        "short": 1,
        "stranger": 2,
        "long": 2,
    }


async def test_workers_who_race_for_jobs_get_each_once(conn, line, connect):
    ids = await stock.create(conn, line, 500)
    claimed: list[ClaimedWork] = []

    async def work(number):
        mine = await connect()
        while True:
            asked = [stock.asks(line, 3, owner=f"w{number}-{n}") for n in range(4)]
            given = await claims.claim_work(mine, asked=asked)
            if not given.work:
                return
            claimed.extend(job for work in given.work.values() for job in work)

    await asyncio.gather(*(work(number) for number in range(5)))

    assert sorted(job.job_id for job in claimed) == sorted(ids)


async def test_who_claims_steps_around_what_another_is_claiming(conn, line, one, other):
    ids = await stock.create(conn, line, 10)

    async with undecided(one) as transaction:
        first = await stock.claim_work(one, line, 6)
        second = await asyncio.wait_for(stock.claim_work(other, line, 6), 5)
        await transaction.rollback()

    assert [job.job_id for job in first] == ids[:6]
    assert [job.job_id for job in second] == ids[6:]


# --- push jobs ------------------------------------------------------------------------


async def test_a_dispatcher_steps_around_what_another_is_claiming(
    conn, pushed, one, other
):
    await stock.create(conn, pushed, 10)

    async with undecided(one) as transaction:
        first = await stock.claim(one, pushed, 6)
        second = await asyncio.wait_for(stock.claim(other, pushed, 6), 5)
        await transaction.rollback()

    # What was given up is there for the next one.
    third = await stock.claim(other, pushed, 10)
    assert len(first) == 6
    assert len(second) == 4
    assert {each.job_id for each in third} == {each.job_id for each in first}


async def test_dispatchers_never_get_the_same_job(conn, pushed, connect):
    ids = await stock.create(conn, pushed, 400)
    claimed: list[Claimed | ClaimedWork] = []

    async def claim_all(owner):
        mine = await connect()
        while found := await stock.claim(
            mine, pushed, 17, owner=owner, lease_jobs_max=5
        ):
            claimed.extend(found)

    await asyncio.gather(*(claim_all(f"dispatcher-{n}") for n in range(4)))

    assert sorted(each.job_id for each in claimed) == sorted(ids)
    owners = await conn.fetch("SELECT id, owner, cardinality(job_ids) FROM leases")
    assert {row["id"] for row in owners} == {each.lease_id for each in claimed}
    assert sum(row["cardinality"] for row in owners) == 400


# --- what is not handed out -----------------------------------------------------------


async def test_a_job_whose_time_to_run_has_passed_ends_instead(conn, one, line):
    soon = datetime.now(UTC) + timedelta(hours=1)
    [late] = await stock.create(conn, line, rank=1, expires_at=soon)
    [fresh] = await stock.create(conn, line, expires_at=soon)
    await conn.execute(
        "UPDATE jobs SET expires_at = now() - interval '1 second' WHERE id = $1", late
    )
    asked = stock.asks(line, 1)

    first = await claims.claim_work(one, asked=[asked])
    second = await claims.claim_work(one, asked=[asked])

    assert (first.work, first.expired) == ({}, {asked.lease_id: 1})
    assert [job.job_id for job in second.work[asked.lease_id]] == [fresh]
    ended = await conn.fetchrow("SELECT * FROM finished WHERE job_id = $1", late)
    assert (ended["ending"], ended["attempt"]) == ("expired", 0)


async def test_children_of_a_job_that_ends_so_are_cancelled(conn, one, line):
    [parent] = await stock.create(conn, line)
    [child] = await stock.create(conn, line, parent_id=parent)
    await conn.execute("UPDATE jobs SET expires_at = now() WHERE id = $1", parent)

    given = await claims.claim_work(one, asked=[stock.asks(line, 5)])

    assert given.released.cancelled == 1
    assert await place_of(conn, child) == "finished"


@pytest.mark.parametrize(
    "change", [{"enabled": False}, {"settings": '{"paused": true}'}]
)
async def test_a_paused_queue_gives_nothing_and_says_nothing(conn, one, line, change):
    push = await stock.open_line(one, organization_id=line.organization_id)
    [job_id] = await stock.create(conn, line)
    await stock.create(conn, push)
    await configure(conn, line, **change)

    assert await stock.claim_work(one, line, 5) == []
    assert await stock.claim(one, push, 5) == []
    assert (await claims.ready_lanes(one, after=0, limit=10)).lanes == []
    assert await place_of(conn, job_id) == "ready"

    await configure(conn, line, enabled=True, settings='{"paused": false}')
    assert len(await stock.claim_work(one, line, 5)) == 1
    assert len(await stock.claim(one, push, 5)) == 1


async def test_the_queue_of_another_organization_is_not_paused(conn, one, line):
    stranger = await stock.open_line(one, push=False)
    await stock.create(one, stranger)
    await configure(conn, line, enabled=False)

    assert len(await stock.claim_work(one, stranger)) == 1


async def test_paused_lanes_do_not_hide_those_behind_them(conn, one, line):
    await stock.create(conn, line)
    await configure(conn, line, enabled=False)
    behind = await stock.open_line(one, push=False)
    await stock.create(one, behind)

    first = await claims.ready_lanes(one, after=0, limit=1)
    second = await claims.ready_lanes(one, after=first.after, limit=1)

    assert first == ([], line.id)
    assert [lane.id for lane in second.lanes] == [behind.id]


@pytest.mark.parametrize(
    "change", [{"rate_limit": 5}, {"settings": '{"concurrency": 5}'}]
)
async def test_a_lane_of_a_queue_with_a_limit_is_refused(conn, one, line, change):
    free = await stock.open_line(
        one, organization_id=line.organization_id, queue_name="free", push=False
    )
    push = await stock.open_line(one, organization_id=line.organization_id)
    for each in (line, free, push):
        await stock.create(conn, each)
    await configure(conn, line, **change)
    asked = [stock.asks(line), stock.asks(free), stock.asks(line)]

    given = await claims.claim_work(one, asked=asked)
    claimed, refused = await claims.claim(
        one,
        quotas={push.id: 1},
        lease_jobs_max=64,
        owner="dispatcher",
        lease=timedelta(seconds=7),
        payload_bytes_max=100,
    )

    assert given.refused == {line.id}
    assert list(given.work) == [asked[1].lease_id]
    assert (claimed, refused) == ([], {push.id})
    admitted = await claims.claim_work(one, asked=asked, admitted={line.id})
    assert sum(map(len, admitted.work.values())) == 1


async def test_a_lane_that_there_is_not_gives_nothing(one, line):
    given = await claims.claim_work(one, asked=[replace(stock.asks(line), lane_id=99)])

    assert given == claims.Given()


@pytest.mark.parametrize(
    ("settings", "concurrency"),
    [
        ('{"concurrency": 7}', 7),
        ('{"concurrency": 0}', 1),
        ('{"concurrency": 1e30}', 100_000),
        ('{"concurrency": "7"}', None),
        ('{"concurrency": null}', None),
        ("{}", None),
    ],
)
async def test_what_counts_as_a_limit(conn, line, settings, concurrency):
    await configure(conn, line, settings=settings)

    row = await conn.fetchrow("SELECT concurrency, limited FROM queues")

    assert tuple(row) == (concurrency, concurrency is not None)
