"""Workers claim over REST: who gets which job, and who waits for one."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import aiohttp
import asyncpg
import pytest

from tests.support.claiming import (
    asked,
    claim,
    in_line,
    looked,
    second_ingest,
    timed,
)
from tests.support.house import Api, new_tenant, open_api
from tests.support.waiting import until

# --- what is handed out ---------------------------------------------------------------


async def test_a_claimed_job_comes_whole_and_is_in_work(api):
    job_id = await api.create(
        payload={"n": 1.50},
        priority=7,
        tags=["a"],
        idempotency_key="once",
        max_retries=2,
        timeout_seconds=60,
    )

    [job] = await claim(api, lease_duration_secs=60)

    shown = await api.job(job_id)
    assert shown["status"] == "processing"
    assert job == {
        "id": job_id,
        "queue_name": "mail",
        "payload": {"n": 1.5},
        "priority": 7,
        "attempt": 1,
        "retry_count": 0,
        "max_retries": 2,
        "timeout_seconds": 60,
        "tags": ["a"],
        "idempotency_key": "once",
        "workflow_id": None,
        "created_at": shown["created_at"],
        "scheduled_at": None,
        "claimed_at": shown["started_at"],
        "lease_id": shown["lease_id"],
        "lease_expires_at": shown["lease_expires_at"],
    }
    assert shown["assigned_worker_id"] == "w1"
    assert await api.history(job_id) == ["created", "started"]
    assert await claim(api) == []


async def test_the_most_urgent_first_then_the_oldest(api):
    low = await api.create(priority=-5)
    old = await api.create()
    new = await api.create()
    high = await api.create(priority=100)

    assert [job["id"] for job in await claim(api, limit=3)] == [high, old, new]
    assert [job["id"] for job in await claim(api, limit=3)] == [low]


async def test_push_jobs_are_not_for_workers(api, endpoint):
    job_id = await api.create(endpoint.url)
    await api.until_status(job_id, "completed")
    assert await claim(api) == []


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        ({"limit": 0}, 400),
        ({"limit": 101}, 400),
        ({"limit": "many"}, 422),
        ({"worker_id": ""}, 400),
        ({"worker_id": "w" * 256}, 400),
        ({"worker_id": "w\x00"}, 400),
        ({"worker_id": None}, 422),
        ({"lease_duration_secs": 4}, 400),
        ({"lease_duration_secs": 3601}, 400),
        ({"queue_name": "-"}, 400),
        ({"wait_seconds": 30.5}, 400),
        ({"wait_seconds": -1}, 400),
    ],
)
async def test_what_cannot_be_asked_is_refused(api, wrong, status):
    body = await claim(api, expect=status, **wrong)

    assert body["code"] == "VALIDATION_ERROR"


async def test_nulls_are_what_is_absent(api):
    await api.create()

    [job] = await claim(api, limit=None, lease_duration_secs=None, wait_seconds=None)

    assert job["lease_id"]


async def test_a_key_claims_only_from_its_queues(api, house, tenant):
    made = await api.ask(
        "POST", "/api-keys", json={"name": "narrow", "queues": ["other"]}, expect=201
    )
    await api.create()
    async with open_api(house, tenant) as narrow:
        narrow.tenant = replace(tenant, api_key=made["key"])

        body = await claim(narrow, expect=403)
        assert await claim(narrow, queue_name="other") == []

    assert body["message"] == "API key does not have permission for queue 'mail'"


async def test_jobs_of_another_organization_are_not_claimed(api, house, database_url):
    await api.create()
    stranger = await new_tenant(database_url, slug="stranger")
    async with open_api(house, stranger) as other:
        assert await claim(other) == []
    assert len(await claim(api)) == 1


async def test_twenty_claimers_get_five_hundred_jobs_each_once(api, house, tenant):
    created = set()
    for _ in range(5):
        made = await api.ask(
            "POST",
            "/jobs/bulk",
            json={"queue_name": "mail", "jobs": [{"payload": n} for n in range(100)]},
            expect=200,
        )
        created |= {one["job_id"] for one in made["succeeded"]}
    claimed: list[str] = []

    async def work(via, number):
        while jobs := await claim(via, worker_id=f"w{number}", limit=number % 7 + 1):
            claimed.extend(job["id"] for job in jobs)

    async with second_ingest(house, tenant) as other:
        await asyncio.gather(
            *(work((api, other)[number % 2], number) for number in range(20))
        )

    assert len(claimed) == 500
    assert set(claimed) == created


async def test_a_job_that_expired_is_not_handed_out(api, database_url, house):
    await house.stop("scheduler")
    late = await api.create(priority=9, expires_at="2999-01-01T00:00:00Z")
    fresh = await api.create()
    conn = await asyncpg.connect(database_url)
    await conn.execute("UPDATE jobs SET expires_at = now() WHERE id = $1::uuid", late)
    await conn.close()

    assert [job["id"] for job in await claim(api)] == [fresh]
    assert (await api.job(late))["status"] == "expired"


# --- a queue that is paused -----------------------------------------------------------


async def test_a_paused_queue_hands_out_nothing_and_takes_everything(
    api, house, tenant
):
    await api.create()
    await api.ask("PUT", "/queues/mail/config", json={}, expect=200)
    async with second_ingest(house, tenant) as other:
        await api.ask("POST", "/queues/mail/pause", json={}, expect=200)

        await api.create()
        assert await claim(api, limit=10) == []
        assert await claim(other, limit=10) == []

        await api.ask("POST", "/queues/mail/resume", expect=200)
        assert len(await claim(other, limit=10)) == 2


async def test_nothing_is_handed_out_once_the_pause_is_answered(api):
    """Claims race the pause: none that was asked after its answer gets a job."""
    await api.ask("PUT", "/queues/mail/config", json={}, expect=200)
    for turn in range(10):
        for _ in range(5):
            await api.create()
        racing = [asyncio.create_task(claim(api)) for _ in range(3)]
        await api.ask("POST", "/queues/mail/pause", json={}, expect=200)
        assert await claim(api, limit=100) == [], turn
        await asyncio.gather(*racing)
        await api.ask("POST", "/queues/mail/resume", expect=200)


async def test_who_waits_at_a_paused_queue_is_woken_when_it_goes_on(api):
    await api.create()
    await api.ask("PUT", "/queues/mail/config", json={}, expect=200)
    await api.ask("POST", "/queues/mail/pause", json={}, expect=200)
    task = await in_line(api)

    await api.ask("POST", "/queues/mail/resume", expect=200)
    jobs, seconds = await timed(task)

    assert len(jobs) == 1
    assert seconds < 2


# --- waiting --------------------------------------------------------------------------


async def test_who_waits_gets_a_job_as_soon_as_it_is_created(api):
    await api.create()
    await claim(api)
    task = await in_line(api)

    job_id = await api.create()
    jobs, seconds = await timed(task)

    assert [job["id"] for job in jobs] == [job_id]
    assert seconds < 2


async def test_who_waits_at_a_queue_that_never_had_a_job_gets_its_first(api):
    task = asyncio.create_task(claim(api, queue_name="new", wait_seconds=20))
    assert await claim(api, queue_name="new") == []

    job_id = await api.create(queue_name="new")
    jobs, seconds = await timed(task)

    assert [job["id"] for job in jobs] == [job_id]
    assert seconds < 2
    assert await api.ask("GET", "/queues/new", expect=200)


async def test_who_waits_in_vain_is_told_so_in_time(api):
    jobs, seconds = await timed(claim(api, wait_seconds=0.5))

    assert jobs == []
    assert 0.5 <= seconds < 3


async def test_who_waits_at_another_replica_is_woken_too(api, house, tenant):
    await api.create()
    await claim(api)
    async with second_ingest(house, tenant) as other:
        task = await in_line(other)
        job_id = await api.create()
        jobs, seconds = await timed(task)

    assert [job["id"] for job in jobs] == [job_id]
    assert seconds < 2


async def test_who_waits_gets_a_job_that_becomes_due(api):
    soon = datetime.now(UTC) + timedelta(seconds=1)
    job_id = await api.create(scheduled_at=soon.isoformat())
    task = await in_line(api)

    jobs, seconds = await timed(task)

    assert [job["id"] for job in jobs] == [job_id]
    assert seconds < 4


async def test_who_waits_gets_a_job_that_failed_once_it_is_due_again(api):
    job_id = await api.create(
        retry={"strategy": "schedule", "schedule_seconds": [0.5], "jitter": 0}
    )
    await claim(api)
    task = await in_line(api, worker_id="w2")
    await api.ask(
        "POST",
        f"/jobs/{job_id}/fail",
        json={"worker_id": "w1", "error": "no"},
        expect=200,
    )

    jobs, seconds = await timed(task)

    assert [(job["id"], job["retry_count"]) for job in jobs] == [(job_id, 1)]
    assert seconds < 4


async def test_who_waits_gets_a_job_whose_lease_ran_out(api, database_url):
    job_id = await api.create()
    await claim(api, lease_duration_secs=5)
    task = await in_line(api, worker_id="w2")
    conn = await asyncpg.connect(database_url)
    await conn.execute("UPDATE leased SET deadline = now()")
    await conn.close()

    jobs, seconds = await timed(task)

    assert [(job["id"], job["retry_count"]) for job in jobs] == [(job_id, 1)]
    assert seconds < 8


async def test_of_a_hundred_who_wait_for_one_job_one_gets_it_in_one_statement(
    house, tenant, monkeypatch
):
    # Nobody looks unasked meanwhile.
    monkeypatch.setattr("services.ingest.claims._LOOK_SECONDS", 60)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        api = Api(house.base_url, session, tenant)
        await api.create()
        await claim(api)
        async with looked(100):
            tasks = [
                asyncio.create_task(claim(api, worker_id=f"w{n}", wait_seconds=4))
                for n in range(100)
            ]
        # Whoever was asked about before these has had the answer, and waits.
        for _ in range(3):
            assert await claim(api, worker_id="hasty") == []
        claims, statements = asked()

        async with looked(100):
            job_id = await api.create()
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)

        assert asked() == (claims + 100, statements + 1)
        [winner] = done
        assert [job["id"] for job in winner.result()] == [job_id]
        losers = [task for task in tasks if task is not winner]
        assert await asyncio.gather(*losers) == [[]] * 99


async def test_who_leaves_while_waiting_gets_no_job(api, house, tenant):
    await api.create()
    await claim(api)
    async with open_api(house, tenant) as leaving:
        task = await in_line(leaving, worker_id="gone")
        task.cancel()
        await asyncio.wait([task])

    job_id = await api.create()
    [job] = await claim(api, worker_id="here", wait_seconds=5)

    assert job["id"] == job_id
    assert await api.history(job_id) == ["created", "started"]


async def test_who_waits_is_sent_home_when_the_service_stops(api, house):
    await api.create()
    await claim(api)
    task = await in_line(api, wait_seconds=30)

    _, seconds = await timed(house.stop("ingest"))

    assert seconds < 5
    assert await task == []


# --- NATS is away ---------------------------------------------------------------------


async def test_without_nats_claims_work_and_who_waits_looks_by_itself(api, nats_server):
    await nats_server.kill()
    first = await api.create()

    assert [job["id"] for job in await claim(api)] == [first]

    task = await in_line(api)
    second = await api.create()
    jobs, seconds = await timed(task)
    assert [job["id"] for job in jobs] == [second]
    assert seconds < 4


async def test_who_waits_for_a_queue_that_is_not_yet_is_not_woken_by_all_others(api):
    await api.create()
    waiting = asyncio.create_task(
        claim(api, queue_name="not-yet", worker_id="w2", wait_seconds=20)
    )
    await until(lambda: asked("find_lanes")[0] >= 1)
    # The first word of a lane that nobody here knows may be of this one.
    await claim(api)
    for _ in range(5):
        await api.create()
        await claim(api)
    before, _ = asked("find_lanes")

    for _ in range(20):
        await api.create()
        assert len(await claim(api)) == 1

    # It looks now and then by itself.
    assert asked("find_lanes")[0] - before <= 3
    wanted = await api.create(queue_name="not-yet")
    [job] = await asyncio.wait_for(waiting, 3)
    assert job["id"] == wanted
