"""Keys: made within the plan, limited to queues, changed and revoked (contract 1.7)."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from tests.service.test_organizations import as_key, on_plan, scoped_key
from tests.support.house import run_house


@pytest.fixture
async def house(database_url, nats_url):
    async with run_house(database_url, nats_url, services=("ingest",)) as house:
        yield house


async def test_a_key_is_shown_whole_only_once(api):
    soon = datetime.now(UTC) + timedelta(hours=1)
    made = await api.ask(
        "POST",
        "/api-keys",
        json={
            "name": "Robot (1.0)",
            "queues": ["mail", "sms"],
            "rate_limit": 600,
            "expires_at": soon.isoformat(),
        },
        expect=201,
    )

    key = made.pop("key")
    assert key.startswith("sk_live_")
    assert made == await api.ask("GET", f"/api-keys/{made['id']}", expect=200)
    assert made in await api.ask("GET", "/api-keys", expect=200)
    assert (made["queues"], made["rate_limit"]) == (["mail", "sms"], 600)
    assert datetime.fromisoformat(made["expires_at"]) == soon
    assert made["is_active"] is True


async def test_keys_and_members_come_in_pages(api):
    made = []
    for name in ("b", "c", "d", "e"):
        body = {"name": name}
        made.append((await api.ask("POST", "/api-keys", json=body, expect=201))["id"])
    members = f"/organizations/{api.tenant.id}/members"
    for path, ordered in (("/api-keys", made[::-1]), (members, made)):
        found = []
        for offset in (0, 2, 4):
            _, page, headers = await api.ask(
                "GET", path, params={"limit": "2", "offset": str(offset)}
            )
            found += [one["id"] for one in page]
            assert len(page) == (2 if offset < 4 else 1)
            assert headers["X-Has-More"] == ("true" if offset < 4 else "false")

        assert len(set(found)) == 5
        # The first key of all was there before.
        assert [one for one in found if one in ordered] == ordered


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({}, 422, "name"),
        ({"name": ""}, 400, "name"),
        ({"name": "x" * 101}, 400, "name"),
        ({"name": "semi;colon"}, 400, "name"),
        ({"name": "k", "permissions": ["read"]}, 400, "body"),
        ({"name": "k", "queues": ["a b"]}, 400, "queues.0"),
        ({"name": "k", "queues": [f"q{n}" for n in range(51)]}, 400, "queues"),
        ({"name": "k", "rate_limit": 0}, 400, "rate_limit"),
        ({"name": "k", "rate_limit": 10_001}, 400, "rate_limit"),
        ({"name": "k", "expires_at": "2020-01-01T00:00:00Z"}, 400, "expires_at"),
        ({"name": "k", "expires_at": "later"}, 422, "expires_at"),
    ],
)
async def test_a_bad_key_is_named(api, body, status, field):
    error = await api.ask("POST", "/api-keys", json=body, expect=status)

    assert any(fault["field"].startswith(field) for fault in error["details"]), error


async def test_a_change_keeps_what_it_does_not_give(api):
    made = await api.ask(
        "POST",
        "/api-keys",
        json={"name": "robot", "queues": ["mail"], "rate_limit": 600},
        expect=201,
    )
    path = f"/api-keys/{made['id']}"

    named = await api.ask("PUT", path, json={"name": "Robot", "queues": None})
    freed = await api.ask("PUT", path, json={"queues": []})

    assert named[1]["name"] == "Robot"
    assert (named[1]["queues"], named[1]["rate_limit"]) == (["mail"], 600)
    assert (freed[1]["name"], freed[1]["queues"]) == ("Robot", [])
    assert freed[1]["rate_limit"] == 600
    await api.ask("PUT", path, json={"permissions": []}, expect=400)


async def test_null_takes_the_rate_of_a_key_away(api):
    made = await api.ask(
        "POST", "/api-keys", json={"name": "slow", "rate_limit": 1}, expect=201
    )
    headers, path = as_key(made["key"]), f"/api-keys/{made['id']}"
    await api.ask("GET", "/organizations", headers=headers, expect=200)
    await api.ask("GET", "/organizations", headers=headers, expect=429)

    changed = await api.ask("PUT", path, json={"rate_limit": None}, expect=200)

    assert changed["rate_limit"] is None
    await api.ask("GET", "/organizations", headers=headers, expect=200)


async def test_what_a_key_may_changes_at_once(api):
    key = await scoped_key(api, "mail")
    made = (await api.ask("GET", "/api-keys", expect=200))[0]
    body = {"queue_name": "sms", "payload": {}}
    await api.ask("POST", "/jobs", json=body, headers=as_key(key), expect=403)

    await api.ask(
        "PUT", f"/api-keys/{made['id']}", json={"queues": ["sms"]}, expect=200
    )

    await api.ask("POST", "/jobs", json=body, headers=as_key(key), expect=201)


async def test_a_key_may_revoke_itself_and_be_given_back(api):
    made = await api.ask("POST", "/api-keys", json={"name": "robot"}, expect=201)
    headers, path = as_key(made["key"]), f"/api-keys/{made['id']}"

    await api.ask("DELETE", path, headers=headers, expect=204)
    await api.ask("GET", "/organizations", headers=headers, expect=401)
    await api.ask("PUT", path, json={"is_active": True}, expect=200)

    await api.ask("GET", "/organizations", headers=headers, expect=200)


async def test_another_organizations_key_is_not_found(api):
    opened, _ = await on_plan(api, slug="other", plan_tier="enterprise")
    mine = (await api.ask("GET", "/api-keys", expect=200))[0]
    async with opened as other:
        for method in ("GET", "PUT", "DELETE"):
            await other.ask(method, f"/api-keys/{mine['id']}", json={}, expect=404)

    await api.ask("GET", "/organizations", expect=200)


async def test_the_plan_says_how_many_keys_there_are(api):
    """Also to many who ask at once."""
    opened, _ = await on_plan(
        api,
        plan_tier="starter",
        custom_limits={"max_api_keys": 3, "rate_limit_burst": 1000},
    )
    async with opened as small:
        told = await asyncio.gather(
            *(
                small.ask("POST", "/api-keys", json={"name": f"key {number}"})
                for number in range(8)
            )
        )

        assert sorted(status for status, _, _ in told) == [201] * 2 + [429] * 6
        refused = next(body for status, body, _ in told if status == 429)
        made = next(body for status, body, _ in told if status == 201)
        assert (refused["code"], refused["resource"]) == ("QUOTA_EXCEEDED", "api_keys")
        assert (refused["current"], refused["limit"]) == (3, 3)
        assert (refused["plan"], refused["upgrade_to"]) == ("starter", "pro")
        path = f"/api-keys/{made['id']}"
        await small.ask("DELETE", path, expect=204)
        await small.ask("POST", "/api-keys", json={"name": "next"}, expect=201)
        await small.ask("PUT", path, json={"is_active": True}, expect=429)
