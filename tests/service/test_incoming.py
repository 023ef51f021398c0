"""Webhooks with a token: what comes in is a job, once, and is logged."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from io import BytesIO
from uuid import uuid4

import pytest

from tests.support.house import new_tenant, open_api, run_house
from tests.support.official import open_official

GOOD = {"queue_name": "orders", "payload": {"n": 1}}
#: What is wrong with it, how it is refused, and for which field.
BROKEN: list[tuple[dict[str, object], int, str]] = [
    ({"queue_name": "admin"}, 400, "queue_name"),
    ({"queue_name": "System"}, 400, "queue_name"),
    ({"queue_name": "internal"}, 400, "queue_name"),
    ({"queue_name": "root"}, 400, "queue_name"),
    ({"queue_name": "default"}, 400, "queue_name"),
    ({"queue_name": "a..b"}, 400, "queue_name"),
    ({"queue_name": ""}, 400, "queue_name"),
    ({"queue_name": "a/b"}, 400, "queue_name"),
    ({"queue_name": "q" * 101}, 400, "queue_name"),
    ({"queue_name": 1}, 422, "queue_name"),
    ({"event_type": "a b"}, 400, "event_type"),
    ({"event_type": "a\n"}, 400, "event_type"),
    ({"event_type": ""}, 400, "event_type"),
    ({"event_type": "x" * 101}, 400, "event_type"),
    ({"idempotency_key": "x" * 256}, 400, "idempotency_key"),
    ({"idempotency_key": "\x00"}, 400, "idempotency_key"),
    ({"priority": 101}, 400, "priority"),
    ({"priority": "high"}, 422, "priority"),
]


@pytest.fixture
async def house(database_url, nats_url):
    async with run_house(database_url, nats_url, services=("ingest",)) as house:
        yield house


@pytest.fixture
async def token(api):
    made = await api.ask("POST", "/organizations/webhook-token/regenerate", expect=200)
    return made["webhook_token"]


@pytest.fixture
def send(api, token):
    """Send a webhook with the token; return (status, JSON, headers)."""

    async def send(body=None, *, token=token, org=api.tenant.id, data=None):
        headers = {} if token is None else {"X-Webhook-Token": token}
        kwargs = {"json": GOOD if body is None else body}
        if data is not None:
            kwargs = {"data": BytesIO(data)}
            headers["Content-Type"] = "application/json"
        async with api.session.post(
            f"{api.base_url}/api/v1/webhooks/{org}/custom", headers=headers, **kwargs
        ) as answer:
            return answer.status, await answer.json(), answer.headers

    return send


async def logged(api, query=""):
    return await api.ask("GET", f"/webhooks/deliveries{query}", expect=200)


async def test_a_webhook_with_the_token_is_a_job(api, send):
    config = {"max_retries": 7, "default_timeout": 77}
    await api.ask("PUT", "/queues/orders/config", json=config, expect=200)
    text = b'{"queue_name":"orders","payload":{ "n" : 1.50, "n": [ ] },"priority":9}'

    status, taken, _ = await send(data=text)

    assert status == 200
    assert taken == {
        "job_id": taken["job_id"],
        "queue_name": "orders",
        "status": "created",
    }
    job = await api.job(taken["job_id"])
    assert (job["max_retries"], job["timeout_seconds"]) == (7, 77)
    assert (job["priority"], job["status"]) == (9, "pending")
    assert job["tags"] == {"provider": "custom"}
    claim = {"queue_name": "orders", "worker_id": "w"}
    async with api.session.post(
        f"{api.base_url}/api/v1/jobs/claim", json=claim, headers=api.tenant.headers
    ) as answer:
        assert b'{ "n" : 1.50, "n": [ ] }' in await answer.read()


async def test_a_repeat_is_answered_with_the_first_job(api, send):
    body = {**GOOD, "idempotency_key": "order-1", "event_type": "order.paid"}

    first = await send(body)
    again = await send({**body, "queue_name": "elsewhere", "payload": 2})
    other = await send({**body, "idempotency_key": "order-2"})

    assert [one[0] for one in (first, again, other)] == [200, 200, 200]
    assert again[1] == {**first[1], "status": "duplicate"}
    assert other[1]["job_id"] != first[1]["job_id"]
    # The key is the organization's, however a job came in.
    made = await api.create(queue_name="x", idempotency_key="order-1", expect=200)
    assert made == first[1]["job_id"]
    rows = await logged(api)
    assert [(row["status"], row["matched_queue"], row["job_id"]) for row in rows] == [
        ("created", "orders", other[1]["job_id"]),
        ("duplicate", "orders", first[1]["job_id"]),
        ("created", "orders", first[1]["job_id"]),
    ]
    assert {row["event_type"] for row in rows} == {"order.paid"}
    assert {row["provider"] for row in rows} == {"custom"}
    job = await api.job(first[1]["job_id"])
    assert job["tags"] == {"provider": "custom", "event": "order.paid"}
    (listed,) = await api.ask("GET", "/jobs?q=order.paid&limit=1", expect=200)
    assert listed["job_type"] == "order.paid"


async def test_of_many_at_once_with_one_key_one_is_created(api, send):
    body = {**GOOD, "idempotency_key": "same"}

    answers = await asyncio.gather(*(send(body) for _ in range(20)))

    taken = [one[1] for one in answers]
    assert len({one["job_id"] for one in taken}) == 1
    assert sorted(one["status"] for one in taken) == ["created"] + ["duplicate"] * 19
    rows = await logged(api)
    assert sorted(row["status"] for row in rows) == ["created"] + ["duplicate"] * 19
    assert len(await api.ask("GET", "/jobs", expect=200)) == 1


async def test_nobody_gets_in_without_the_token(api, send):
    for wrong in (None, "", "whk_wrong", "whk_\u00fc", "x" * 5000):
        status, refused, _ = await send(token=wrong)
        assert (status, refused["code"]) == (401, "UNAUTHORIZED"), wrong
    assert await api.ask("GET", "/jobs", expect=200) == []
    assert await logged(api) == []


async def test_the_token_is_needed_even_when_there_is_none(api, send, token):
    path = "/organizations/webhook-token/clear"
    await api.ask("POST", path, json={"confirm": True}, expect=200)

    for given in (None, token, "None", "null"):
        assert (await send(token=given))[0] == 401


async def test_a_token_is_good_until_there_is_another_and_not_after(api, send, token):
    assert (await send())[0] == 200
    made = await api.ask("POST", "/organizations/webhook-token/regenerate", expect=200)

    assert (await send(token=token))[0] == 401
    assert (await send(token=made["webhook_token"]))[0] == 200


async def test_a_token_is_one_organizations(api, send, token, database_url):
    other = await new_tenant(database_url, slug="other")

    status, refused, _ = await send(org=other.id)

    assert (status, refused["message"]) == (
        401,
        (await send(token="whk_wrong"))[1]["message"],
    )


async def test_an_organization_that_is_not_takes_nothing(api, send, conn):
    for org in (uuid4(), "acme", "00000000-0000-0000-0000-000000000000"):
        status, refused, _ = await send(org=org)
        assert (status, refused["code"]) == (404, "NOT_FOUND")
    assert (await send(org=uuid4(), token=None))[0] == 401
    await api.ask("DELETE", f"/organizations/{api.tenant.id}", expect=204)
    assert (await send())[0] == 404


async def test_a_webhook_that_breaks_a_rule_is_refused(send):
    for change, status, field in BROKEN:
        found, refused, _ = await send({**GOOD, **change})
        assert (found, refused["code"]) == (status, "VALIDATION_ERROR"), change
        assert refused["details"][0]["field"] == field


async def test_a_webhook_without_a_queue_or_payload_is_refused(send):
    for missing in GOOD:
        body = {name: value for name, value in GOOD.items() if name != missing}
        status, refused, _ = await send(body)
        assert (status, refused["code"]) == (422, "VALIDATION_ERROR")


async def test_what_is_no_json_is_refused_and_what_is_unknown_is_told(send):
    status, refused, _ = await send(data=b"{")
    assert (status, refused["code"]) == (400, "INVALID_JSON")

    status, _, headers = await send({**GOOD, "queue": "x"})
    assert (status, headers["X-Ignored-Fields"]) == (200, "queue")


async def test_a_payload_may_be_as_large_as_a_body_and_no_larger(api, send):
    large = "x" * (1900 * 1024)
    body = json.dumps({**GOOD, "payload": large}).encode()
    status, taken, _ = await send(data=body)
    assert status == 200
    assert (await api.job(taken["job_id"]))["payload"] == large

    status, refused, _ = await send(data=body.replace(b"x", b"yy"))
    assert (status, refused["code"]) == (413, "PAYLOAD_TOO_LARGE")


# --- the log --------------------------------------------------------------------------


async def test_the_log_is_in_pages_and_filtered(api, send):
    began = datetime.now(UTC) - timedelta(seconds=1)
    for n in range(5):
        body = {"queue_name": f"q{n % 2}", "payload": n, "idempotency_key": f"k{n % 4}"}
        assert (await send(body))[0] == 200

    status, page, headers = await api.ask("GET", "/webhooks/deliveries?limit=3")
    assert (status, len(page), headers["X-Has-More"]) == (200, 3, "true")
    status, rest, headers = await api.ask(
        "GET", "/webhooks/deliveries?limit=3&offset=3"
    )
    assert (status, len(rest), headers["X-Has-More"]) == (200, 2, "false")
    assert sorted(row["created_at"] for row in page + rest) == [
        row["created_at"] for row in reversed(page + rest)
    ]
    assert [row["delivery_id"] for row in page + rest] == ["k0", "k3", "k2", "k1", "k0"]
    assert len(await logged(api, "?status=duplicate")) == 1
    assert len(await logged(api, "?status=created")) == 4
    assert len(await logged(api, "?status=lost")) == 5
    assert len(await logged(api, "?queue_name=q0")) == 3
    assert len(await logged(api, "?queue_name=other")) == 0
    assert len(await logged(api, "?limit=0")) == 1
    since = began.isoformat().replace("+00:00", "Z")
    assert len(await logged(api, f"?since={since}")) == 5
    assert len(await logged(api, f"?since={page[1]['created_at']}")) == 2
    assert len(await logged(api, "?since=2999-01-01T00:00:00Z")) == 0
    status, refused, _ = await api.ask("GET", "/webhooks/deliveries?since=never")
    assert (status, refused["details"][0]["field"]) == (400, "since")


async def test_the_log_is_for_keys_without_limits_and_for_its_own(
    api, send, database_url, house
):
    await send()
    body = {"name": "scoped", "queues": ["orders"]}
    scoped = await api.ask("POST", "/api-keys", json=body, expect=201)
    headers = {"Authorization": f"Bearer {scoped['key']}"}
    status, refused, _ = await api.ask("GET", "/webhooks/deliveries", headers=headers)
    assert (status, refused["code"]) == (403, "ACCESS_DENIED")

    other = await new_tenant(database_url, slug="other")
    async with open_api(house, other) as theirs:
        assert await logged(theirs) == []


async def test_what_was_answered_as_created_is_logged_as_that(api, send, conn):
    """A job without its line would be a delivery that only ever came as a repeat."""
    body = {**GOOD, "idempotency_key": "k"}
    await conn.execute(
        "ALTER TABLE incoming_deliveries ADD CONSTRAINT refuse CHECK (false) NOT VALID"
    )
    failed = (await send(body))[0]
    jobs = await api.ask("GET", "/jobs", expect=200)
    await conn.execute("ALTER TABLE incoming_deliveries DROP CONSTRAINT refuse")

    assert failed == 500
    assert jobs == []
    assert (await send(body))[1]["status"] == "created"
    assert [row["status"] for row in await logged(api)] == ["created"]


# --- quotas and rates -----------------------------------------------------------------


async def limit(conn, tenant, api, **limits):
    """Let the plan of a tenant have limits, and let everybody know."""
    await conn.execute(
        "UPDATE organizations SET custom_limits = $2 WHERE id = $1",
        tenant.id,
        json.dumps(limits),
    )
    path = "/organizations/webhook-token/regenerate"
    return (await api.ask("POST", path, expect=200))["webhook_token"]


async def test_a_webhook_counts_as_a_job_but_not_as_a_queue(api, tenant, send, conn):
    token = await limit(conn, tenant, api, max_active_jobs=3, max_queues=1)
    answers = [
        await send(
            {"queue_name": f"q{n}", "payload": n, "idempotency_key": f"k{n}"},
            token=token,
        )
        for n in range(4)
    ]

    assert [one[0] for one in answers] == [200, 200, 200, 429]
    refused = answers[3][1]
    assert (refused["code"], refused["resource"]) == ("QUOTA_EXCEEDED", "active_jobs")
    # What came already costs nothing.
    body = {"queue_name": "q0", "payload": 0, "idempotency_key": "k0"}
    status, taken, _ = await send(body, token=token)
    assert (status, taken["status"]) == (200, "duplicate")
    rows = await logged(api)
    assert [row["status"] for row in rows] == ["duplicate"] + ["created"] * 3


async def test_a_payload_beyond_the_plan_is_refused(api, tenant, send, conn):
    token = await limit(conn, tenant, api, max_payload_size_bytes=100)

    status, refused, _ = await send({**GOOD, "payload": "x" * 99}, token=token)

    assert (status, refused["code"]) == (413, "PAYLOAD_TOO_LARGE")
    assert (refused["current"], refused["limit"]) == (101, 100)
    assert (await send({**GOOD, "payload": "x" * 98}, token=token))[0] == 200


async def test_an_organizations_rate_holds_for_who_has_the_token_only(
    api, tenant, send, conn
):
    limits = {"rate_limit_requests_per_second": 1, "rate_limit_burst": 3}
    token = await limit(conn, tenant, api, **limits)

    wrong = [(await send(token="whk_wrong"))[0] for _ in range(10)]
    right = [await send(token=token) for _ in range(4)]

    # Who has no token cannot use up what the organization may ask.
    assert set(wrong) == {401}
    assert [one[0] for one in right].count(200) >= 1
    status, refused, headers = right[-1]
    assert (status, refused["code"]) == (429, "RATE_LIMIT_EXCEEDED")
    assert int(headers["Retry-After"]) >= 1
    assert headers["X-RateLimit-Scope"] == "org"


async def test_strangers_are_counted_by_their_address(database_url, nats_url, tenant):
    async with (
        run_house(
            database_url,
            nats_url,
            services=("ingest",),
            public_rate_per_second=1,
            public_rate_burst=5,
        ) as house,
        open_api(house, tenant) as api,
    ):
        url = f"{house.base_url}/api/v1/webhooks/{tenant.id}/custom"
        statuses = []
        for _ in range(8):
            async with api.session.post(url, json=GOOD) as answer:
                statuses.append(answer.status)
                last = dict(answer.headers)

    assert statuses[:5] == [401] * 5
    assert statuses[-1] == 429
    assert last["X-RateLimit-Scope"] == "ip"


async def test_in_production_they_come_over_https(database_url, nats_url, tenant):
    async with (
        run_house(
            database_url, nats_url, services=("ingest",), environment="production"
        ) as house,
        open_api(house, tenant) as api,
    ):
        path = "/organizations/webhook-token/regenerate"
        token = (await api.ask("POST", path, expect=200))["webhook_token"]
        url = f"{house.base_url}/api/v1/webhooks/{tenant.id}"
        for said, status in (
            (None, 400),
            ("http", 400),
            ("", 400),
            ("http, https", 400),
            ("https", 200),
            ("HTTPS", 200),
            ("https, http", 200),
        ):
            headers = {"X-Webhook-Token": token}
            if said is not None:
                headers["X-Forwarded-Proto"] = said
            async with api.session.post(
                f"{url}/custom", json=GOOD, headers=headers
            ) as answer:
                found = await answer.json()
                assert answer.status == status, said
                assert status == 200 or "X-Forwarded-Proto" in found["message"]
            async with api.session.post(
                f"{url}/github", json=GOOD, headers=headers
            ) as answer:
                assert answer.status == (401 if status == 200 else 400)


# --- the official client --------------------------------------------------------------


@pytest.mark.parametrize("blocking", [True, False], ids=["blocking", "async"])
async def test_the_official_client_sends_and_reads_the_log(
    house, tenant, token, blocking
):
    async with open_official(
        house, blocking=blocking, api_key=tenant.api_key
    ) as client:
        body = {
            "queue_name": "orders",
            "payload": [1],
            "event_type": "order.paid",
            "idempotency_key": "k",
        }
        first = await client("ingest.custom", str(tenant.id), body, token)
        again = await client("ingest.custom", str(tenant.id), body, token)
        page = await client(
            "webhooks.list_inbound_deliveries",
            {
                "since": datetime.now(UTC) - timedelta(minutes=1),
                "queue_name": "orders",
                "limit": 10,
                "offset": 0,
            },
        )
        repeats = await client(
            "webhooks.list_inbound_deliveries", {"status": "duplicate"}
        )

    assert (first.status, again.status) == ("created", "duplicate")
    assert first.job_id == again.job_id
    assert [row.status for row in page] == ["duplicate", "created"]
    assert {row.job_id for row in page} == {first.job_id}
    assert [row.event_type for row in repeats] == ["order.paid"]
