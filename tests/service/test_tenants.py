"""Nobody gets anywhere with what is another's: every route, every call, every id.

The routes are those that are described, the calls those of the gRPC services: a new
one is walked too, or the test says what it has to know about it.
"""

import json
from dataclasses import replace

import pytest

from tests.support.furnished import QUEUE, WORKER, belongings, furnish
from tests.support.house import ADMIN_KEY, new_tenant, open_api, run_house
from tests.support.walking import DESCRIBED, label, requests_of

#: What a key that is limited to queues must not even look at.
CONTROL_PLANE = {
    *(
        label(route)
        for route in DESCRIBED
        if route.module
        in {
            "endpoint_attempts",
            "endpoint_secrets",
            "endpoint_tests",
            "endpoints",
            "incoming_deliveries",
            "incoming_sources",
            "keys",
            "outgoing_webhooks",
            "replays",
            "signing_secrets",
            "webhook_tokens",
        }
    ),
    "POST /billing/portal",
    "PUT /organizations/{id}",
    "DELETE /organizations/{id}",
    "GET /organizations/{id}/members",
    "GET /organizations/usage",
}


#: A queue's or a provider's name is everybody's to use: these make or count one's own
#: of that name.
OWN_OF_THAT_NAME = {
    "PUT /incoming-webhooks/{provider}",
    "PUT /queues/{name}/config",
    "GET /queues/{name}/stats",
    "POST /workers/{id}/deregister",
}
#: Asked last: what makes a queue of that name, and what ends the session.
LAST = ("PUT /queues/{name}/config", "POST /workers/register", "POST /auth/logout")


@pytest.fixture
async def house(database_url, nats_url):
    async with run_house(
        database_url, nats_url, services=("ingest",), external_url="http://localhost"
    ) as house:
        yield house


@pytest.fixture
async def owned(api):
    """What the tenant has."""
    return await furnish(api)


@pytest.fixture
async def stranger(house, database_url):
    """A client of another organization."""
    tenant = await new_tenant(database_url, slug="stranger")
    async with open_api(house, tenant) as client:
        yield client


async def walk(client, owned, *, session):
    """Ask every route of a tenant's about what is another's; yield what came of it."""
    for route in sorted(DESCRIBED, key=lambda route: label(route) in LAST):
        if route.access not in {"key", "session"}:
            continue
        for path, body in requests_of(route, owned):
            status, data, _ = await client.ask(
                route.method,
                path,
                json=body,
                headers=session if route.access == "session" else None,
            )
            asked = f"{route.method} {path} {json.dumps(body)}"
            yield route, asked, status, json.dumps(data)


def read_of(secrets, asked, text):
    """Return what of *secrets* an answer told; what one says may be said back."""
    return [(asked, one) for one in secrets if one in text and one not in asked]


async def session_of(client):
    body = {"api_key": client.tenant.api_key}
    pair = await client.ask("POST", "/auth/login", json=body, expect=200)
    return {"Authorization": f"Bearer {pair['access_token']}"}


async def test_another_organization_gets_nowhere(api, owned, stranger, conn):
    before = await belongings(conn, owned)
    assert {
        "api_keys",
        "dead",
        "incoming_deliveries",
        "incoming_sources",
        "jobs",
        "leased",
        "queues",
        "ready",
        "workers",
    } <= set(before)
    wrong = []

    session = await session_of(stranger)
    async for route, asked, status, text in walk(stranger, owned, session=session):
        if route.placeholders and label(route) not in OWN_OF_THAT_NAME:
            if status not in {403, 404}:
                wrong.append((asked, status, text))
        elif status >= 500:
            wrong.append((asked, status, text))
        wrong.extend(read_of(owned.secrets, asked, text))

    assert wrong == []
    assert strangers_rows_aside(await belongings(conn, owned), stranger) == before
    body = {"worker_id": WORKER, "lease_id": owned.lease_id}
    await api.ask("POST", f"/jobs/{owned.claimed_id}/complete", json=body, expect=200)


async def test_another_organization_counts_nothing_of_it(owned, stranger):
    for path in (
        "/jobs/stats",
        f"/jobs/stats?queue_name={QUEUE}",
        f"/queues/{QUEUE}/stats",
        "/dashboard",
        "/organizations/usage",
    ):
        data = await stranger.ask("GET", path, expect=200)
        counts = [
            data,
            data.get("jobs", {}),
            data.get("workers", {}),
            data.get("recent_activity", {}),
            {
                resource: one["current"]
                for resource, one in data.get("usage", {}).items()
                if resource != "api_keys"
            },
        ]
        assert not [
            (path, name, value)
            for figures in counts
            for name, value in figures.items()
            if isinstance(value, int) and value
        ]


async def test_a_key_for_other_queues_gets_nowhere(api, owned, conn):
    body = {"name": "scoped", "queues": ["elsewhere"]}
    made = await api.ask("POST", "/api-keys", json=body, expect=201)
    scoped = replace(api, tenant=replace(api.tenant, api_key=made["key"]))
    before = await belongings(conn, owned)
    open_to_all = {owned.organization_id}
    wrong = []

    session = await session_of(scoped)
    async for route, asked, status, text in walk(scoped, owned, session=session):
        if label(route) in CONTROL_PLANE:
            if status != 403:
                wrong.append((asked, status, text))
        elif route.placeholders and label(route) != "GET /organizations/{id}":
            if status not in {403, 404}:
                wrong.append((asked, status, text))
        elif status >= 500:
            wrong.append((asked, status, text))
        wrong.extend(read_of(owned.secrets - open_to_all, asked, text))

    assert wrong == []
    after = await belongings(conn, owned)
    # It may create jobs in its own queue and log in: these are new, and its own.
    for table in ("jobs", "journal", "ready", "lanes", "sessions", "idempotency"):
        before.pop(table, None)
        after.pop(table, None)
    assert after == before


async def test_nobody_gets_in_without_a_credential(api, owned):
    wrong = []
    for route in DESCRIBED:
        if route.access == "anybody":
            continue
        for path, body in requests_of(route, owned):
            async with api.session.request(
                route.method, f"{api.base_url}/api/v1{path}", json=body
            ) as answer:
                error = await answer.json()
                if (answer.status, "message" in error) != (401, True):
                    wrong.append((route.method, path, answer.status, error))

    assert wrong == []


@pytest.mark.parametrize(
    "headers",
    [{}, {"X-Admin-Key": "wrong"}, {"X-Admin-Key": "\u00fc"}, {"X-Admin-Key": ""}],
)
async def test_only_the_administrator_administers(api, owned, conn, headers):
    before = await belongings(conn, owned)
    for route in DESCRIBED:
        if route.access != "admin":
            continue
        for path, _ in requests_of(route, owned):
            status, error, _ = await api.ask(
                route.method, path, json={}, headers=headers
            )
            assert (status, error["code"]) == (401, "UNAUTHORIZED"), path
            assert ADMIN_KEY not in json.dumps(error)
    assert await belongings(conn, owned) == before


@pytest.mark.parametrize("route", DESCRIBED, ids=lambda r: f"{r.method} {r.path}")
def test_a_route_names_who_may_call_it(route):
    """A route for anybody is a decision: here is the list of them."""
    public = {"auth", "slugs", "billing", "incoming", "organizations"}

    assert (route.access == "anybody") <= (route.module in public)
    assert (route.access == "admin") == route.path.startswith("/api/v1/admin/")


def strangers_rows_aside(rows, stranger):
    """Leave out what the stranger has made that is its own by the same names."""
    own = str(stranger.tenant.id)
    kept = {
        table: [row for row in found if own not in row] for table, found in rows.items()
    }
    return {table: found for table, found in kept.items() if found}
