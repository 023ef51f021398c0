"""Organizations with limits get exactly what their plan allows (contract 4.4)."""

import asyncio
import io
import json

import asyncpg
import pytest

from libs.common.store import usage
from tests.support.house import new_tenant, open_api

JOB = {"queue_name": "mail", "payload": {"n": 1}}


async def limit(house, tenant, *, tier="free", **limits):
    """Put a tenant that nobody has met yet on a plan."""
    conn = await asyncpg.connect(house.database_url)
    try:
        await conn.execute(
            "UPDATE organizations SET plan_tier = $2, custom_limits = $3::text::jsonb"
            " WHERE id = $1",
            tenant.id,
            tier,
            json.dumps({"rate_limit_requests_per_second": None, **limits}),
        )
    finally:
        await conn.close()


async def usage_of(house, tenant, *, counted=True):
    conn = await asyncpg.connect(house.database_url)
    try:
        return await usage.read(conn, organization_id=tenant.id, counted=counted)
    finally:
        await conn.close()


@pytest.fixture
def limited(house, tenant):
    """Limit the tenant; to be called before its first request."""

    async def put(**limits):
        await limit(house, tenant, **limits)

    return put


async def over(api, method, path, body, **members):
    """Ask for too much; return the refusal."""
    status, refused, headers = await api.ask(method, path, json=body)
    assert (status, refused["code"]) == (429, "QUOTA_EXCEEDED"), refused
    assert "Retry-After" not in headers
    assert refused["error"] == "limit_exceeded"
    for name, value in members.items():
        assert refused[name] == value
    return refused


async def test_no_more_jobs_are_active_than_the_plan_allows(api, limited):
    await limited(max_active_jobs=3)
    for _ in range(3):
        job_id = await api.create()

    refused = await over(api, "POST", "/jobs", JOB, resource="active_jobs", plan="free")

    assert (refused["current"], refused["limit"]) == (3, 3)
    assert refused["upgrade_to"] == "starter"
    assert refused["message"] == (
        "active_jobs limit reached (3/3). Upgrade to starter for higher limits."
    )
    await api.ask("DELETE", f"/jobs/{job_id}", expect=204)
    await api.create()


async def test_jobs_in_every_place_are_active(api, limited):
    await limited(max_active_jobs=4)
    parent = await api.create()
    await api.create(parent_job_id=parent)
    await api.create(scheduled_at="2999-01-01T00:00:00Z")
    claim = {"queue_name": "mail", "worker_id": "w"}
    await api.ask("POST", "/jobs/claim", json=claim, expect=200)
    await api.create()

    await over(api, "POST", "/jobs", JOB, resource="active_jobs")


async def test_a_day_has_so_many_jobs_and_no_more(api, limited, house, tenant):
    await limited(max_jobs_per_day=3, max_active_jobs=None)
    for _ in range(3):
        job_id = await api.create()
        await api.ask("DELETE", f"/jobs/{job_id}", expect=204)

    await over(api, "POST", "/jobs", JOB, resource="jobs_per_day", current=3, limit=3)

    assert (await usage_of(house, tenant)).jobs_today == 3
    conn = await asyncpg.connect(house.database_url)
    await conn.execute("UPDATE daily_usage SET day = day - 1")
    await conn.close()
    await api.create()


async def test_a_known_key_costs_nothing_even_at_the_limit(api, limited, house, tenant):
    await limited(max_active_jobs=2)
    first = await api.create(idempotency_key="one")
    await api.create()

    assert await api.create(idempotency_key="one", expect=200) == first
    await over(api, "POST", "/jobs", {**JOB, "idempotency_key": "two"})
    assert (await usage_of(house, tenant)).jobs_today == 2


async def test_who_wants_many_is_told_how_many_do_not_fit(api, limited):
    await limited(max_active_jobs=5)
    await api.create()
    many = {"queue_name": "mail", "jobs": [{"payload": n} for n in range(100)]}

    refused = await over(api, "POST", "/jobs/bulk", many, current=1, limit=5)

    assert refused["message"] == (
        "active_jobs limit reached (1/5). Upgrade to starter for higher limits. "
        "100 more do not fit."
    )


async def test_a_bulk_that_does_not_fit_creates_nothing(api, limited, house, tenant):
    await limited(max_active_jobs=5)
    await api.create()
    five = {"queue_name": "mail", "jobs": [{"payload": n} for n in range(5)]}

    await over(api, "POST", "/jobs/bulk", five, resource="active_jobs", current=1)
    assert (await usage_of(house, tenant)).active_jobs == 1

    # The same job twice is one job.
    keyed = [{"payload": n, "idempotency_key": f"{n % 4}"} for n in range(8)]
    bulk = {"queue_name": "mail", "jobs": keyed}
    made = await api.ask("POST", "/jobs/bulk", json=bulk, expect=200)
    assert [one["created"] for one in made["succeeded"]] == [True] * 4 + [False] * 4
    assert (await usage_of(house, tenant)).jobs_today == 5
    # And again it costs nothing.
    await api.ask("POST", "/jobs/bulk", json=bulk, expect=200)


async def test_two_houses_count_as_one(api, limited, house, tenant):
    """Nobody gets a job more by asking at many doors at once."""
    await limited(max_active_jobs=40, max_jobs_per_day=60)

    answers = await asyncio.gather(
        *(api.ask("POST", "/jobs", json=JOB) for _ in range(100))
    )

    statuses = [status for status, _, _ in answers]
    assert (statuses.count(201), statuses.count(429)) == (40, 60)
    found = await usage_of(house, tenant)
    assert (found.active_jobs, found.jobs_today) == (40, 40)


async def test_who_is_at_the_limit_is_in_nobodys_way(api, limited, house, tenant):
    await limited(max_active_jobs=1)
    other = await new_tenant(house.database_url, slug="other")
    await limit(house, other, max_active_jobs=50)
    async with open_api(house, other) as theirs:
        answers = await asyncio.gather(
            *(each.ask("POST", "/jobs", json=JOB) for each in (api, theirs) * 50)
        )

    statuses = [status for status, _, _ in answers]
    assert statuses[::2].count(201) == 1
    assert statuses[1::2] == [201] * 50
    assert (await usage_of(house, other)).jobs_today == 50


async def test_no_more_queues_than_the_plan_allows(api, limited, house, tenant):
    await limited(max_queues=2)
    await api.create(queue_name="one")
    await api.create(queue_name="two")

    await over(
        api,
        "POST",
        "/jobs",
        {**JOB, "queue_name": "three"},
        resource="queues",
        current=2,
        limit=2,
        message="queues limit reached (2/2). Upgrade to starter for higher limits.",
    )

    await api.create(queue_name="two")
    await api.create("http://127.0.0.1:9/", queue_name="one")
    assert (await usage_of(house, tenant)).queues == 2


async def test_a_payload_is_measured_by_the_plan_and_then_by_us(api, limited):
    await limited(max_payload_size_bytes=1000)
    await api.create(payload="x" * 998)

    status, refused, _ = await api.ask(
        "POST", "/jobs", json={**JOB, "payload": "x" * 999}
    )
    assert (status, refused["code"]) == (413, "PAYLOAD_TOO_LARGE")
    assert refused["error"] == "payload_too_large"
    assert (refused["current"], refused["limit"]) == (1001, 1000)
    assert (refused["plan"], refused["upgrade_to"]) == ("free", True)

    body = io.BytesIO(json.dumps({**JOB, "payload": "x" * (1 << 20)}).encode())
    headers = {"Content-Type": "application/json"}
    refused = await api.ask("POST", "/jobs", data=body, headers=headers, expect=400)
    assert refused["code"] == "VALIDATION_ERROR"


async def test_dead_letters_come_back_only_where_there_is_room(api, limited):
    await limited(max_active_jobs=2)
    dead = [await api.create(max_retries=0) for _ in range(2)]
    claim = {"queue_name": "mail", "worker_id": "w", "limit": 2}
    await api.ask("POST", "/jobs/claim", json=claim, expect=200)
    for job_id in dead:
        body = {"worker_id": "w", "error": "no"}
        await api.ask("POST", f"/jobs/{job_id}/fail", json=body, expect=200)
    await api.create()

    await over(api, "POST", "/jobs/dlq/retry", {}, resource="active_jobs")
    letters = await api.ask("GET", "/jobs/dlq", expect=200)
    assert len(letters) == 2
    await api.ask("POST", f"/jobs/{dead[0]}/retry", expect=200)
    await over(api, "POST", f"/jobs/{dead[1]}/retry", {}, resource="active_jobs")


async def test_who_has_no_limits_is_not_counted_but_known(api, house, tenant):
    for _ in range(3):
        await api.create()

    found = await usage_of(house, tenant, counted=False)

    assert (found.jobs_today, found.active_jobs, found.queues) == (3, 3, 1)
    assert found.api_keys == 1
    assert (await usage_of(house, tenant)).jobs_today == 0


async def test_what_was_used_today_can_be_forgotten(api, limited, house, tenant):
    await limited(max_jobs_per_day=1)
    await api.create()
    await over(api, "POST", "/jobs", JOB)
    conn = await asyncpg.connect(house.database_url)
    await usage.reset(conn, organization_id=tenant.id)
    await conn.close()

    await api.create()


async def test_queues_that_are_configured_and_created_at_once_are_counted(
    api, limited, house, tenant
):
    await limited(max_queues=3)

    async def ask(number):
        name = f"queue-{number}"
        if number % 2:
            return await api.ask("PUT", f"/queues/{name}/config", json={})
        return await api.ask("POST", "/jobs", json={**JOB, "queue_name": name})

    answers = await asyncio.gather(*(ask(number) for number in range(12)))

    statuses = [status for status, *_ in answers]
    assert statuses.count(429) == 9
    assert (await usage_of(house, tenant)).queues == 3


async def test_an_organization_that_is_no_more_is_nobody_we_know(
    api, limited, house, tenant
):
    """Its key may still be remembered for a moment."""
    await limited(max_jobs_per_day=10, max_queues=10, max_active_jobs=10)
    await api.ask("GET", "/jobs", expect=200)
    conn = await asyncpg.connect(house.database_url)
    await conn.execute("DELETE FROM organizations WHERE id = $1", tenant.id)
    await conn.close()

    for method, path, body in (
        ("POST", "/jobs", JOB),
        ("POST", "/jobs/bulk", {"queue_name": "mail", "jobs": [{"payload": 1}]}),
        ("PUT", "/queues/mail/config", {}),
        ("POST", "/jobs/dlq/retry", {}),
    ):
        refused = await api.ask(method, path, json=body, expect=401)
        assert refused["code"] == "UNAUTHORIZED"
