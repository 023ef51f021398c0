"""Limits of endpoints, as their receivers see them: several dispatchers together."""

import asyncio
from contextlib import asynccontextmanager

import asyncpg
import pytest

from tests.support import stock
from tests.support.endpoint import Answer, run_endpoint
from tests.support.waiting import until


@pytest.fixture
async def two_dispatchers(house, carrying):
    """A house with another dispatcher, and a pod."""
    await house.start("dispatcher#2")
    return house


@asynccontextmanager
async def database(url):
    conn = await asyncpg.connect(url)
    try:
        yield conn
    finally:
        await conn.close()


async def send(database_url, tenant, receiver, count, **fields):
    """Create so many jobs for an endpoint at *receiver*; return its lane."""
    async with database(database_url) as conn:
        line = await stock.open_endpoint(
            conn, organization_id=tenant.id, url=receiver.url, **fields
        )
        await stock.create(conn, line, count)
    return line


async def test_a_receiver_never_sees_more_requests_at_once_than_it_wants(
    two_dispatchers, database_url, tenant
):
    most: list[int] = []

    async def think(_):
        most.append(receiver.under_way)
        await asyncio.sleep(0.02)
        return 200

    async with run_endpoint() as receiver:
        receiver.otherwise = think
        await send(database_url, tenant, receiver, 300, max_concurrency=6)
        await receiver.received(300, at_most=30)

    assert len(set(receiver.ids)) == 300
    assert max(most) == 6


async def test_a_receiver_never_gets_more_requests_a_second_than_it_wants(
    two_dispatchers, database_url, tenant
):
    async with run_endpoint() as receiver:
        await send(
            database_url,
            tenant,
            receiver,
            100,
            max_concurrency=100,
            rate_limit_per_second=25,
        )
        await receiver.received(100, at_most=30)

    arrived = sorted(request.at for request in receiver.requests)
    # A second's worth at once, and then one every 40 ms; they may gather on their way.
    assert arrived[-1] - arrived[0] >= 2.8
    in_a_second = max(
        sum(first <= at < first + 1 for at in arrived) for first in arrived
    )
    print(f"\n100 requests in {arrived[-1] - arrived[0]:.2f} s, {in_a_second} in one")
    assert in_a_second <= 50 + 5


async def test_a_hanging_endpoint_leaves_another_alone(
    two_dispatchers, database_url, tenant
):
    async with run_endpoint() as hanging, run_endpoint() as other:
        hanging.otherwise = Answer(200, delay_seconds=30)
        await send(database_url, tenant, hanging, 500)
        await until(lambda: hanging.under_way == 10)
        await send(database_url, tenant, other, 50)

        await other.received(50)

        assert hanging.under_way == len(hanging.requests) == 10


async def test_an_endpoint_s_jobs_are_sent_as_it_is_configured_now(
    house, carrying, database_url, tenant
):
    async with run_endpoint() as receiver:
        line = await send(
            database_url, tenant, receiver, 1, headers='{"x-colour": "red"}'
        )
        [first] = await receiver.received(1)
        async with database(database_url) as conn:
            await conn.execute(
                "UPDATE endpoints SET url = $1, version = version + 1",
                receiver.url_of("/elsewhere"),
            )
            [job_id] = await stock.create(
                conn,
                line,
                webhook_id="msg_1",
            )
        await receiver.received(2)

    assert (first.method, first.path) == ("POST", "/webhook")
    second = receiver.requests[1]
    assert (second.path, second.body) == ("/elsewhere", b'{"n": 1}')
    async with database(database_url) as conn:
        await until(
            lambda: conn.fetchval("SELECT ending FROM finished WHERE job_id=$1", job_id)
        )
