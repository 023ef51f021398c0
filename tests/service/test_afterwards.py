"""What follows at once when jobs end or come back: nobody waits for a later look."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from libs.common.store import timers
from tests.support import flows, stock
from tests.support.house import assert_invariants, open_api, run_house
from tests.support.rivals import blocked, place_of, undecided
from tests.support.waiting import until
from tests.support.work import claim


@pytest.fixture
async def pushing(database_url, nats_url, tenant):
    """A client of a house without a scheduler, whose dispatcher looks when told."""
    async with run_house(
        database_url,
        nats_url,
        services=("ingest", "dispatcher", "delivery"),
        poll_seconds=60,
    ) as house:
        async with open_api(house, tenant) as client:
            yield client
        await assert_invariants(database_url)


def past():
    return (datetime.now(UTC) - timedelta(seconds=1)).isoformat()


async def test_a_parent_that_expires_at_a_claim_takes_its_child_along(still):
    parent = await still.create(expires_at=past())
    child = await still.create(parent_job_id=parent)

    assert await claim(still) == []

    assert (await still.job(parent))["status"] == "expired"
    assert (await still.job(child))["status"] == "cancelled"


async def test_a_push_parent_that_expires_takes_its_child_along(pushing, endpoint):
    await pushing.create(queue_name="mail")
    await pushing.ask("POST", "/queues/mail/pause", expect=200)
    parent = await pushing.create(endpoint.url, expires_at=past())
    child = await pushing.create(endpoint.url, parent_job_id=parent)

    await pushing.ask("POST", "/queues/mail/resume", expect=200)

    await pushing.until_status(parent, "expired", at_most=5)
    await pushing.until_status(child, "cancelled", at_most=5)
    assert endpoint.requests == []


async def test_each_step_of_a_workflow_is_there_as_soon_as_the_one_before_is_over(
    pushing, endpoint
):
    """Webhooks and workers take turns; the dispatcher looks once a minute only."""
    target = {"url": endpoint.url}
    made = await flows.create(
        pushing,
        flows.step("ask", target=target),
        flows.step("think", "ask"),
        flows.step("tell", "think", target=target),
        flows.step("file", "tell"),
    )
    began = time.monotonic()

    for key in ("think", "file"):
        asked = {"queue_name": flows.QUEUE, "worker_id": flows.WORKER}
        answer = await pushing.ask(
            "POST", "/jobs/claim", json={**asked, "wait_seconds": 20}, expect=200
        )
        [job] = answer["jobs"]
        assert job["payload"] == {"step": key}
        await flows.complete(pushing, job)

    # Whoever waits for work looks by itself after five seconds.
    assert time.monotonic() - began < 4
    detail = await flows.read(pushing, made["id"])
    assert detail["status"] == "completed"
    assert len(endpoint.requests) == 2


async def test_the_places_of_a_worker_that_leaves_are_for_push_jobs_too(
    pushing, endpoint
):
    settings = {"settings": {"concurrency": 1}}
    await pushing.ask("PUT", "/queues/mail/config", json=settings, expect=200)
    body = {"queue_name": "mail", "hostname": "host", "worker_id": "w"}
    await pushing.ask("POST", "/workers/register", json=body, expect=201)
    await pushing.create()
    assert len(await claim(pushing, worker="w")) == 1
    pushed = await pushing.create(endpoint.url)

    await pushing.ask("POST", "/workers/w/deregister", expect=204)

    await pushing.until_status(pushed, "completed", at_most=5)


async def test_a_job_that_becomes_due_meanwhile_gets_its_priority(
    still, still_house, database_url
):
    moment = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    job_id = await still.create(scheduled_at=moment)
    conn, watcher = [await asyncpg.connect(database_url) for _ in range(2)]
    await conn.execute("UPDATE scheduled SET run_at = now()")
    async with undecided(conn) as promoting:
        assert await timers.promote_due(conn, limit=1)
        path = f"/jobs/{job_id}/priority"
        changing = await blocked(
            watcher, still.ask("PUT", path, json={"priority": 9}, expect=200)
        )
        await promoting.commit()
        changed = await asyncio.wait_for(changing, 5)
    await conn.close()
    await watcher.close()

    assert (changed["old_priority"], changed["new_priority"]) == (0, 9)
    assert (await still.job(job_id))["priority"] == 9


async def test_moments_of_jobs_that_ended_in_time_hold_no_other_up(
    database_url, nats_url
):
    """They may be most: every job that has one leaves it behind."""
    conn = await asyncpg.connect(database_url)
    line = await stock.open_line(conn)
    await conn.execute(
        "INSERT INTO expiries (expires_at, job_id)"
        " SELECT now() - interval '1 hour', gen_random_uuid()"
        "   FROM generate_series(1, 12000)"
    )
    [job_id] = await stock.create(conn, line, expires_at=datetime.now(UTC))

    async with run_house(database_url, nats_url, services=("scheduler",)):
        await until(lambda: has_ended(conn, job_id), at_most=4)

    assert await conn.fetchval("SELECT count(*) FROM expiries") == 0
    await conn.close()


async def has_ended(conn, job_id):
    return await place_of(conn, job_id) == "finished"
