"""An organization looks at itself, changes itself, and closes itself (contract 1.3)."""

import re
from uuid import uuid4

import pytest

from tests.support.house import (
    ADMIN_KEY,
    Tenant,
    new_tenant,
    open_api,
    run_house,
)

ADMIN = {"X-Admin-Key": ADMIN_KEY}


@pytest.fixture
async def house(database_url, nats_url):
    async with run_house(database_url, nats_url, services=("ingest",)) as house:
        yield house


def as_key(key):
    return {"Authorization": f"Bearer {key}"}


async def scoped_key(api, *queues):
    made = await api.ask(
        "POST", "/api-keys", json={"name": "scoped", "queues": [*queues]}, expect=201
    )
    return made["key"]


async def on_plan(api, slug="small", **fields):
    """Return a client of a new organization on a plan, and the organization."""
    made = await api.ask(
        "POST",
        "/admin/organizations",
        headers=ADMIN,
        json={"name": slug.title(), "slug": slug, **fields},
        expect=201,
    )
    tenant = Tenant(made["organization"]["id"], made["api_key"]["key"], "")
    return open_api(api, tenant), made["organization"]


async def test_an_organization_is_shown_without_its_webhook_token(api, tenant):
    made = await api.ask("POST", "/organizations/webhook-token/regenerate", expect=200)

    shown = await api.ask("GET", f"/organizations/{tenant.id}", expect=200)
    listed = await api.ask("GET", "/organizations", expect=200)

    assert made["webhook_token"] not in str(shown)
    assert shown["settings"] == {}
    assert listed == [
        {
            name: shown[name]
            for name in ("id", "name", "slug", "plan_tier", "created_at")
        }
    ]


async def test_null_keeps_and_settings_replace_but_keep_the_token(api, tenant):
    path = f"/organizations/{tenant.id}"
    token = await api.ask("POST", "/organizations/webhook-token/regenerate", expect=200)
    before = await api.ask(
        "PUT",
        path,
        json={"billing_email": "pay@acme.test", "settings": {"a": 1, "b": 2}},
        expect=200,
    )

    after = await api.ask(
        "PUT",
        path,
        json={
            "name": "Acme & Sons",
            "billing_email": None,
            "settings": {"b": "\\u0000", "webhook_token": "whk_mine"},
        },
        expect=200,
    )

    assert before["settings"] == {"a": 1, "b": 2}
    assert after["settings"] == {"b": "\\u0000"}
    assert (after["name"], after["billing_email"]) == ("Acme & Sons", "pay@acme.test")
    assert after["updated_at"] > before["updated_at"]
    kept = await api.ask("GET", "/organizations/webhook-token", expect=200)
    assert kept["webhook_token"] == token["webhook_token"]


async def test_an_email_belongs_to_one_organization(api, tenant, database_url):
    other = await new_tenant(database_url, slug="other")
    body = {"billing_email": "pay@acme.test"}
    await api.ask("PUT", f"/organizations/{tenant.id}", json=body, expect=200)

    error = await api.ask(
        "PUT",
        f"/organizations/{other.id}",
        json=body,
        headers=other.headers,
        expect=409,
    )

    assert error["code"] == "CONFLICT"


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"name": "x"}, 400, "name"),
        ({"billing_email": "nobody"}, 400, "billing_email"),
        ({"settings": {"a": "x" * 70_000}}, 400, "settings"),
        ({"settings": {"a": "\x00"}}, 400, "settings"),
        ({"settings": {"\x00": 1}}, 400, "settings"),
        ({"settings": [1]}, 422, "settings"),
        ({"name": 7}, 422, "name"),
    ],
)
async def test_a_bad_change_is_named(api, tenant, body, status, field):
    error = await api.ask(
        "PUT", f"/organizations/{tenant.id}", json=body, expect=status
    )

    assert [fault["field"] for fault in error["details"]] == [field]


async def test_another_organization_is_not_found(api, database_url):
    other = await new_tenant(database_url, slug="other")

    for id_ in (other.id, uuid4(), "nonsense"):
        for method, path in (
            ("GET", ""),
            ("PUT", ""),
            ("DELETE", ""),
            ("GET", "/members"),
        ):
            await api.ask(method, f"/organizations/{id_}{path}", json={}, expect=404)


async def test_a_key_for_some_queues_does_not_look_after_the_organization(api, tenant):
    headers = as_key(await scoped_key(api, "mail"))

    for method, path in (
        ("PUT", f"/organizations/{tenant.id}"),
        ("DELETE", f"/organizations/{tenant.id}"),
        ("GET", f"/organizations/{tenant.id}/members"),
        ("GET", "/organizations/usage"),
        ("GET", "/organizations/webhook-token"),
        ("POST", "/organizations/webhook-token/regenerate"),
        ("POST", "/organizations/webhook-token/clear"),
        ("GET", "/organizations/signing-secret"),
        ("POST", "/billing/portal"),
        ("GET", "/api-keys"),
        ("POST", "/api-keys"),
    ):
        error = await api.ask(method, path, headers=headers, json={}, expect=403)
        assert error["code"] == "ACCESS_DENIED", path
    await api.ask("GET", f"/organizations/{tenant.id}", headers=headers, expect=200)
    await api.ask("GET", "/billing/status", headers=headers, expect=200)


@pytest.mark.parametrize("queues", [[], ["mail"]])
async def test_a_session_and_x_api_key_may_what_their_key_may(api, tenant, queues):
    body = {"name": "key", "queues": queues}
    key = (await api.ask("POST", "/api-keys", json=body, expect=201))["key"]
    tokens = await api.ask("POST", "/auth/login", json={"api_key": key}, expect=200)
    expect = 403 if queues else 200
    for headers in (
        as_key(tokens["access_token"]),
        {"Authorization": "", "X-API-Key": key},
        {"Authorization": "", "X-API-Key": tokens["access_token"]},
    ):
        for path in (
            "/organizations",
            f"/organizations/{tenant.id}",
            "/dashboard",
            "/billing/status",
        ):
            await api.ask("GET", path, headers=headers, expect=200)
        for path in (
            "/organizations/usage",
            "/organizations/webhook-token",
            "/organizations/signing-secret",
            f"/organizations/{tenant.id}/members",
            "/api-keys",
        ):
            await api.ask("GET", path, headers=headers, expect=expect)


async def test_members_are_the_active_keys(api, tenant):
    await api.ask(
        "PUT",
        f"/organizations/{tenant.id}",
        json={"billing_email": "pay@acme.test"},
        expect=200,
    )
    await scoped_key(api, "mail")
    gone = await api.ask("POST", "/api-keys", json={"name": "gone"}, expect=201)
    await api.ask("DELETE", f"/api-keys/{gone['id']}", expect=204)

    members = await api.ask("GET", f"/organizations/{tenant.id}/members", expect=200)

    assert [(one["name"], one["role"], one["email"]) for one in members] == [
        ("test", "owner", "pay@acme.test"),
        ("scoped", "member", "pay@acme.test"),
    ]
    status, _, _ = await api.ask("POST", f"/organizations/{tenant.id}/members", json={})
    assert status == 405
    status, _, _ = await api.ask("DELETE", f"/organizations/{tenant.id}/members/x")
    assert status == 404


async def test_a_webhook_token_is_made_and_taken_away_in_development(api, tenant):
    assert await api.ask("GET", "/organizations/webhook-token", expect=200) == {
        "webhook_token": None,
        "token": None,
        "webhook_url": f"http://127.0.0.1:8080/api/v1/webhooks/{tenant.id}/custom",
    }

    made = await api.ask("POST", "/organizations/webhook-token/regenerate", expect=200)
    again = await api.ask("POST", "/organizations/webhook-token/regenerate", expect=200)

    assert re.fullmatch(r"whk_[A-Za-z0-9_-]{32}", made["webhook_token"])
    assert made["token"] == made["webhook_token"] != again["webhook_token"]
    path = "/organizations/webhook-token/clear"
    await api.ask("POST", path, json={"confirm": False}, expect=400)
    assert (await api.ask("POST", path, expect=200))["webhook_token"] is None
    assert await api.ask("POST", path, json={"confirm": True}, expect=200)


async def test_in_production_a_webhook_token_is_never_cleared(
    database_url, nats_url, tenant
):
    knobs = {
        "environment": "production",
        "external_url": "https://jobs.acme.test/",
        "services": ("ingest",),
    }
    async with (
        run_house(database_url, nats_url, **knobs) as house,
        open_api(house, tenant) as api,
    ):
        path = "/organizations/webhook-token"
        made = await api.ask("POST", f"{path}/regenerate", expect=200)
        error = await api.ask("POST", f"{path}/clear", json={"confirm": True})
        kept = await api.ask("GET", path, expect=200)

    assert error[0] == 400
    assert kept == made
    assert made["webhook_url"].startswith("https://jobs.acme.test/api/v1/webhooks/")


async def test_a_slug_is_checked_without_a_key(api, tenant):
    async def check(slug):
        return await api.ask(
            "GET",
            "/organizations/check-slug",
            params={"slug": slug},
            headers={"Authorization": ""},
            expect=200,
        )

    assert await check("brand-new") == {
        "available": True,
        "valid": True,
        "error": None,
        "suggestion": None,
    }
    taken = await check("acme")
    assert (taken["available"], taken["valid"]) == (False, True)
    assert (taken["suggestion"], bool(taken["error"])) == ("acme-2", True)
    wrong = await check("Brand New")
    assert (wrong["available"], wrong["valid"]) == (False, False)
    assert wrong["suggestion"] == "brand-new"
    assert (await check("admin"))["valid"] is False
    assert (await check(""))["valid"] is False


async def test_a_slug_is_made_of_a_name(api, tenant):
    async def generate(name, expect=200):
        return await api.ask(
            "POST", "/organizations/generate-slug", json={"name": name}, expect=expect
        )

    assert await generate("Brand New!") == {"slug": "brand-new"}
    assert await generate("ACME") == {"slug": "acme-2"}
    await generate("", expect=400)
    await generate("x" * 201, expect=400)


async def test_registration_by_invitation_is_not_available(
    database_url, nats_url, tenant
):
    knobs = {"registration_mode": "invite", "services": ("ingest",)}
    async with (
        run_house(database_url, nats_url, **knobs) as house,
        open_api(house, tenant) as api,
    ):
        error = await api.ask(
            "POST",
            "/organizations",
            json={"name": "Other", "slug": "other"},
            headers=ADMIN,
            expect=403,
        )

    assert error["message"] == "Invite registration is not available"


async def test_usage_counts_against_the_plan_and_warns(api):
    opened, _ = await on_plan(api, custom_limits={"rate_limit_burst": 1000})
    async with opened as small:
        for _ in range(5):
            await small.create()
        await small.create(queue_name="other", payload={})

        info = await small.ask("GET", "/organizations/usage", expect=200)

    assert (info["plan"], info["plan_display_name"]) == ("free", "Free")
    assert len(info["limits"]) == 15
    assert info["limits"]["tier"] == "free"
    assert info["usage"]["active_jobs"] == {
        "current": 6,
        "limit": 10,
        "percentage": 60.0,
        "is_disabled": False,
    }
    assert info["usage"]["jobs_today"]["current"] == 6
    assert info["usage"]["workflows"]["is_disabled"] is True
    severities = {one["resource"]: one["severity"] for one in info["warnings"]}
    assert severities == {
        "active_jobs": "warning",
        "queues": "critical",
        "api_keys": "warning",
    }


async def test_usage_without_limits_is_told_in_numbers_that_clients_read(api):
    await api.create()

    info = await api.ask("GET", "/organizations/usage", expect=200)

    assert info["plan"] == "enterprise"
    assert info["limits"]["max_jobs_per_day"] is None
    assert info["limits"]["rate_limit_requests_per_second"] == 2_147_483_647
    assert info["usage"]["jobs_today"] == {
        "current": 1,
        "limit": None,
        "percentage": None,
        "is_disabled": False,
    }
    assert info["warnings"] == []


async def test_an_organization_closes_itself_when_nothing_is_open(api, tenant):
    job_id = await api.create()
    error = await api.ask("DELETE", f"/organizations/{tenant.id}", expect=409)
    assert "jobs" in error["message"]
    await api.ask("DELETE", f"/jobs/{job_id}", expect=204)
    worker = await api.ask(
        "POST",
        "/workers/register",
        json={"queue_name": "mail", "hostname": "h"},
        expect=201,
    )
    error = await api.ask("DELETE", f"/organizations/{tenant.id}", expect=409)
    assert "workers" in error["message"]
    await api.ask("POST", f"/workers/{worker['id']}/deregister", expect=204)

    await api.ask("DELETE", f"/organizations/{tenant.id}", expect=204)

    error = await api.ask("GET", "/organizations", expect=401)
    assert error["code"] == "UNAUTHORIZED"


async def test_billing_is_not_configured(api):
    status = await api.ask("GET", "/billing/status", expect=200)

    assert status == {
        "plan_tier": "enterprise",
        "stripe_subscription_id": None,
        "stripe_subscription_status": None,
        "stripe_current_period_end": None,
        "stripe_cancel_at_period_end": None,
        "has_stripe_customer": False,
    }
    path, url = "/billing/portal", "https://app.acme.test/billing"
    error = await api.ask("POST", path, json={"return_url": url}, expect=400)
    assert "billing is not configured" in error["message"]
    await api.ask("POST", path, json={"return_url": "javascript:x"}, expect=400)
    await api.ask("POST", path, json={}, expect=422)
    await api.ask("POST", "/billing/webhook", data=b"{}", expect=404)
