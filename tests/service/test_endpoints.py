"""Endpoints: made, shown, changed, disabled and deleted."""

import asyncio
from base64 import b64decode

import asyncpg
import pytest

from tests.support.endpoints import URL, create_endpoint, versions
from tests.support.house import run_house
from tests.support.tenants import scoped, stranger

RETRY = {"strategy": "schedule", "schedule_seconds": [5, 60], "jitter": 0.1}


@pytest.fixture
async def house(database_url, nats_url):
    async with run_house(database_url, nats_url, services=("ingest",)) as house:
        yield house


async def test_an_endpoint_has_what_it_was_given_and_the_rest_by_default(api):
    made = await create_endpoint(api)

    secret = made.pop("secret")
    assert secret.startswith("whsec_")
    assert len(b64decode(secret.removeprefix("whsec_"))) == 32
    stats = made.pop("stats")
    assert stats == {
        "succeeded_24h": 0,
        "failed_24h": 0,
        "success_ratio_24h": None,
        "average_duration_ms_24h": None,
        "breaker": "closed",
        "open_until": None,
        "throttled_until": None,
        "consecutive_failures": 0,
        "failing_since": None,
        "last_success_at": None,
        "last_failure_at": None,
        "last_error": None,
        "waiting": 0,
    }
    for name in ("id", "created_at", "updated_at"):
        assert made.pop(name)
    assert made == {
        "organization_id": str(api.tenant.id),
        "url": URL,
        "description": None,
        "event_types": ["*"],
        "filter": None,
        "headers": {},
        "format": "payload",
        "enabled": True,
        "disabled_reason": None,
        "disabled_at": None,
        "timeout_seconds": 15.0,
        "retry": None,
        "max_retries": 9,
        "rate_limit_per_second": None,
        "max_concurrency": 10,
        "ordered": False,
        "signature_scheme": "v1",
        "public_key": None,
        "auth": None,
        "tls": None,
        "send_traceparent": False,
        "metadata": {},
    }


async def test_everything_that_can_be_said_of_an_endpoint_is_kept(api):
    given = {
        "description": "Accounting",
        "event_types": ["invoice.*", "refund.made"],
        "filter": {"$or": [{"data.amount": {"$gte": 100}}, {"data.live": False}]},
        "headers": {"X-Team": "ledger"},
        "format": "envelope",
        "send_traceparent": True,
        "timeout_seconds": 2.5,
        "retry": RETRY,
        "rate_limit_per_second": 0.5,
        "max_concurrency": 3,
        "ordered": True,
        "metadata": {"owner": {"name": "Ada", "big": 2**53 + 1}},
    }

    made = await create_endpoint(api, **given)

    shown = await api.ask("GET", f"/endpoints/{made['id']}", expect=200)
    assert {name: shown[name] for name in given} == given
    assert shown["max_retries"] == 2
    made.pop("secret")
    assert shown == made
    assert await api.ask("GET", "/endpoints", expect=200) == [made]


async def test_a_change_keeps_what_it_does_not_give(api, conn):
    made = await create_endpoint(
        api,
        description="Accounting",
        filter={"a": 1},
        retry=RETRY,
        rate_limit_per_second=5,
        auth={"kind": "bearer", "token": "t"},
        metadata={"a": 1},
    )
    path = f"/endpoints/{made['id']}"
    before = await versions(conn, made["id"])

    changed = await api.ask("PATCH", path, json={"event_types": ["a.*"]}, expect=200)

    made.pop("secret")
    same = {"event_types": ["a.*"], "updated_at": changed["updated_at"]}
    assert changed == {**made, **same}
    assert await versions(conn, made["id"]) == (before[0] + 1, before[1] + 1)
    nothing = await api.ask("PUT", path, json={}, expect=200)
    assert nothing == {**changed, "updated_at": nothing["updated_at"]}


async def test_null_takes_away_what_may_be_absent_and_nothing_else(api):
    given = {
        "description": "Accounting",
        "filter": {"a": 1},
        "retry": RETRY,
        "rate_limit_per_second": 5,
        "auth": {"kind": "bearer", "token": "t"},
        "headers": {"X-A": "b"},
        "metadata": {"a": 1},
        "timeout_seconds": 3,
        "event_types": ["a"],
    }
    made = await create_endpoint(api, **given)

    changed = await api.ask(
        "PATCH",
        f"/endpoints/{made['id']}",
        json=dict.fromkeys([*given, "url", "enabled", "max_concurrency"]),
        expect=200,
    )

    for name in ("description", "filter", "retry", "rate_limit_per_second", "auth"):
        assert changed[name] is None, name
    for name in ("headers", "metadata", "timeout_seconds", "event_types", "url"):
        assert changed[name] == made[name], name
    assert changed["max_retries"] == 9


async def test_an_endpoint_is_disabled_for_a_reason_and_begins_anew_as_healthy(
    api, conn
):
    made = await create_endpoint(api)
    path = f"/endpoints/{made['id']}"

    off = await api.ask("PATCH", path, json={"enabled": False}, expect=200)
    assert (off["enabled"], off["disabled_reason"]) == (False, "manual")
    assert off["disabled_at"]
    why = {"enabled": False, "disabled_reason": "on holiday"}
    told = await api.ask("PATCH", path, json=why, expect=200)
    assert told["disabled_reason"] == "on holiday"
    assert told["disabled_at"] == off["disabled_at"]
    await conn.execute(
        "UPDATE endpoint_health SET open_until = now(), open_seconds = 60,"
        " consecutive_failures = 20, failing_since = now(), throttles = 2,"
        " throttled_until = now() + interval '1 hour'"
    )
    sick = (await api.ask("GET", path, expect=200))["stats"]
    assert (sick["breaker"], sick["consecutive_failures"]) == ("half_open", 20)
    assert sick["throttled_until"] is not None

    on = await api.ask("PATCH", path, json={"enabled": True}, expect=200)

    assert (on["enabled"], on["disabled_reason"], on["disabled_at"]) == (
        True,
        None,
        None,
    )
    healthy = (await api.ask("GET", path, expect=200))["stats"]
    assert (healthy["breaker"], healthy["consecutive_failures"]) == ("closed", 0)
    assert healthy["throttled_until"] is None
    assert healthy["failing_since"] is None


async def test_an_endpoint_may_be_made_disabled(api):
    made = await create_endpoint(api, enabled=False)
    told = await create_endpoint(api, enabled=False, disabled_reason="not yet")

    assert (made["enabled"], made["disabled_reason"]) == (False, "manual")
    assert told["disabled_reason"] == "not yet"


async def test_a_deleted_endpoint_is_gone_with_its_secrets(api, conn):
    made = await create_endpoint(api, auth={"kind": "bearer", "token": "t"})
    path = f"/endpoints/{made['id']}"
    before = await versions(conn, made["id"])

    await api.ask("DELETE", path, expect=204)

    for method, more, body in (
        ("GET", "", None),
        ("DELETE", "", None),
        ("PATCH", "", {"enabled": True}),
        ("POST", "/secret/rotate", {}),
    ):
        await api.ask(method, path + more, json=body, expect=404)
    assert await api.ask("GET", "/endpoints", expect=200) == []
    assert await conn.fetchval("SELECT count(*) FROM endpoint_secrets") == 0
    assert await conn.fetchval("SELECT count(auth) FROM endpoints") == 0
    assert await versions(conn, made["id"]) == (before[0] + 1, before[1] + 1)


async def test_lists_come_in_pages_the_newest_first(api):
    made = [(await create_endpoint(api, description=str(n)))["id"] for n in range(3)]

    status, page, headers = await api.ask("GET", "/endpoints?limit=2")
    assert (status, headers["X-Has-More"]) == (200, "true")
    assert [one["id"] for one in page] == [made[2], made[1]]
    _, rest, headers = await api.ask("GET", "/endpoints?limit=2&offset=2")
    assert [one["id"] for one in rest] == [made[0]]
    assert headers["X-Has-More"] == "false"


async def test_a_key_for_some_queues_has_no_endpoints(api):
    made = await create_endpoint(api)
    other = await scoped(api, "webhooks")

    for method, path, body in (
        ("GET", "/endpoints", None),
        ("POST", "/endpoints", {"url": URL}),
        ("GET", f"/endpoints/{made['id']}", None),
        ("DELETE", f"/endpoints/{made['id']}", None),
    ):
        await other.ask(method, path, json=body, expect=403)


async def test_the_plan_counts_what_is_enabled(api, database_url):
    other = await stranger(api, database_url, max_webhooks=2)
    made = await create_endpoint(other)
    await create_endpoint(other)

    refused = await other.ask("POST", "/endpoints", json={"url": URL}, expect=429)
    assert (refused["code"], refused["resource"]) == ("QUOTA_EXCEEDED", "webhooks")
    assert (refused["current"], refused["limit"]) == (2, 2)
    spare = await create_endpoint(other, enabled=False)
    on = {"enabled": True}
    await other.ask("PATCH", f"/endpoints/{spare['id']}", json=on, expect=429)
    await other.ask("PATCH", f"/endpoints/{made['id']}", json=on, expect=200)
    off = {"enabled": False}
    await other.ask("PATCH", f"/endpoints/{made['id']}", json=off, expect=200)
    await other.ask("PATCH", f"/endpoints/{spare['id']}", json=on, expect=200)
    usage = await other.ask("GET", "/organizations/usage", expect=200)
    assert usage["usage"]["webhooks"]["current"] == 2


async def test_who_creates_at_once_does_not_get_one_too_many(api, database_url):
    other = await stranger(api, database_url, max_webhooks=3)

    asked = await asyncio.gather(
        *(other.ask("POST", "/endpoints", json={"url": URL}) for _ in range(8))
    )

    assert sorted(status for status, _, _ in asked) == [201] * 3 + [429] * 5


async def test_there_are_a_thousand_at_most(api, conn):
    made = await create_endpoint(api)
    await conn.execute(
        "INSERT INTO endpoints (id, organization_id, url)"
        " SELECT gen_random_uuid(), $1, $2 FROM generate_series(1, 999)",
        api.tenant.id,
        URL,
    )

    refused = await api.ask("POST", "/endpoints", json={"url": URL}, expect=429)

    assert (refused["resource"], refused["limit"]) == ("webhooks", 1000)
    await api.ask("DELETE", f"/endpoints/{made['id']}", expect=204)
    await create_endpoint(api)


async def test_changes_at_once_are_all_made(api, conn):
    made = await create_endpoint(api)
    path = f"/endpoints/{made['id']}"
    before = await versions(conn, made["id"])
    bodies = [{"description": "x"}, {"timeout_seconds": 7}, {"ordered": True}]

    await asyncio.gather(
        *(api.ask("PATCH", path, json=body, expect=200) for body in bodies * 4)
    )

    after = await api.ask("GET", path, expect=200)
    assert (after["description"], after["timeout_seconds"], after["ordered"]) == (
        "x",
        7,
        True,
    )
    assert await versions(conn, made["id"]) == (before[0] + 12, before[1] + 12)


async def test_an_erased_organization_gets_no_endpoint(api, database_url):
    own = await asyncpg.connect(database_url)
    await create_endpoint(api)
    await own.execute("UPDATE organizations SET erased_at = now()")
    await own.close()

    # Its key is still remembered.
    assert (await api.ask("POST", "/endpoints", json={"url": URL}))[0] == 404
