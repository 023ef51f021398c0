"""The official client, blocking and async, through every resource it has here."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from spooled.errors import (
    AuthenticationError,
    AuthorizationError,
    ConflictError,
    NotFoundError,
    QuotaExceededError,
    RateLimitError,
    ValidationError,
    is_lease_expired,
)

from tests.support.house import ADMIN_KEY
from tests.support.official import open_official
from tests.support.waiting import until

WORKER = "worker-1"


@pytest.fixture(params=[True, False], ids=["blocking", "async"])
async def client(request, house, tenant):
    async with open_official(
        house, blocking=request.param, api_key=tenant.api_key, admin_key=ADMIN_KEY
    ) as official:
        yield official


async def create(client, **fields):
    return await client("jobs.create", {"queue_name": "mail", "payload": {}, **fields})


async def claim(client, **fields):
    answer = await client(
        "jobs.claim", {"queue_name": "mail", "worker_id": WORKER, **fields}
    )
    return answer.jobs


async def test_a_job_from_created_to_completed(client):
    made = await create(client, payload={"n": 1}, tags={"team": "a"}, priority=5)
    (job,) = await claim(client, lease_duration_secs=60)
    await client(
        "jobs.heartbeat",
        job.id,
        {"worker_id": WORKER, "lease_duration_secs": 120, "lease_id": job.lease_id},
    )
    held = await client("jobs.get", made.id)
    done = await client(
        "jobs.complete",
        job.id,
        {"worker_id": WORKER, "result": {"sum": 3}, "lease_id": job.lease_id},
    )
    ended = await client("jobs.get", made.id)

    assert made.created
    assert (job.id, job.payload, job.retry_count) == (made.id, {"n": 1}, 0)
    assert (held.status, held.assigned_worker_id) == ("processing", WORKER)
    assert held.lease_expires_at > datetime.now(UTC) + timedelta(seconds=100)
    assert done.success
    assert (ended.status, ended.result) == ("completed", {"sum": 3})
    assert ended.started_at <= ended.completed_at
    assert ended.tags == {"team": "a"}


async def test_a_failure_is_tried_again_and_then_a_dead_letter(client):
    made = await create(client, max_retries=1)
    for _ in range(2):

        async def claimed():
            return await claim(client)

        (job,) = await until(claimed, at_most=10)
        await client(
            "jobs.fail",
            job.id,
            {"worker_id": WORKER, "error": "no luck", "lease_id": job.lease_id},
        )
    dead = await client("jobs.dlq.list", {"queue_name": "mail"})
    retried = await client("jobs.dlq.retry", {"job_ids": [made.id]})
    job = await client("jobs.get", made.id)

    assert [(one.id, one.last_error) for one in dead] == [(made.id, "no luck")]
    assert dead.has_more is False
    assert (retried.retried_count, retried.retried_jobs) == (1, [made.id])
    assert (job.status, job.retry_count, job.last_error) == ("pending", 0, None)


async def test_purging_dead_letters(client):
    await create(client, max_retries=0)
    (job,) = await claim(client)
    await client("jobs.fail", job.id, {"worker_id": WORKER, "error": "no"})

    purged = await client("jobs.dlq.purge", {"confirm": True})

    assert purged.purged_count == 1
    with pytest.raises(NotFoundError):
        await client("jobs.get", job.id)


async def test_bulk_lists_pages_and_statistics(client):
    made = await client(
        "jobs.bulk_enqueue",
        {
            "queue_name": "mail",
            "jobs": [{"payload": {"job_type": "a", "n": n}} for n in range(5)],
            "default_priority": 3,
        },
    )
    first = await client("jobs.list", {"limit": 3})
    rest = await client("jobs.list", {"limit": 3, "offset": 3})
    oldest = await client(
        "jobs.list", {"order_by": "created_at", "order_dir": "asc", "limit": 1}
    )
    stats = await client("jobs.get_stats")
    statuses = await client("jobs.batch_status", [one.job_id for one in made.succeeded])

    assert (made.success_count, made.failure_count, made.total) == (5, 0, 5)
    assert (len(first), first.has_more, len(rest), rest.has_more) == (3, True, 2, False)
    assert {one.job_type for one in first} == {"a"}
    assert oldest[0].id == made.succeeded[0].job_id
    assert (stats.pending, stats.total) == (5, 5)
    assert {one.status for one in statuses} == {"pending"}


async def test_priority_cancel_retry_and_history(client):
    low = await create(client, priority=-5)
    await create(client, idempotency_key="once")
    again = await create(client, idempotency_key="once")
    boosted = await client("jobs.boost_priority", low.id, 50)
    (job,) = await claim(client)
    await client("jobs.cancel", again.id)
    history = await client("jobs.history", again.id)

    assert not again.created
    assert (boosted.old_priority, boosted.new_priority, job.id) == (-5, 50, low.id)
    assert [event.event_type for event in history] == ["job.created", "job.cancelled"]
    assert history.has_more is False
    with pytest.raises(ConflictError):
        await client("jobs.cancel", again.id)
    with pytest.raises(ConflictError):
        await client("jobs.retry", again.id)


async def test_a_lease_that_another_holds_is_a_conflict_the_client_understands(client):
    await create(client)
    (job,) = await claim(client)
    wrong = {"worker_id": WORKER, "lease_id": "0-not-this-one"}

    for call, more in (
        ("jobs.complete", {}),
        ("jobs.fail", {"error": "x"}),
        ("jobs.heartbeat", {}),
    ):
        with pytest.raises(ConflictError) as refused:
            await client(call, job.id, {**wrong, **more})
        assert is_lease_expired(refused.value)


async def test_queues(client):
    await create(client)
    await client("queues.update_config", "mail", {"max_retries": 7, "rate_limit": 50})
    one = await client("queues.get", "mail")
    names = [queue.queue_name for queue in await client("queues.list")]
    paused = await client("queues.pause", "mail", "lunch")
    nothing = await claim(client)
    resumed = await client("queues.resume", "mail")
    (job,) = await claim(client)
    stats = await client("queues.get_stats", "mail")

    assert (one.max_retries, one.rate_limit, one.enabled) == (7, 50, True)
    assert names == ["mail"]
    assert (paused.paused, paused.reason, nothing) == (True, "lunch", [])
    assert resumed.resumed
    assert (stats.pending_jobs, stats.processing_jobs) == (0, 1)
    await client("jobs.complete", job.id, {"worker_id": WORKER})
    await client("queues.delete", "mail")
    assert await client("queues.list") == []


async def test_workers(client):
    registered = await client(
        "workers.register",
        {
            "queue_name": "mail",
            "hostname": "host",
            "worker_id": "w.1",
            "max_concurrency": 4,
        },
    )
    await client("workers.heartbeat", "w.1", {"current_jobs": 2, "status": "degraded"})
    (listed,) = await client("workers.list")
    one = await client("workers.get", "w.1")
    await client("workers.deregister", "w.1")

    assert (registered.id, registered.heartbeat_interval_secs) == ("w.1", 10)
    assert (listed.status, listed.current_jobs) == ("degraded", 2)
    assert (one.max_concurrency, one.current_jobs, one.hostname) == (4, 2, "host")


async def test_keys(client, house):
    made = await client("api_keys.create", {"name": "mailer", "queues": ["mail"]})
    names = {key.name for key in await client("api_keys.list")}
    async with open_official(house, blocking=client.blocking, api_key=made.key) as two:
        await create(two)
        with pytest.raises(AuthorizationError):
            await create(two, queue_name="other")
        with pytest.raises(AuthorizationError):
            await two("api_keys.list")
        await client("api_keys.update", made.id, {"name": "postman"})
        renamed = await client("api_keys.get", made.id)
        await client("api_keys.delete", made.id)
        with pytest.raises(AuthenticationError):
            await create(two)

    assert "mailer" in names
    assert (renamed.name, renamed.queues) == ("postman", ["mail"])


async def test_organizations(client, tenant):
    one = await client("organizations.get", str(tenant.id))
    (listed,) = await client("organizations.list")
    await client("organizations.update", str(tenant.id), {"name": "Renamed"})
    renamed = await client("organizations.get", str(tenant.id))
    usage = await client("organizations.get_usage")
    taken = await client("organizations.check_slug", one.slug)
    slug = await client("organizations.generate_slug", "Ünïcode & Söhne!")
    none = await client("organizations.get_webhook_token")
    token = await client("organizations.regenerate_webhook_token")
    members = await client("organizations.get_members", str(tenant.id))

    assert (one.slug, listed.slug, renamed.name) == ("acme", "acme", "Renamed")
    assert (usage.plan, usage.usage.api_keys.current) == ("enterprise", 1)
    assert not taken.available
    assert (await client("organizations.check_slug", slug.slug)).available
    assert none.webhook_token is None
    assert token.webhook_token.startswith("whk_")
    assert token.webhook_url.endswith(f"/api/v1/webhooks/{tenant.id}/custom")
    assert len(members) == 1


async def test_signing_in_and_out(client, house, tenant):
    tokens = await client("auth.login", {"api_key": tenant.api_key})
    valid = await client("auth.validate", {"token": tokens.access_token})
    fresh = await client("auth.refresh", {"refresh_token": tokens.refresh_token})
    async with open_official(
        house,
        blocking=client.blocking,
        access_token=tokens.access_token,
        auto_refresh_token=False,
    ) as signed_in:
        me = await signed_in("auth.me")
        await create(signed_in)
        await signed_in("auth.logout")
        with pytest.raises(AuthenticationError):
            await create(signed_in)

    assert valid.valid
    assert (valid.organization_id, me.organization_id) == (str(tenant.id),) * 2
    assert fresh.token_type == "Bearer"
    assert me.organization.slug == "acme"


async def test_administration(client):
    made = await client(
        "admin.create_organization",
        {"name": "Second", "slug": "second", "plan_tier": "starter"},
    )
    organization_id = made.organization.id
    listed = await client("admin.list_organizations", {"limit": 10})
    await client("admin.update_organization", organization_id, {"plan_tier": "pro"})
    changed = await client("admin.get_organization", organization_id)
    key = await client("admin.create_api_key", organization_id, {"name": "extra"})
    await client("admin.reset_usage", organization_id)
    stats = await client("admin.get_stats")
    plans = await client("admin.list_plans")
    await client("admin.delete_organization", organization_id, hard=True)

    assert {one.slug for one in listed} == {"acme", "second"}
    assert changed.plan_tier == "pro"
    assert key.key.startswith("sk_live_")
    assert stats.organizations.total == 2
    assert [plan.tier for plan in plans] == ["free", "starter", "pro", "enterprise"]
    with pytest.raises(NotFoundError):
        await client("admin.get_organization", organization_id)


async def test_dashboard_health_metrics_and_billing(client):
    await create(client)
    board = await client("dashboard.get")
    health = await client("health.get")
    billing = await client("billing.get_status")

    assert (board.jobs.pending, board.queues[0].name) == (1, "mail")
    assert board.system.database_status == "healthy"
    assert health.status == "healthy"
    assert await client("health.liveness")
    assert await client("health.readiness")
    assert "bellhop_" in await client("metrics.get")
    assert (billing.plan_tier, billing.has_stripe_customer) == ("enterprise", False)
    with pytest.raises(ValidationError):
        await client("billing.create_portal", {"return_url": "http://localhost/x"})


async def test_a_quota_and_a_rate_limit_are_told_apart(client, house):
    free = await client(
        "admin.create_organization",
        {"name": "Small", "slug": "small", "plan_tier": "free"},
    )
    limits = {"rate_limit_requests_per_second": 1000, "rate_limit_burst": 1000}
    await client(
        "admin.update_organization", free.organization.id, {"custom_limits": limits}
    )
    async with open_official(
        house, blocking=client.blocking, api_key=free.api_key.key
    ) as small:
        for _ in range(10):
            await create(small)
        with pytest.raises(QuotaExceededError) as quota:
            await create(small)
        slow = await small("api_keys.create", {"name": "slow", "rate_limit": 3})
    async with open_official(
        house, blocking=client.blocking, api_key=slow.key
    ) as limited:
        # All are waited for: a thread that reads what another closes waits in vain.
        told = await asyncio.gather(
            *(limited("jobs.list") for _ in range(10)), return_exceptions=True
        )

    assert (quota.value.resource, quota.value.current) == ("active_jobs", 10)
    assert (quota.value.limit, quota.value.upgrade_to) == (10, "starter")
    refused = [one for one in told if isinstance(one, Exception)]
    assert refused
    for rate in refused:
        assert type(rate) is RateLimitError
        assert rate.retry_after >= 1
        assert rate.remaining == 0


async def test_what_the_client_shows_of_the_rate_limit(client):
    await client("jobs.list")
    info = client.client.rate_limit

    assert info.limit > 0
    assert info.remaining > 0
    assert info.reset is not None
    assert info.scope


async def test_history_comes_in_pages(client):
    made = await create(client, max_retries=0)
    (job,) = await claim(client)
    await client("jobs.fail", job.id, {"worker_id": WORKER, "error": "no"})
    page = await client("jobs.history", made.id, {"limit": 2})
    rest = await client("jobs.history", made.id, {"limit": 2, "offset": 2})
    newest = await client("jobs.history", made.id, {"order_dir": "desc", "limit": 1})

    assert (len(page), page.has_more) == (2, True)
    assert (len(rest), rest.has_more) == (1, False)
    assert newest[0].id == rest[0].id


async def test_many_clients_at_once_get_each_job_once(client):
    await client(
        "jobs.bulk_enqueue",
        {"queue_name": "mail", "jobs": [{"payload": n} for n in range(60)]},
    )

    claimed = await asyncio.gather(*(claim(client, limit=7) for _ in range(12)))

    ids = [job.id for jobs in claimed for job in jobs]
    assert len(ids) == len(set(ids)) == 60
