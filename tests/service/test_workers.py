"""Workers over REST: they come, show themselves, and go (contract 1.6, 5.4)."""

import aiohttp
import asyncpg
import pytest

from tests.support.house import Api, new_tenant, run_house
from tests.support.tenants import scoped, stranger
from tests.support.waiting import until


async def register(api, *, expect=201, **fields):
    body = {"queue_name": "mail", "hostname": "host-1", **fields}
    return await api.ask("POST", "/workers/register", json=body, expect=expect)


async def worker(api, worker_id):
    return await api.ask("GET", f"/workers/{worker_id}", expect=200)


async def beat(api, worker_id, *, expect=200, **fields):
    return await api.ask(
        "POST",
        f"/workers/{worker_id}/heartbeat",
        json={"current_jobs": 0, **fields},
        expect=expect,
    )


async def claim(api, worker_id, limit=1, **fields):
    body = {"queue_name": "mail", "worker_id": worker_id, "limit": limit, **fields}
    return (await api.ask("POST", "/jobs/claim", json=body, expect=200))["jobs"]


async def test_a_worker_is_shown_under_both_spellings_of_its_fields(api, tenant):
    registered = await register(
        api,
        worker_id="w.1_a-b",
        worker_type="python",
        max_concurrency=7,
        version="1.2",
        metadata={"rack": [1]},
    )
    assert registered == {
        "id": "w.1_a-b",
        "queue_name": "mail",
        "lease_duration_secs": 30,
        "heartbeat_interval_secs": 10,
    }

    shown = await worker(api, "w.1_a-b")

    assert shown["last_heartbeat"]
    for moment in ("created_at", "updated_at"):
        assert shown[moment] == shown["registered_at"]
    for moment in ("last_heartbeat", "registered_at", "created_at", "updated_at"):
        del shown[moment]
    assert shown == {
        "id": "w.1_a-b",
        "organization_id": str(tenant.id),
        "queue_name": "mail",
        "queue_names": ["mail"],
        "hostname": "host-1",
        "worker_type": "python",
        "status": "healthy",
        "max_concurrency": 7,
        "max_concurrent_jobs": 7,
        "current_jobs": 0,
        "current_job_count": 0,
        "jobs_processed": 0,
        "jobs_failed": 0,
        "version": "1.2",
        "metadata": {"rack": [1]},
    }
    assert [each["id"] for each in await api.ask("GET", "/workers", expect=200)] == [
        "w.1_a-b"
    ]


async def test_an_id_is_made_up_when_none_is_given(api):
    first, second = [(await register(api))["id"] for _ in range(2)]

    assert first != second
    assert (await worker(api, first))["max_concurrency"] == 5


async def test_registered_again_it_is_the_same_worker_with_what_it_says_now(api):
    await register(api, worker_id="w", version="1", metadata={"a": 1})
    before = await worker(api, "w")
    await beat(api, "w", current_jobs=3, status="draining")

    await register(api, worker_id="w", queue_name="other", hostname="host-2")

    after = await worker(api, "w")
    assert after["registered_at"] == before["registered_at"]
    assert (after["queue_name"], after["hostname"]) == ("other", "host-2")
    assert (after["status"], after["current_jobs"]) == ("healthy", 0)
    assert (after["version"], after["metadata"]) == (None, {})


@pytest.mark.parametrize(
    ("fields", "status", "field"),
    [
        ({"queue_name": "a b"}, 400, "queue_name"),
        ({"queue_name": None}, 422, "queue_name"),
        ({"hostname": ""}, 400, "hostname"),
        ({"hostname": "h" * 256}, 400, "hostname"),
        ({"worker_type": "t" * 51}, 400, "worker_type"),
        ({"version": "v" * 51}, 400, "version"),
        ({"max_concurrency": 0}, 400, "max_concurrency"),
        ({"max_concurrency": 101}, 400, "max_concurrency"),
        ({"worker_id": ""}, 400, "worker_id"),
        ({"worker_id": "w" * 129}, 400, "worker_id"),
        ({"worker_id": "w/1"}, 400, "worker_id"),
        ({"metadata": {"x": "y" * 65_536}}, 400, "metadata"),
    ],
)
async def test_a_worker_that_cannot_be_is_refused(api, fields, status, field):
    body = await register(api, expect=status, **fields)

    assert body["code"] == "VALIDATION_ERROR"
    assert body["details"][0]["field"] == field


async def test_a_heartbeat_says_how_the_worker_is(api):
    await register(api, worker_id="w", metadata={"a": 1})

    assert await beat(api, "w", current_jobs=4, status="degraded") is None
    shown = await worker(api, "w")
    assert (shown["current_jobs"], shown["status"]) == (4, "degraded")
    assert shown["metadata"] == {"a": 1}

    await beat(api, "w", metadata={"b": 2})
    shown = await worker(api, "w")
    # What is not said stays as it is.
    assert (shown["current_jobs"], shown["status"]) == (0, "degraded")
    assert shown["metadata"] == {"b": 2}
    assert shown["last_heartbeat"] > shown["registered_at"]

    await beat(api, "w", status="offline")
    assert (await worker(api, "w"))["status"] == "offline"
    await beat(api, "w")
    assert (await worker(api, "w"))["status"] == "healthy"


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({}, 422, "current_jobs"),
        ({"current_jobs": -1}, 400, "current_jobs"),
        ({"current_jobs": 1001}, 400, "current_jobs"),
        ({"current_jobs": "1"}, 422, "current_jobs"),
        ({"current_jobs": 0, "status": "sleepy"}, 400, "status"),
    ],
)
async def test_a_heartbeat_that_cannot_be_is_refused(api, body, status, field):
    await register(api, worker_id="w")

    found, error, _ = await api.ask("POST", "/workers/w/heartbeat", json=body)

    assert (found, error["details"][0]["field"]) == (status, field)


async def test_nobody_is_not_found(api):
    assert (await api.ask("GET", "/workers/nobody"))[0] == 404
    assert (await api.ask("POST", "/workers/nobody/deregister"))[0] == 404
    await beat(api, "nobody", expect=404)


async def test_who_goes_gives_its_jobs_back_and_no_retry_is_charged(api):
    await register(api, worker_id="w")
    ids = {await api.create() for _ in range(3)}
    kept = await api.create(queue_name="other")
    assert {job["id"] for job in await claim(api, "w", 3)} == ids
    [held] = await claim(api, "someone", queue_name="other")

    for _ in range(2):
        # Idempotent.
        await api.ask("POST", "/workers/w/deregister", expect=204)

    assert (await worker(api, "w"))["status"] == "offline"
    for job_id in ids:
        job = await api.job(job_id)
        assert (job["status"], job["retry_count"]) == ("pending", 0)
    assert (await api.job(kept))["lease_id"] == held["lease_id"]
    assert {job["id"] for job in await claim(api, "next", 3)} == ids


async def test_a_key_for_some_queues_gives_back_no_others_jobs(api):
    """The id of a worker is free text: whose jobs it names is not."""
    mine = await scoped(api, "mine")
    await register(mine, worker_id="w", queue_name="mine")
    ids = [await api.create(queue_name=name) for name in ("mine", "mail")]
    for name in ("mine", "mail"):
        assert len(await claim(api, "w", queue_name=name)) == 1

    await mine.ask("POST", "/workers/w/deregister", expect=204)

    shown = [(await api.job(job_id))["status"] for job_id in ids]
    assert shown == ["pending", "processing"]


async def test_what_a_worker_did_is_counted(api):
    await register(api, worker_id="w")
    await register(api, worker_id="idle")
    for _ in range(5):
        await api.create()
    done = await claim(api, "w", 3)
    for job in done:
        body = {"worker_id": "w", "lease_id": job["lease_id"]}
        await api.ask("POST", f"/jobs/{job['id']}/complete", json=body, expect=200)
    for job in await claim(api, "w", 2):
        body = {"worker_id": "w", "lease_id": job["lease_id"], "error": "no"}
        await api.ask("POST", f"/jobs/{job['id']}/fail", json=body, expect=200)

    async def counted():
        shown = await worker(api, "w")
        return (shown["jobs_processed"], shown["jobs_failed"]) == (3, 2)

    await until(counted)
    idle = await worker(api, "idle")
    assert (idle["jobs_processed"], idle["jobs_failed"]) == (0, 0)


# --- whose workers --------------------------------------------------------------------


async def test_another_organizations_worker_is_out_of_reach(api, database_url):
    await register(api, worker_id="w")
    other = await stranger(api, database_url)

    body = await register(other, worker_id="w", expect=409)

    assert body["code"] == "CONFLICT"
    assert (await other.ask("GET", "/workers/w"))[0] == 404
    assert (await other.ask("POST", "/workers/w/deregister"))[0] == 404
    await beat(other, "w", expect=404)
    assert await other.ask("GET", "/workers", expect=200) == []
    assert (await worker(api, "w"))["status"] == "healthy"


async def test_a_key_for_some_queues_sees_their_workers_only(api):
    await register(api, worker_id="mine", queue_name="mine")
    await register(api, worker_id="other", queue_name="other")
    mine = await scoped(api, "mine")

    assert [each["id"] for each in await mine.ask("GET", "/workers", expect=200)] == [
        "mine"
    ]
    assert (await mine.ask("GET", "/workers/other"))[0] == 404
    await beat(mine, "other", expect=404)
    assert (await mine.ask("POST", "/workers/other/deregister"))[0] == 404
    await register(mine, queue_name="other", expect=403)
    # Nor can it take the name.
    await register(mine, worker_id="other", queue_name="mine", expect=409)
    await register(mine, worker_id="mine", queue_name="mine")


async def test_a_plan_allows_so_many_workers_that_are_up(api, database_url):
    few = await stranger(api, database_url, max_workers=2)
    await register(few, worker_id="a")
    await register(few, worker_id="b")

    body = await register(few, worker_id="c", expect=429)

    assert body["code"] == "QUOTA_EXCEEDED"
    assert (body["resource"], body["current"], body["limit"]) == ("workers", 2, 2)
    # Who comes again is not charged again; who goes makes room.
    await register(few, worker_id="a")
    await few.ask("POST", "/workers/b/deregister", expect=204)
    await register(few, worker_id="c")
    await register(few, worker_id="b", expect=429)


@pytest.mark.parametrize("away", ["offline", "draining"])
async def test_who_comes_back_without_registering_is_counted_too(
    api, database_url, away
):
    few = await stranger(api, database_url, max_workers=1)
    await register(few, worker_id="a")
    await beat(few, "a", status=away)
    await register(few, worker_id="b")

    refused = await beat(few, "a", status="healthy", expect=429)

    assert (refused["code"], refused["resource"]) == ("QUOTA_EXCEEDED", "workers")
    assert (await worker(few, "a"))["status"] == away
    # It may still say that it is away, and the other that it is here.
    await beat(few, "a", status=away)
    await beat(few, "b", status="degraded")
    await few.ask("POST", "/workers/b/deregister", expect=204)
    await beat(few, "a", status="healthy")


async def test_the_list_has_a_hundred_and_those_that_are_up_first(
    api, tenant, database_url
):
    conn = await asyncpg.connect(database_url)
    await conn.execute(
        "INSERT INTO workers (id, organization_id, queue_name, hostname, status)"
        " SELECT 'w' || i, $1, 'mail', 'h',"
        "        CASE WHEN i = 1100 THEN 'healthy' ELSE 'offline' END"
        "   FROM generate_series(1000, 1100) AS i",
        tenant.id,
    )
    await conn.close()

    _, workers, headers = await api.ask("GET", "/workers")
    _, rest, _ = await api.ask("GET", "/workers?offset=100")

    assert (len(workers), headers["X-Has-More"], len(rest)) == (100, "true", 1)
    assert workers[0]["id"] == "w1100"


# --- silence --------------------------------------------------------------------------


async def test_who_falls_silent_is_offline_and_its_jobs_are_somebody_elses(
    database_url, nats_url
):
    async with run_house(
        database_url,
        nats_url,
        services=("ingest", "scheduler"),
        worker_silence_seconds=1.0,
        worker_poll_seconds=0.1,
    ) as house:
        tenant = await new_tenant(database_url)
        async with aiohttp.ClientSession() as session:
            api = Api(house.base_url, session, tenant)
            await register(api, worker_id="silent")
            job_id = await api.create(max_retries=0)
            again = await api.create()
            other = await api.create()
            for expected in (job_id, again):
                [job] = await claim(api, "silent", lease_duration_secs=3600)
                assert job["id"] == expected
            [kept] = await claim(api, "unregistered", lease_duration_secs=3600)

            async def is_offline():
                return (await worker(api, "silent"))["status"] == "offline"

            await until(is_offline)
            dead = await api.until_status(job_id, "deadletter")

            retried = await api.until_status(again, "pending")

            gone = "Max retries exceeded after worker went offline"
            assert dead["last_error"] == gone
            assert (retried["retry_count"], retried["last_error"]) == (
                1,
                "Worker went offline",
            )
            for lost in (job_id, again):
                [attempt] = await api.attempts(lost)
                assert attempt["error"] == "Worker went offline"
            # Nobody has to be registered to hold a job.
            assert (await api.job(other))["lease_id"] == kept["lease_id"]
            await beat(api, "silent")
            assert (await worker(api, "silent"))["status"] == "healthy"
