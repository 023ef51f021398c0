"""The administrator: every organization, its plan, its end (contract 1.13)."""

from uuid import uuid4

import asyncpg
import pytest

from tests.service.test_organizations import ADMIN, as_key
from tests.support import senders
from tests.support.endpoints import create_endpoint, send
from tests.support.house import (
    Tenant,
    assert_invariants,
    new_tenant,
    open_api,
    run_house,
)
from tests.support.waiting import until

PATH = "/admin/organizations"
#: Tables in which an organization stands by its id, or its jobs and lanes by theirs.
OWNED = (
    "api_keys",
    "idempotency",
    "incoming_deliveries",
    "incoming_sources",
    "jobs",
    "lanes",
    "queues",
    "signing_secrets",
)
OF_JOBS = ("ready", "scheduled", "waiting", "leased", "finished", "dead", "journal")


@pytest.fixture
async def house(database_url, nats_url):
    async with run_house(
        database_url, nats_url, services=("ingest", "scheduler")
    ) as house:
        yield house
        await assert_invariants(database_url)


@pytest.fixture
async def admin(api):
    """A client that asks as the administrator, and has no key."""

    async def ask(method, path, *, expect, **kwargs):
        headers = {**ADMIN, "Authorization": ""}
        return await api.ask(method, path, headers=headers, expect=expect, **kwargs)

    return ask


async def founded(admin, slug, **fields):
    body = {"name": slug.title(), "slug": slug, **fields}
    return await admin("POST", PATH, json=body, expect=201)


async def test_a_tenant_is_no_administrator(api, tenant):
    for method, path in (
        ("GET", PATH),
        ("POST", PATH),
        ("GET", f"{PATH}/{tenant.id}"),
        ("PATCH", f"{PATH}/{tenant.id}"),
        ("PUT", f"{PATH}/{tenant.id}"),
        ("DELETE", f"{PATH}/{tenant.id}"),
        ("POST", f"{PATH}/{tenant.id}/api-keys"),
        ("POST", f"{PATH}/{tenant.id}/reset-usage"),
        ("GET", "/admin/stats"),
        ("GET", "/admin/plans"),
    ):
        error = await api.ask(method, path, json={}, expect=401)
        assert error["error"] == "missing_admin_key"
        wrong = {"X-Admin-Key": "wrong"}
        error = await api.ask(method, path, json={}, headers=wrong, expect=401)
        assert error["error"] == "invalid_admin_key"


async def test_an_organization_is_made_on_any_plan(admin, api):
    made = await founded(
        admin,
        "globex",
        plan_tier="pro",
        billing_email="pay@globex.test",
        settings={"a": 1},
        custom_limits={"max_queues": 77, "max_active_jobs": None},
    )

    organization = made["organization"]
    assert organization["plan_tier"] == "pro"
    assert organization["settings"] == {"a": 1}
    assert organization["custom_limits"] == {"max_queues": 77, "max_active_jobs": None}
    used = await api.ask(
        "GET",
        "/organizations/usage",
        headers=as_key(made["api_key"]["key"]),
        expect=200,
    )
    assert used["limits"]["max_queues"] == 77
    assert used["limits"]["max_active_jobs"] is None
    assert used["limits"]["max_jobs_per_day"] == 100_000
    again = {"name": "Other", "slug": "globex"}
    await admin("POST", PATH, json=again, expect=409)


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"plan_tier": "gold"}, 400, "plan_tier"),
        ({"plan_tier": "deleted"}, 400, "plan_tier"),
        ({"custom_limits": {"max_queues": -1}}, 400, "custom_limits.max_queues"),
        ({"custom_limits": {"max_queues": "x"}}, 422, "custom_limits.max_queues"),
        ({"custom_limits": {"colour": 1}}, 400, "custom_limits.colour"),
        (
            {"custom_limits": {"rate_limit_burst": 1.5}},
            400,
            "custom_limits.rate_limit_burst",
        ),
        ({"settings": {"a": "x" * 70_000}}, 400, "settings"),
        ({"billing_email": "nobody"}, 400, "billing_email"),
        ({"name": "x"}, 400, "name"),
        ({"weight": 0}, 400, "weight"),
        ({"weight": 1001}, 400, "weight"),
        ({"weight": "x"}, 422, "weight"),
    ],
)
async def test_a_bad_change_is_named(admin, tenant, body, status, field):
    error = await admin("PATCH", f"{PATH}/{tenant.id}", json=body, expect=status)

    assert field in [fault["field"] for fault in error["details"]], error


async def test_a_plan_changes_at_once_and_null_resets(admin, api, tenant):
    path = f"{PATH}/{tenant.id}"
    limits = {"max_api_keys": 1}
    changed = await admin(
        "PATCH",
        path,
        json={
            "plan_tier": "starter",
            "custom_limits": limits,
            "stripe_customer_id": "cus_1",
            "stripe_subscription_id": "sub_1",
        },
        expect=200,
    )
    assert (changed["plan_tier"], changed["custom_limits"]) == ("starter", limits)
    refused = await api.ask("POST", "/api-keys", json={"name": "second"}, expect=429)
    assert (refused["plan"], refused["limit"]) == ("starter", 1)
    billed = await api.ask("GET", "/billing/status", expect=200)
    assert billed["has_stripe_customer"] is True
    assert billed["stripe_subscription_id"] == "sub_1"

    kept = await admin("PUT", path, json={"plan_tier": None, "name": None}, expect=200)
    assert (kept["plan_tier"], kept["custom_limits"]) == ("starter", limits)
    reset = await admin(
        "PATCH",
        path,
        json={"custom_limits": None, "stripe_customer_id": None},
        expect=200,
    )

    assert (reset["custom_limits"], reset["stripe_customer_id"]) == (None, None)
    assert reset["stripe_subscription_id"] == "sub_1"
    await api.ask("POST", "/api-keys", json={"name": "second"}, expect=201)


async def test_an_organization_s_weight_is_changed_and_shown(admin, api, tenant):
    path = f"{PATH}/{tenant.id}"
    assert (await admin("GET", path, expect=200))["weight"] == 1

    changed = await admin("PATCH", path, json={"weight": 7}, expect=200)
    assert changed["weight"] == 7
    kept = await admin("PATCH", path, json={"weight": None}, expect=200)
    assert kept["weight"] == 7

    [listed] = (await admin("GET", PATH, expect=200))["organizations"]
    assert listed["weight"] == 7


async def test_the_list_is_filtered_searched_sorted_and_paged(admin, api, tenant):
    await api.create()
    await founded(admin, "b-one", billing_email="who%_@b.test")
    await founded(admin, "c-two", plan_tier="pro")

    async def listed(**query):
        page = await admin("GET", PATH, params=query, expect=200)
        return [one["slug"] for one in page["organizations"]], page["total"]

    assert await listed() == (["c-two", "b-one", "acme"], 3)
    assert await listed(sort_by="slug", sort_order="asc", limit=2) == (
        ["acme", "b-one"],
        3,
    )
    assert await listed(sort_by="name", sort_order="desc", offset=2) == (["acme"], 3)
    assert await listed(offset=9, limit=0) == ([], 3)
    assert await listed(plan_tier="pro") == (["c-two"], 1)
    assert await listed(plan_tier="gold") == ([], 0)
    assert await listed(search="B-ONE") == (["b-one"], 1)
    assert await listed(search="%_") == (["b-one"], 1)
    assert await listed(search=str(tenant.id)) == (["acme"], 1)
    page = await admin("GET", PATH, params={"search": "acme"}, expect=200)
    (acme,) = page["organizations"]
    assert (page["limit"], page["offset"]) == (50, 0)
    assert {**acme["usage"], "jobs_today": None} == {
        "jobs_today": None,
        "active_jobs": 1,
        "queues": 1,
        "workers": 0,
        "api_keys": 1,
    }
    for query in ({"sort_by": "colour"}, {"sort_order": "up"}):
        error = await admin("GET", PATH, params=query, expect=400)
        assert error["details"][0]["field"] in query


async def test_an_organization_is_shown_with_what_it_uses(admin, api, tenant):
    await api.create()

    shown = await admin("GET", f"{PATH}/{tenant.id}", expect=200)

    assert shown["slug"] == "acme"
    assert shown["usage_info"]["usage"]["active_jobs"]["current"] == 1
    assert (shown["api_keys_count"], shown["total_jobs"]) == (1, 1)
    for id_ in (uuid4(), "nonsense"):
        for method, rest in (
            ("GET", ""),
            ("PATCH", ""),
            ("DELETE", ""),
            ("POST", "/reset-usage"),
        ):
            await admin(method, f"{PATH}/{id_}{rest}", json={}, expect=404)
        body = {"name": "key"}
        await admin("POST", f"{PATH}/{id_}/api-keys", json=body, expect=404)


async def test_a_key_is_made_for_an_organization_whatever_its_plan(admin, api):
    made = await founded(admin, "small", custom_limits={"max_api_keys": 1})
    path = f"{PATH}/{made['organization']['id']}/api-keys"

    key = await admin(
        "POST", path, json={"name": "robot", "queues": ["mail"]}, expect=201
    )

    assert key["queues"] == ["mail"]
    headers = as_key(key["key"])
    await api.ask("GET", "/organizations", headers=headers, expect=200)
    await api.ask("GET", "/api-keys", headers=headers, expect=403)
    await admin("POST", path, json={}, expect=422)


async def test_usage_starts_again_when_it_is_reset(admin, house):
    limits = {"max_jobs_per_day": 2, "rate_limit_burst": 1000}
    made = await founded(admin, "small", custom_limits=limits)
    id_ = made["organization"]["id"]
    async with open_api(house, Tenant(id_, made["api_key"]["key"], "")) as small:
        for expect in (201, 201, 429):
            body = {"queue_name": "mail", "payload": {}}
            await small.ask("POST", "/jobs", json=body, expect=expect)

        await admin("POST", f"{PATH}/{id_}/reset-usage", expect=204)

        await small.create(payload={})
        used = await small.ask("GET", "/organizations/usage", expect=200)
        assert used["usage"]["jobs_today"]["current"] == 1


async def test_a_closed_organization_is_kept_and_may_be_opened_again(
    admin, api, tenant
):
    path = f"{PATH}/{tenant.id}"
    await api.create()

    await admin("DELETE", path, expect=204)

    await api.ask("GET", "/organizations", expect=401)
    assert (await admin("GET", PATH, expect=200))["total"] == 0
    closed = await admin("GET", PATH, params={"plan_tier": "deleted"}, expect=200)
    assert [one["slug"] for one in closed["organizations"]] == ["acme"]
    assert (await admin("GET", path, expect=200))["total_jobs"] == 1
    await admin("PATCH", path, json={"plan_tier": "pro"}, expect=200)
    await api.ask("GET", "/organizations", expect=401)
    key = await admin("POST", f"{path}/api-keys", json={"name": "new"}, expect=201)
    await api.ask("GET", "/organizations", headers=as_key(key["key"]), expect=200)


@pytest.mark.parametrize("word", ["hard", "hard_delete"])
async def test_an_erased_organization_leaves_nothing_behind(
    admin, api, tenant, house, database_url, word, monkeypatch
):
    """Jobs in every place, while others stay as they are."""
    monkeypatch.setattr("services.scheduler.erasures._BATCH", 7)
    other = await new_tenant(database_url, slug="other")
    async with open_api(house, other) as neighbour:
        kept = await neighbour.create(idempotency_key="same")
    for number in range(20):
        await api.create(idempotency_key=f"key {number}")
    await api.create(scheduled_at="2999-01-01T00:00:00Z", idempotency_key="same")
    await api.create(expires_at="2999-01-01T00:00:00Z", tags={"a": "b"})
    await api.ask("DELETE", f"/jobs/{await api.create()}", expect=204)
    await api.ask("PUT", "/queues/mail/config", json={"max_retries": 1}, expect=200)
    await create_endpoint(api, url="http://127.0.0.1:9/")
    for number in range(10):
        await send(api, "a", number, idempotency_key=f"message {number}")
    await senders.configure(api, "github", secret="secret")
    for number in range(10):
        signed = senders.github(b"{}", secret="secret", delivery=f"delivery {number}")
        assert (await senders.deliver(api, "github", signed, b"{}"))[0] == 200
    claimed = await api.ask(
        "POST",
        "/jobs/claim",
        json={"queue_name": "mail", "worker_id": "w", "limit": 3},
        expect=200,
    )
    assert len(claimed["jobs"]) == 3
    conn = await asyncpg.connect(database_url)
    try:
        lanes = await lanes_of(conn, tenant.id)
        assert await rows_of(conn, tenant.id, lanes) > 40

        await admin("DELETE", f"{PATH}/{tenant.id}", params={word: "true"}, expect=204)

        await api.ask("GET", "/organizations", expect=401)
        await admin("GET", f"{PATH}/{tenant.id}", expect=404)
        # Its names are free at once.
        await founded(admin, "acme")

        async def no_jobs():
            return await conn.fetchval(
                "SELECT count(*) = 0 FROM jobs WHERE organization_id = $1", tenant.id
            )

        await until(no_jobs, at_most=20)
        await assert_invariants(database_url)
        # Nobody may know it any more: the minute of grace is over.
        await conn.execute(
            "UPDATE organizations SET erased_at = now() - interval '2 minutes'"
            " WHERE id = $1",
            tenant.id,
        )

        async def nothing():
            return await rows_of(conn, tenant.id, lanes) == 0

        await until(nothing, at_most=20)
        gone = "SELECT count(*) FROM organizations WHERE id = $1"
        assert await conn.fetchval(gone, tenant.id) == 0
    finally:
        await conn.close()
    async with open_api(house, other) as neighbour:
        assert (await neighbour.job(kept))["status"] == "pending"
        again = await neighbour.create(idempotency_key="same", expect=200)
        assert again == kept


async def lanes_of(conn, organization_id):
    rows = await conn.fetch(
        "SELECT id FROM lanes WHERE organization_id = $1", organization_id
    )
    return [row["id"] for row in rows]


async def rows_of(conn, organization_id, lanes):
    """Return how many rows there are of an organization, its jobs and its lanes."""
    owned = [
        await conn.fetchval(
            f"SELECT count(*) FROM {table} WHERE organization_id = $1",
            organization_id,
        )
        for table in OWNED
    ]
    of_jobs = [
        await conn.fetchval(
            f"SELECT count(*) FROM {table} WHERE lane_id = ANY ($1)", lanes
        )
        for table in OF_JOBS
    ]
    return sum(owned) + sum(of_jobs)


async def test_the_house_is_counted(admin, api, tenant):
    await founded(admin, "globex", plan_tier="pro")
    closed = await founded(admin, "initech")
    await admin("DELETE", f"{PATH}/{closed['organization']['id']}", expect=204)
    await api.create()
    await api.create(scheduled_at="2999-01-01T00:00:00Z")
    claim = {"queue_name": "mail", "worker_id": "w"}
    await api.ask("POST", "/jobs/claim", json=claim, expect=200)
    worker = {"queue_name": "mail", "hostname": "h"}
    await api.ask("POST", "/workers/register", json=worker, expect=201)

    stats = await admin("GET", "/admin/stats", expect=200)

    assert stats["organizations"] == {
        "total": 2,
        "by_plan": [{"plan": "enterprise", "count": 1}, {"plan": "pro", "count": 1}],
        "created_today": 2,
        "created_this_week": 2,
    }
    assert stats["jobs"] == {
        "total_active": 2,
        "pending": 0,
        "processing": 1,
        "completed_24h": 0,
        "failed_24h": 0,
    }
    assert stats["workers"] == {"total": 1, "healthy": 1, "degraded": 0}
    assert stats["system"]["api_version"] == "v1"


async def test_plans_are_shown_with_what_the_operator_says(
    database_url, nats_url, tenant
):
    knobs = {"plan_limits": {"free": {"max_queues": 5}}, "services": ("ingest",)}
    async with (
        run_house(database_url, nats_url, **knobs) as house,
        open_api(house, tenant) as api,
    ):
        plans = await api.ask("GET", "/admin/plans", headers=ADMIN, expect=200)

    assert [plan["tier"] for plan in plans] == ["free", "starter", "pro", "enterprise"]
    assert plans[0]["max_queues"] == 5
    assert plans[0]["max_payload_size_bytes"] == 64 * 1024
    assert plans[3]["max_jobs_per_day"] is None
    assert plans[3]["rate_limit_burst"] == 2_147_483_647
    assert all(len(plan) == 15 for plan in plans)
