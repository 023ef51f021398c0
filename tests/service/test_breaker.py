"""Endpoints that fail: they are left alone, tried again, and at last disabled."""

import asyncio
import time

import pytest

from tests.support.endpoint import Answer, run_endpoint
from tests.support.endpoints import create_endpoint, fill
from tests.support.waiting import until

ONCE = {"strategy": "schedule", "schedule_seconds": [0.05], "jitter": 0}


@pytest.fixture
async def receiver():
    async with run_endpoint() as server:
        yield server


async def health(conn, made):
    row = await conn.fetchrow(
        "SELECT * FROM endpoint_health WHERE endpoint_id = $1::text::uuid", made["id"]
    )
    return dict(row)


async def notices(conn):
    rows = await conn.fetch("SELECT event FROM notices ORDER BY xid, seq")
    return [row["event"] for row in rows if row["event"].startswith("endpoint.")]


async def on_trial(api, conn, made):
    """Let the breaker's time be over, and somebody look."""
    await conn.execute("UPDATE endpoint_health SET open_until = now()")
    body = {"description": "on trial"}
    await api.ask("PATCH", f"/endpoints/{made['id']}", json=body, expect=200)


async def begun(conn):
    return await conn.fetchval(
        "SELECT count(*) FROM journal WHERE transition = 'started'"
    )


@pytest.mark.usefixtures("house", "carrying")
async def test_an_open_breaker_burns_no_attempts_and_one_probe_closes_it(
    api, conn, receiver, capsys
):
    receiver.otherwise = 500
    made = await create_endpoint(api, url=receiver.url, retry=ONCE)
    await fill(conn, made, 40)
    await until(lambda: notices(conn))

    assert await notices(conn) == ["endpoint.breaker_opened"]
    opened_at = (await health(conn, made))["open_until"]
    await until(lambda: receiver.under_way == 0)
    failed = len(receiver.requests)
    # Ten failures open it, and what was under way comes on top.
    assert 10 <= failed < 40
    assert (await health(conn, made))["open_until"] == opened_at

    began = time.monotonic()
    await on_trial(api, conn, made)
    await receiver.received(failed + 1)
    # One probe, which fails: no more than that was tried.
    await until(lambda: doubled(conn, made))
    assert len(receiver.requests) == failed + 1 == await begun(conn)

    receiver.otherwise = 200
    await on_trial(api, conn, made)
    await receiver.received(failed + 1 + 40)
    assert await notices(conn) == ["endpoint.breaker_opened", "endpoint.breaker_closed"]
    assert (await health(conn, made))["open_until"] is None
    with capsys.disabled():
        print(
            f"\nopened after {failed} failures of 40 jobs; all delivered"
            f" {time.monotonic() - began:.2f} s after the first trial"
        )


async def doubled(conn, made):
    return (await health(conn, made))["open_seconds"] == 60


@pytest.mark.usefixtures("carrying")
async def test_the_breaker_survives_a_restart(api, house, conn, receiver):
    receiver.otherwise = 500
    made = await create_endpoint(api, url=receiver.url, retry=ONCE)
    await fill(conn, made, 30)
    await until(lambda: notices(conn))
    await until(lambda: receiver.under_way == 0)
    tried = len(receiver.requests)

    await house.stop("dispatcher")
    await house.start("dispatcher")
    await asyncio.sleep(2)

    assert len(receiver.requests) == tried
    receiver.otherwise = 200
    await on_trial(api, conn, made)
    await receiver.received(tried + 30)


@pytest.mark.usefixtures("house", "carrying")
async def test_gone_is_gone(api, conn, receiver):
    receiver.otherwise = 410
    made = await create_endpoint(api, url=receiver.url, max_concurrency=1)
    await fill(conn, made, 20)

    await until(lambda: notices(conn))

    shown = await api.ask("GET", f"/endpoints/{made['id']}", expect=200)
    assert (shown["enabled"], shown["disabled_reason"]) == (False, "gone")
    # What was claimed before it was disabled may have gone on its way.
    assert len(receiver.requests) <= 3
    dead = await conn.fetch("SELECT reason::text FROM dead")
    assert {row["reason"] for row in dead} == {"gone"}


@pytest.mark.usefixtures("house", "carrying")
async def test_gone_from_where_it_was_is_not_gone(api, conn, receiver):
    async with run_endpoint() as old:
        release = asyncio.Event()

        async def late(_):
            await release.wait()
            return 410

        old.otherwise = late
        made = await create_endpoint(api, url=old.url)
        await fill(conn, made, 1)
        await until(lambda: old.under_way == 1)
        body = {"url": receiver.url}
        await api.ask("PATCH", f"/endpoints/{made['id']}", json=body, expect=200)

        release.set()

        await until(lambda: conn.fetchval("SELECT count(*) FROM dead"))
    await fill(conn, made, 1)
    await receiver.received(1)
    shown = await api.ask("GET", f"/endpoints/{made['id']}", expect=200)
    assert shown["enabled"]
    assert await notices(conn) == []


@pytest.mark.usefixtures("house", "carrying")
async def test_five_days_of_failures_are_enough(api, conn, receiver):
    receiver.otherwise = 500
    made = await create_endpoint(api, url=receiver.url)
    await conn.execute(
        "UPDATE endpoint_health"
        "   SET failing_since = now() - interval '5 days', last_failure_at = now()"
    )
    await fill(conn, made, 1)

    await until(lambda: notices(conn))

    shown = await api.ask("GET", f"/endpoints/{made['id']}", expect=200)
    assert (shown["enabled"], shown["disabled_reason"]) == (False, "failing")
    assert await notices(conn) == ["endpoint.disabled"]

    # Enabled again, it may fail for as long once more.
    await api.ask(
        "PATCH", f"/endpoints/{made['id']}", json={"enabled": True}, expect=200
    )
    await fill(conn, made, 1)
    await receiver.received(2)
    await until(lambda: failed_again(conn, made))
    shown = await api.ask("GET", f"/endpoints/{made['id']}", expect=200)
    assert shown["enabled"] is True


async def failed_again(conn, made):
    return (await health(conn, made))["consecutive_failures"] == 1


@pytest.mark.usefixtures("house", "carrying")
@pytest.mark.parametrize("status", [429, 502, 504])
async def test_a_receiver_that_wants_a_rest_gets_one(api, conn, receiver, status):
    receiver.answers = [status]
    made = await create_endpoint(api, url=receiver.url, max_concurrency=1, retry=ONCE)
    await fill(conn, made, 4)

    await receiver.received(5)

    at = [request.at for request in receiver.requests]
    assert at[1] - at[0] >= 0.95
    assert at[4] - at[1] < 5


@pytest.mark.usefixtures("house", "carrying")
async def test_retry_after_is_honoured_for_all_jobs_of_an_endpoint(
    api, conn, receiver, capsys
):
    receiver.answers = [Answer(503, headers={"Retry-After": "3"})]
    made = await create_endpoint(api, url=receiver.url, max_concurrency=1, retry=ONCE)
    await fill(conn, made, 4)

    await receiver.received(5, at_most=20)

    at = [request.at for request in receiver.requests]
    with capsys.disabled():
        print(f"\nRetry-After 3: the next request came after {at[1] - at[0]:.2f} s")
    assert at[1] - at[0] >= 2.95
