"""Limits of endpoints, as their receivers see them: several dispatchers together."""

import asyncio

import pytest

from tests.support.endpoint import Answer, run_endpoint
from tests.support.endpoints import create_endpoint, fill
from tests.support.waiting import until


@pytest.fixture
async def two_dispatchers(house, carrying):
    """A house with another dispatcher, and a pod."""
    await house.start("dispatcher#2")
    return house


@pytest.mark.usefixtures("two_dispatchers")
async def test_a_receiver_never_sees_more_requests_at_once_than_it_wants(api, conn):
    most: list[int] = []

    async def think(_):
        most.append(receiver.under_way)
        await asyncio.sleep(0.02)
        return 200

    async with run_endpoint() as receiver:
        receiver.otherwise = think
        made = await create_endpoint(api, url=receiver.url, max_concurrency=6)
        await fill(conn, made, 300)
        await receiver.received(300, at_most=30)

    assert len(set(receiver.ids)) == 300
    assert max(most) == 6


@pytest.mark.usefixtures("two_dispatchers")
async def test_a_receiver_never_gets_more_requests_a_second_than_it_wants(
    api, conn, capsys
):
    async with run_endpoint() as receiver:
        made = await create_endpoint(
            api, url=receiver.url, max_concurrency=100, rate_limit_per_second=25
        )
        await fill(conn, made, 100)
        await receiver.received(100, at_most=30)

    arrived = sorted(request.at for request in receiver.requests)
    seconds = arrived[-1] - arrived[0]
    in_a_second = max(
        sum(first <= at < first + 1 for at in arrived) for first in arrived
    )
    with capsys.disabled():
        print(f"\n25 a second: 100 requests in {seconds:.2f} s, {in_a_second} in one")
    # A second's worth at once, and then one every 40 ms; they may gather on their way.
    assert seconds >= 2.8
    began = [
        row["at"].timestamp()
        for row in await conn.fetch(
            "SELECT at FROM journal WHERE transition = 'started' ORDER BY at"
        )
    ]
    assert max(sum(first <= at < first + 1 for at in began) for first in began) <= 50


@pytest.mark.usefixtures("two_dispatchers")
async def test_a_hanging_endpoint_leaves_another_alone(api, conn):
    async with run_endpoint() as hanging, run_endpoint() as other:
        hanging.otherwise = Answer(200, delay_seconds=30)
        await fill(conn, await create_endpoint(api, url=hanging.url), 500)
        await until(lambda: hanging.under_way == 10)

        await fill(conn, await create_endpoint(api, url=other.url), 50)
        await other.received(50)

        assert hanging.under_way == len(hanging.requests) == 10


@pytest.mark.usefixtures("carrying")
async def test_jobs_are_sent_as_their_endpoint_is_configured_now(api, conn):
    async with run_endpoint() as receiver:
        made = await create_endpoint(api, url=receiver.url, headers={"x-colour": "red"})
        await fill(conn, made, 1)
        [first] = await receiver.received(1)
        rotated = await api.ask(
            "POST",
            f"/endpoints/{made['id']}/secret/rotate",
            json={"overlap_seconds": 0},
            expect=200,
        )
        await api.ask(
            "PATCH",
            f"/endpoints/{made['id']}",
            json={
                "url": receiver.url_of("/elsewhere"),
                "headers": {"x-colour": "blue"},
            },
            expect=200,
        )
        await fill(conn, made, 1, webhook_id="msg_1")
        _, second = await receiver.received(2)

    first.verify(made["secret"])
    assert (first.method, first.path, first.body) == ("POST", "/webhook", b'{"n": 1}')
    assert first.headers["x-colour"] == "red"
    second.verify(rotated["secret"])
    assert (second.path, second.id) == ("/elsewhere", "msg_1")
    assert second.headers["x-colour"] == "blue"
