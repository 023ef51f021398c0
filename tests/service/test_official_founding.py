"""The official client founds, signs in by e-mail, and ties jobs to one another."""

import pytest
from spooled.errors import AuthenticationError, ConflictError, NotFoundError

from tests.support.house import run_house
from tests.support.official import open_official


@pytest.fixture
async def house(database_url, nats_url):
    async with run_house(
        database_url, nats_url, services=("ingest",), registration_mode="open"
    ) as house:
        yield house


@pytest.fixture(params=[True, False], ids=["blocking", "async"])
async def client(request, house, tenant):
    async with open_official(
        house, blocking=request.param, api_key=tenant.api_key
    ) as official:
        yield official


async def create(client, **fields):
    return await client(
        "jobs.create", {"queue_name": "mail", "payload": {"n": 1}, **fields}
    )


async def test_an_organization_is_founded_and_ended(client, house):
    made = await client(
        "organizations.create",
        {"name": "Second", "slug": "second", "billing_email": "ada@example.com"},
    )
    with pytest.raises(ConflictError):
        await client("organizations.create", {"name": "Again", "slug": "second"})
    key = made.api_key.key
    async with open_official(house, blocking=client.blocking, api_key=key) as second:
        (own,) = await second("organizations.list")
        with pytest.raises(NotFoundError):
            await client("organizations.get", own.id)
        job = await create(second)
        with pytest.raises(ConflictError):
            await second("organizations.delete", own.id)
        await second("jobs.cancel", job.id)
        await second("organizations.delete", own.id)
        with pytest.raises(AuthenticationError):
            await second("organizations.list")

    assert (own.id, own.slug) == (made.organization.id, "second")
    assert made.organization.billing_email == "ada@example.com"
    assert made.api_key.name == "Initial Admin Key"


async def test_an_address_is_asked_about_and_gets_a_code(client):
    before = await client("auth.check_email", "ada@example.com")
    started = await client("auth.start_email_login", "ada@example.com")
    await client(
        "organizations.create",
        {"name": "Second", "slug": "second", "billing_email": "ada@example.com"},
    )
    after = await client("auth.check_email", "ada@example.com")

    assert (before.available, before.exists) == (True, False)
    assert (after.available, after.exists) == (False, True)
    assert started.message == "Login code sent to your email"


async def test_a_job_is_created_and_shown_at_once(client):
    job = await client(
        "jobs.create_and_get",
        {"queue_name": "mail", "payload": {"n": 1}, "tags": {"team": "a"}},
    )

    assert (job.status, job.payload, job.tags) == ("pending", {"n": 1}, {"team": "a"})


async def test_jobs_wait_for_one_another(client):
    first, second, last = [await create(client) for _ in range(3)]
    added = await client(
        "workflows.jobs.add_dependencies",
        last.id,
        {"dependency_job_ids": [first.id, second.id], "dependency_mode": "all"},
    )
    of_last = await client("workflows.jobs.get_dependencies", last.id)
    of_first = await client("workflows.jobs.get_dependencies", first.id)

    assert (added.added_count, added.dependencies_met) == (2, False)
    assert {one.job_id for one in of_last.dependencies} == {first.id, second.id}
    assert [one.job_id for one in of_first.dependents] == [last.id]
    assert (of_last.dependency_mode, of_last.dependencies_met) == ("all", False)
    assert of_first.dependencies_met
