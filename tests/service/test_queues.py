"""Queues over REST: configured or not, paused, counted, deleted (contract 1.5)."""

import asyncio

import asyncpg
import pytest

from tests.support.tenants import scoped, stranger
from tests.support.waiting import until


async def claim(api, queue="mail", *, worker="w-1", limit=100):
    body = {"queue_name": queue, "worker_id": worker, "limit": limit}
    answer = await api.ask("POST", "/jobs/claim", json=body, expect=200)
    return answer["jobs"]


async def complete(api, job, *, worker="w-1"):
    body = {"worker_id": worker, "lease_id": job["lease_id"]}
    await api.ask("POST", f"/jobs/{job['id']}/complete", json=body, expect=200)


async def configure(api, name="mail", *, expect=200, **fields):
    return await api.ask("PUT", f"/queues/{name}/config", json=fields, expect=expect)


async def names(api):
    return [
        queue["queue_name"] for queue in await api.ask("GET", "/queues", expect=200)
    ]


# --- configuration --------------------------------------------------------------------


async def test_the_list_has_configured_queues_and_those_with_jobs_by_name(api):
    await api.create(queue_name="b")
    await configure(api, "c", max_retries=7)
    await configure(api, "a")
    await api.create(queue_name="c")

    status, queues, headers = await api.ask("GET", "/queues")

    assert status == 200
    assert [queue["queue_name"] for queue in queues] == ["a", "b", "c"]
    assert headers["X-Has-More"] == "false"
    assert queues[1] == {
        "queue_name": "b",
        "max_retries": 3,
        "default_timeout": 300,
        "rate_limit": None,
        "enabled": True,
        "paused": False,
    }
    assert queues[2]["max_retries"] == 7


async def test_the_list_ends_after_a_hundred_and_says_so(api, database_url, tenant):
    conn = await asyncpg.connect(database_url)
    await conn.execute(
        "INSERT INTO lanes (organization_id, queue_name)"
        " SELECT $1, 'q' || i FROM generate_series(1000, 1100) AS i",
        tenant.id,
    )
    await conn.close()

    _, queues, headers = await api.ask("GET", "/queues")
    _, rest, after = await api.ask("GET", "/queues?offset=100")

    assert (len(queues), headers["X-Has-More"]) == (100, "true")
    assert [queue["queue_name"] for queue in rest] == ["q1100"]
    assert after["X-Has-More"] == "false"


async def test_a_queue_that_has_only_jobs_shows_what_it_gives(api, tenant):
    await api.create(queue_name="mail")

    queue = await api.ask("GET", "/queues/mail", expect=200)

    assert queue["id"] == "implicit:mail"
    assert queue["organization_id"] == str(tenant.id)
    assert queue["settings"] == {"implicit": True}
    assert queue["created_at"] == queue["updated_at"]
    status, body, _ = await api.ask("GET", "/queues/other")
    assert (status, body["code"]) == (404, "NOT_FOUND")


async def test_what_is_absent_stays_and_settings_are_merged(api):
    first = await configure(
        api,
        max_retries=9,
        timeout_seconds=77,
        rate_limit=5,
        settings={"concurrency": 4, "description": "x", "retry_delay_ms": 10},
    )
    second = await configure(
        api, enabled=False, settings={"description": "y", "concurrency": None}
    )

    assert (first["default_timeout"], first["rate_limit"]) == (77, 5)
    assert second["id"] == first["id"]
    assert second["created_at"] == first["created_at"]
    assert second["updated_at"] > first["updated_at"]
    assert (second["max_retries"], second["default_timeout"]) == (9, 77)
    assert (second["enabled"], second["paused"]) == (False, True)
    assert second["settings"] == {"description": "y", "retry_delay_ms": 10}
    # Null is how a limit is taken away.
    third = await configure(api, rate_limit=None)
    assert third["rate_limit"] is None
    assert third == await api.ask("GET", "/queues/mail", expect=200)


@pytest.mark.parametrize(
    ("fields", "status", "field"),
    [
        ({"max_retries": 101}, 400, "max_retries"),
        ({"default_timeout": 0}, 400, "default_timeout"),
        ({"timeout_seconds": 86_401}, 400, "timeout_seconds"),
        ({"rate_limit": 0}, 400, "rate_limit"),
        ({"rate_limit": 100_001}, 400, "rate_limit"),
        ({"enabled": "perhaps"}, 422, "enabled"),
        ({"settings": {"concurrency": 0}}, 400, "settings.concurrency"),
        ({"settings": {"concurrency": 100_001}}, 400, "settings.concurrency"),
        ({"settings": {"concurrency": 1.5}}, 422, "settings.concurrency"),
        ({"settings": {"concurrency": "4"}}, 422, "settings.concurrency"),
        ({"settings": []}, 422, "settings"),
        ({"settings": {"x": "y" * 65_536}}, 400, "settings"),
    ],
)
async def test_a_configuration_that_cannot_be_is_refused(api, fields, status, field):
    found, body, _ = await api.ask("PUT", "/queues/mail/config", json=fields)

    assert (found, body["code"]) == (status, "VALIDATION_ERROR")
    assert body["details"][0]["field"] == field
    assert await names(api) == []


async def test_settings_do_not_grow_without_end(api):
    for name in "ab":
        await configure(api, settings={name: "x" * 60_000})

    status, body, _ = await api.ask(
        "PUT", "/queues/mail/config", json={"settings": {"c": "x" * 60_000}}
    )

    assert (status, body["details"][0]["field"]) == (400, "settings")
    queue = await api.ask("GET", "/queues/mail", expect=200)
    assert queue["settings"].keys() == {"a", "b"}


async def test_a_plan_allows_so_many_queues(api, database_url):
    few = await stranger(api, database_url, max_queues=2)
    await configure(few, "one")
    await few.create(queue_name="two")

    status, body, headers = await few.ask("PUT", "/queues/three/config", json={})

    assert (status, body["code"]) == (429, "QUOTA_EXCEEDED")
    assert (body["resource"], body["current"], body["limit"]) == ("queues", 2, 2)
    assert "Retry-After" not in headers
    # Those there are may be changed, and make room when they go.
    await configure(few, "two", max_retries=1)
    await few.ask("DELETE", "/queues/one", expect=204)
    await configure(few, "three")


# --- pause and resume -----------------------------------------------------------------


async def test_a_paused_queue_gives_nothing_until_it_is_resumed(api):
    job_id = await api.create()

    paused = await api.ask(
        "POST", "/queues/mail/pause", json={"reason": "repairs"}, expect=200
    )

    assert paused.pop("paused_at")
    assert paused == {"queue_name": "mail", "paused": True, "reason": "repairs"}
    assert await claim(api) == []
    await api.create()
    queue = await api.ask("GET", "/queues/mail", expect=200)
    assert (queue["paused"], queue["enabled"]) == (True, True)
    assert queue["id"] != "implicit:mail"
    assert queue["settings"]["paused_reason"] == "repairs"

    resumed = await api.ask("POST", "/queues/mail/resume", expect=200)

    assert resumed == {"queue_name": "mail", "resumed": True, "paused_duration_secs": 0}
    assert (await claim(api))[0]["id"] == job_id
    queue = await api.ask("GET", "/queues/mail", expect=200)
    assert (queue["paused"], queue["settings"]) == (False, {})


async def test_paused_twice_it_is_paused_since_the_first_time(api, database_url):
    await configure(api, settings={"description": "x"})
    first = await api.ask(
        "POST", "/queues/mail/pause", json={"reason": "a"}, expect=200
    )
    again = await api.ask("POST", "/queues/mail/pause", expect=200)
    other = await api.ask(
        "POST", "/queues/mail/pause", json={"reason": "b"}, expect=200
    )

    assert again == first
    assert other == {**first, "reason": "b"}

    conn = await asyncpg.connect(database_url)
    await conn.execute(
        """UPDATE queues SET settings = settings || jsonb_build_object(
               'paused_at', now() - interval '90 seconds')"""
    )
    await conn.close()
    resumed = await api.ask("POST", "/queues/mail/resume", expect=200)
    assert 90 <= resumed["paused_duration_secs"] < 100
    queue = await api.ask("GET", "/queues/mail", expect=200)
    assert queue["settings"] == {"description": "x"}


async def test_resuming_lets_a_disabled_queue_run(api):
    await api.create()
    await configure(api, enabled=False)
    assert await claim(api) == []

    await api.ask("POST", "/queues/mail/resume", expect=200)

    assert len(await claim(api)) == 1


async def test_what_clients_wrote_into_the_settings_spoils_nothing(api):
    await configure(api, settings={"paused": True, "paused_at": "yesterday"})

    paused = await api.ask("POST", "/queues/mail/pause", expect=200)
    resumed = await api.ask("POST", "/queues/mail/resume", expect=200)

    assert paused["paused_at"]
    assert resumed["paused_duration_secs"] == 0


@pytest.mark.parametrize("verb", ["pause", "resume"])
async def test_there_is_nothing_to_pause_in_no_queue(api, verb):
    status, body, _ = await api.ask("POST", f"/queues/none/{verb}")

    assert (status, body["code"]) == (404, "NOT_FOUND")


async def test_a_reason_has_an_end(api):
    await api.create()
    status, body, _ = await api.ask(
        "POST", "/queues/mail/pause", json={"reason": "x" * 501}
    )

    assert (status, body["details"][0]["field"]) == (400, "reason")


async def test_a_queue_with_jobs_only_is_resumed_and_stays_so(api):
    await api.create()

    resumed = await api.ask("POST", "/queues/mail/resume", expect=200)

    assert resumed["paused_duration_secs"] == 0
    queue = await api.ask("GET", "/queues/mail", expect=200)
    assert queue["id"] == "implicit:mail"


# --- statistics -----------------------------------------------------------------------


async def test_stats_of_a_queue_are_exact_and_zeros_for_none(api):
    nothing = await api.ask("GET", "/queues/none/stats", expect=200)
    assert nothing == {
        "queue_name": "none",
        "pending_jobs": 0,
        "scheduled_jobs": 0,
        "processing_jobs": 0,
        "deadletter_jobs": 0,
        "completed_jobs_24h": 0,
        "failed_jobs_24h": 0,
        "avg_processing_time_ms": None,
        "avg_wait_time_ms": None,
        "max_job_age_seconds": None,
        "active_workers": 0,
    }
    for _ in range(3):
        await api.create()
    await api.create(scheduled_at="2040-01-01T00:00:00Z")
    await api.create(queue_name="other")
    for job in await claim(api, limit=1):
        await complete(api, job)
    await claim(api, limit=1)
    await api.ask(
        "POST",
        "/workers/register",
        json={"queue_name": "mail", "hostname": "h"},
        expect=201,
    )

    stats = await api.ask("GET", "/queues/mail/stats", expect=200)

    assert stats.pop("avg_processing_time_ms") > 0
    assert stats.pop("avg_wait_time_ms") > 0
    assert 0 <= stats.pop("max_job_age_seconds") < 60
    assert stats == {
        "queue_name": "mail",
        "pending_jobs": 1,
        "scheduled_jobs": 1,
        "processing_jobs": 1,
        "deadletter_jobs": 0,
        "completed_jobs_24h": 1,
        "failed_jobs_24h": 0,
        "active_workers": 1,
    }


# --- whose queues ---------------------------------------------------------------------


async def test_a_key_sees_and_changes_only_its_queues(api):
    for name in ("mine", "theirs"):
        await api.create(queue_name=name)
    mine = await scoped(api, "mine")

    assert await names(mine) == ["mine"]
    assert (await mine.ask("GET", "/queues/theirs"))[0] == 404
    assert (await mine.ask("GET", "/queues/theirs/stats"))[0] == 404
    for method, path in (
        ("PUT", "config"),
        ("POST", "pause"),
        ("POST", "resume"),
        ("DELETE", "?delete_jobs=true"),
    ):
        target = f"/queues/theirs/{path}".replace("/?", "?")
        status, body, _ = await mine.ask(method, target, json={})
        assert (status, body["code"]) == (403, "ACCESS_DENIED"), target
    await mine.ask("POST", "/queues/mine/pause", expect=200)


async def test_a_worker_that_waits_is_woken_when_its_queue_is_resumed(api):
    await api.create()
    await api.ask("POST", "/queues/mail/pause", expect=200)

    async def waiting():
        body = {"queue_name": "mail", "worker_id": "w", "wait_seconds": 20}
        return await api.ask("POST", "/jobs/claim", json=body, expect=200)

    task = asyncio.create_task(waiting())
    await until(lambda: not task.done(), at_most=1)
    await api.ask("POST", "/queues/mail/resume", expect=200)

    answer = await asyncio.wait_for(task, 4)
    assert len(answer["jobs"]) == 1
