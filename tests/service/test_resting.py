"""Endpoints that are disabled, enabled again or deleted: what becomes of their jobs."""

import json

import pytest

from tests.support.endpoint import run_endpoint
from tests.support.endpoints import create_endpoint, fill, send
from tests.support.waiting import until

pytestmark = pytest.mark.usefixtures("house", "carrying")


@pytest.fixture
async def receiver():
    async with run_endpoint() as server:
        yield server


async def change(api, made, **changes):
    path = f"/endpoints/{made['id']}"
    return await api.ask("PATCH", path, json=changes, expect=200)


async def places(conn):
    rows = await conn.fetch(
        "SELECT place, count(*) FROM places JOIN lanes ON lanes.id = lane_id"
        " WHERE endpoint_id IS NOT NULL GROUP BY place"
    )
    return {row["place"]: row["count"] for row in rows}


async def stand(conn, **expected):
    async def check():
        assert await places(conn) == expected
        return True

    await until(check, at_most=20)


async def test_jobs_of_a_disabled_endpoint_wait_and_go_on(api, conn, receiver):
    made = await create_endpoint(api, url=receiver.url)
    await change(api, made, enabled=False)
    await fill(conn, made, 30)
    await stand(conn, held=30)
    assert receiver.requests == []
    reasons = await conn.fetch("SELECT DISTINCT reason FROM held")
    assert [row["reason"] for row in reasons] == ["its endpoint is disabled: manual"]

    await change(api, made, enabled=True)

    await stand(conn, finished=30)
    assert len(set(receiver.ids)) == len(receiver.requests) == 30
    job_id = await conn.fetchval("SELECT id FROM jobs LIMIT 1")
    assert await api.history(job_id) == [
        "created",
        "held",
        "unblocked",
        "started",
        "completed",
    ]


async def test_what_waits_for_who_is_gone_is_held_for_that(api, conn, receiver):
    receiver.otherwise = 410
    made = await create_endpoint(api, url=receiver.url, max_concurrency=1)
    await fill(conn, made, 20)

    await until(lambda: conn.fetchval("SELECT count(*) FROM held"))

    reasons = await conn.fetch("SELECT DISTINCT reason FROM held")
    assert [row["reason"] for row in reasons] == ["its endpoint is disabled: gone"]
    receiver.otherwise = 200
    dead = (await places(conn))["dead"]
    await change(api, made, enabled=True)
    await stand(conn, finished=20 - dead, dead=dead)


async def test_everything_open_of_a_deleted_endpoint_is_cancelled(api, conn, receiver):
    receiver.otherwise = 500
    made = await create_endpoint(api, url=receiver.url)
    # One is tried once, and will be again much later; the others rest.
    later = {"strategy": "schedule", "schedule_seconds": [3600]}
    await fill(conn, made, 1, retry=json.dumps(later))
    await stand(conn, scheduled=1)
    await change(api, made, enabled=False)
    await fill(conn, made, 10)
    await stand(conn, scheduled=1, held=10)

    await api.ask("DELETE", f"/endpoints/{made['id']}", expect=204)

    await stand(conn, finished=11)
    await until(lambda: nobody(conn))
    row = await conn.fetchrow(
        "SELECT job_id, details FROM journal WHERE transition = 'cancelled' LIMIT 1"
    )
    assert json.loads(row["details"])["reason"] == "endpoint_deleted"
    job = await api.job(row["job_id"])
    assert job["status"] == "cancelled"
    assert len(receiver.requests) == 1


async def nobody(conn):
    return await conn.fetchval(
        "SELECT NOT EXISTS (SELECT FROM endpoints)"
        "   AND NOT EXISTS (SELECT FROM endpoint_health)"
        "   AND NOT EXISTS (SELECT FROM endpoint_secrets)"
    )


async def test_a_letter_to_nobody_is_not_sent_when_it_is_requeued(api, conn, receiver):
    receiver.otherwise = 500
    made = await create_endpoint(api, url=receiver.url)
    await fill(conn, made, 1, max_retries=0)
    await stand(conn, dead=1)
    await api.ask("DELETE", f"/endpoints/{made['id']}", expect=204)
    await until(lambda: nobody(conn))

    job_id = await conn.fetchval("SELECT job_id FROM dead")
    await api.ask("POST", f"/jobs/{job_id}/retry", expect=200)

    await api.until_status(job_id, "cancelled")
    assert len(receiver.requests) == 1


async def test_turns_are_kept_while_an_endpoint_rests(api, conn, receiver):
    made = await create_endpoint(api, url=receiver.url, ordered=True)
    await change(api, made, enabled=False)
    for number in range(10):
        await send(api, "user.created", {"n": number})
    await stand(conn, held=10)

    await change(api, made, enabled=True)

    await stand(conn, finished=10)
    bodies = [json.loads(request.body)["n"] for request in receiver.requests]
    assert bodies == list(range(10))
