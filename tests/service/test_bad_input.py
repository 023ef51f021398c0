"""What bad input gets: a clear answer that names the field, never a 500."""

import asyncio
import io

import asyncpg
import pytest

from libs.cli.embedded.ports import free_port
from tests.support.house import ADMIN_KEY, House, new_tenant, open_api, run_house
from tests.support.house import answers as is_ready
from tests.support.waiting import until

JSON = {"Content-Type": "application/json"}
GOOD = {"queue_name": "mail", "payload": {"n": 1}}
HOOK = {"url": "https://example.com/hook"}


@pytest.fixture
async def house(database_url, nats_url):
    async with run_house(database_url, nats_url, services=("ingest",)) as house:
        yield house


@pytest.mark.parametrize(
    ("change", "status", "field"),
    [
        ({"queue_name": ""}, 400, "queue_name"),
        ({"queue_name": "a b"}, 400, "queue_name"),
        ({"queue_name": ".a"}, 400, "queue_name"),
        ({"queue_name": "a" * 101}, 400, "queue_name"),
        ({"queue_name": "a\x00"}, 400, "queue_name"),
        ({"queue_name": None}, 422, "queue_name"),
        ({"queue_name": 7}, 422, "queue_name"),
        ({"queue_name": ...}, 422, "queue_name"),
        ({"payload": ...}, 422, "payload"),
        ({"priority": 101}, 400, "priority"),
        ({"priority": "high"}, 422, "priority"),
        ({"priority": 1.5}, 422, "priority"),
        ({"max_retries": -1}, 400, "max_retries"),
        ({"max_retries": 101}, 400, "max_retries"),
        ({"timeout_seconds": 0}, 400, "timeout_seconds"),
        ({"scheduled_at": "tomorrow"}, 422, "scheduled_at"),
        ({"idempotency_key": ""}, 400, "idempotency_key"),
        ({"idempotency_key": "k" * 256}, 400, "idempotency_key"),
        ({"idempotency_key": "\x00"}, 400, "idempotency_key"),
        ({"tags": ["x" * 70_000]}, 400, "tags"),
        ({"tags": {"a": ["\x00"]}}, 400, "tags"),
        ({"parent_job_id": "x"}, 400, "parent_job_id"),
        ({"completion_webhook": "x.org"}, 400, "completion_webhook"),
        ({"completion_webhook": 1}, 422, "completion_webhook"),
        ({"completion_webhook_secret": "s"}, 400, "completion_webhook_secret"),
        ({"target": "https://example.com"}, 422, "target"),
        ({"target": {}}, 422, "target.url"),
        ({"target": {**HOOK, "colour": "red"}}, 400, "target.colour"),
        ({"target": {"url": "ftp://example.com"}}, 400, "target.url"),
        ({"target": {"url": "example.com"}}, 400, "target.url"),
        ({"target": {"url": "https://"}}, 400, "target.url"),
        ({"target": {"url": "https://a:b@example.com/"}}, 400, "target.url"),
        ({"target": {"url": "https://example.com/" + "x" * 2048}}, 400, "target.url"),
        ({"target": {"url": "https://example.com/" + "字" * 300}}, 400, "target.url"),
        ({"target": {**HOOK, "method": "BREW"}}, 400, "target.method"),
        ({"target": {**HOOK, "timeout_seconds": 0}}, 400, "target.timeout_seconds"),
        ({"target": {**HOOK, "timeout_seconds": 999}}, 400, "target.timeout_seconds"),
        ({"target": {**HOOK, "headers": {"a b": "x"}}}, 400, "target.headers"),
        ({"target": {**HOOK, "headers": {"X": "a\r\nY: b"}}}, 400, "target.headers"),
        ({"target": {**HOOK, "headers": {"Host": "x"}}}, 400, "target.headers"),
        ({"target": {**HOOK, "headers": {"webhook-id": "x"}}}, 400, "target.headers"),
        ({"target": {**HOOK, "headers": {"X": 1}}}, 422, "target.headers"),
        ({"retry": {"strategy": "hope"}}, 422, "retry"),
        ({"retry": {"strategy": "schedule"}}, 422, "retry"),
        ({"retry": {"strategy": "schedule", "schedule_seconds": []}}, 400, "retry"),
        ({"retry": {"strategy": "exponential", "factor": 0}}, 400, "retry"),
        ({"retry": {"strategy": "exponential", "colour": 1}}, 400, "retry"),
    ],
)
async def test_a_bad_field_is_named(api, change, status, field):
    body = {k: v for k, v in {**GOOD, **change}.items() if v is not ...}

    got, error, headers = await api.ask("POST", "/jobs", json=body)

    assert (got, error["code"]) == (status, "VALIDATION_ERROR"), error
    assert any(d["field"].startswith(field) for d in error["details"]), error
    assert field.split(".")[-1] in error["message"], error
    assert headers["x-request-id"]


@pytest.mark.parametrize(
    "text",
    [b"{", b"", b"nope", b"\xff", b'{"payload": NaN}', b"[" * 2000, b'{"a":1,}'],
)
async def test_malformed_json_is_said_to_be_so(api, text):
    status, error, _ = await api.ask("POST", "/jobs", data=text, headers=JSON)

    assert (status, error["code"]) == (400, "INVALID_JSON")
    assert "JSON" in error["message"]


@pytest.mark.parametrize("text", [b"[]", b'"x"', b"7", b"null", b"true"])
async def test_json_that_is_no_object_is_refused(api, text):
    status, error, _ = await api.ask("POST", "/jobs", data=text, headers=JSON)

    assert (status, error["code"]) == (422, "VALIDATION_ERROR")


async def test_what_postgres_cannot_hold_spoils_only_its_own_request(api, database_url):

    bad = {**GOOD, "tags": ["\x00"]}
    answers = await asyncio.gather(
        *(api.ask("POST", "/jobs", json=bad if n == 5 else GOOD) for n in range(10))
    )

    assert [status for status, _, _ in answers] == [201] * 5 + [400] + [201] * 4
    assert answers[5][1]["code"] == "VALIDATION_ERROR"
    conn = await asyncpg.connect(database_url)
    assert await conn.fetchval("SELECT count(*) FROM jobs") == 9
    await conn.close()


async def test_a_payload_over_one_mebibyte_is_refused(api):

    text = b'{"queue_name":"q","payload":"' + b"x" * (1024 * 1024) + b'"}'
    status, error, _ = await api.ask(
        "POST", "/jobs", data=io.BytesIO(text), headers=JSON
    )
    assert (status, error["details"][0]["field"]) == (400, "payload")

    text = b'{"queue_name":"q","payload":"' + b"x" * (2 * 1024 * 1024) + b'"}'
    status, error, _ = await api.ask(
        "POST", "/jobs", data=io.BytesIO(text), headers=JSON
    )
    assert (status, error["code"]) == (413, "PAYLOAD_TOO_LARGE")


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "https://127.0.0.1/",
        "https://localhost/",
        "https://10.1.2.3/",
        "https://192.168.1.1:8443/x",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://metadata.google.internal/",
        "https://printer.local/",
    ],
)
async def test_production_refuses_private_targets(database_url, nats_url, url):
    tenant = await new_tenant(database_url)
    async with (
        run_house(
            database_url, nats_url, services=("ingest",), environment="production"
        ) as house,
        open_api(house, tenant) as api,
    ):
        status, error, _ = await api.ask(
            "POST", "/jobs", json={**GOOD, "target": {"url": url}}
        )
        assert (status, error["details"][0]["field"]) == (400, "target.url"), error
        await api.create("https://example.com/hook")


async def test_unknown_and_revoked_keys_are_refused_everywhere(api, house):
    made = await api.ask("POST", "/api-keys", json={"name": "temp"}, expect=201)
    bearer = {"Authorization": f"Bearer {made['key']}"}
    replica = House(
        f"http://127.0.0.1:{free_port()}", house.database_url, house.nats_url
    )
    await replica.start("ingest")
    await until(lambda: is_ready(replica.base_url))
    async with open_api(replica, api.tenant) as other:
        for client in (api, other):
            assert (await client.ask("GET", "/jobs", headers=bearer))[0] == 200

        await api.ask("DELETE", f"/api-keys/{made['id']}", expect=204)

        async def is_refused():
            status, error, _ = await other.ask("GET", "/jobs", headers=bearer)
            return status == 401 and error

        assert (await api.ask("GET", "/jobs", headers=bearer))[0] == 401
        error = await until(is_refused, at_most=2)
    await replica.stop("ingest")
    assert error == {
        "code": "UNAUTHORIZED",
        "error": "unauthorized",
        "message": "API key is inactive",
    }
    for headers in (
        {"Authorization": "Bearer sk_live_nope"},
        {"Authorization": "Bearer sk_live_\udcff"},
        {"Authorization": "x"},
    ):
        status, error, _ = await api.ask("GET", "/jobs", headers=headers)
        assert (status, error["code"]) == (401, "UNAUTHORIZED")


async def test_a_scoped_key_sees_only_its_queues(api):
    made = await api.ask(
        "POST", "/api-keys", json={"name": "scoped", "queues": ["mail"]}, expect=201
    )
    scoped = {"Authorization": f"Bearer {made['key']}"}
    mine = await api.create(queue_name="mail")
    other = await api.create(queue_name="other")

    rows = await api.ask("GET", "/jobs", headers=scoped, expect=200)
    assert [row["id"] for row in rows] == [mine]
    for path in ("", "/history", "/attempts"):
        status, _, _ = await api.ask("GET", f"/jobs/{other}{path}", headers=scoped)
        assert status == 404
    assert (await api.ask("DELETE", f"/jobs/{other}", headers=scoped))[0] == 404
    status, error, _ = await api.ask(
        "POST", "/jobs", json={**GOOD, "queue_name": "other"}, headers=scoped
    )
    assert (status, error["code"]) == (403, "ACCESS_DENIED")
    assert (await api.ask("GET", "/api-keys", headers=scoped))[0] == 403


async def test_organizations_are_created_with_the_admin_key(api):
    body = {"name": "New One", "slug": "new-one"}
    assert (await api.ask("POST", "/organizations", json=body))[0] == 403

    made = await api.ask(
        "POST",
        "/organizations",
        json=body,
        headers={"X-Admin-Key": ADMIN_KEY},
        expect=201,
    )
    key = {"Authorization": f"Bearer {made['api_key']['key']}"}
    (own,) = await api.ask("GET", "/organizations", headers=key, expect=200)
    assert own["id"] == made["organization"]["id"]
    status, error, _ = await api.ask(
        "POST", "/organizations", json=body, headers={"X-Admin-Key": ADMIN_KEY}
    )
    assert (status, error["code"], error["message"]) == (
        409,
        "CONFLICT",
        "slug: already taken",
    )
    status, error, _ = await api.ask(
        "POST",
        "/organizations",
        json={"name": "x", "slug": "admin"},
        headers={"X-Admin-Key": ADMIN_KEY},
    )
    assert (status, len(error["details"])) == (400, 2)


async def test_unknown_paths_and_methods_are_said_in_json(api):
    status, error, _ = await api.ask("GET", "/nothing")
    assert (status, error["code"]) == (404, "NOT_FOUND")
    status, error, _ = await api.ask("PATCH", "/jobs")
    assert (status, error["code"]) == (405, "METHOD_NOT_ALLOWED")
    status, error, _ = await api.ask("GET", "/jobs/not-an-id")
    assert (status, error["code"]) == (404, "NOT_FOUND")


async def test_lists_filter_page_and_never_refuse_a_limit(api):
    for n in range(5):
        await api.create(payload={"job_type": f"type-{n}"}, tags=["t", f"n{n}"])
    await api.create(queue_name="other", scheduled_at="2099-01-01T00:00:00Z")

    rows, _, headers = await _list(api, "limit=2")
    assert (len(rows), headers["X-Has-More"]) == (2, "true")
    rows, _, headers = await _list(api, "limit=99999&queue_name=mail")
    assert (len(rows), headers["X-Has-More"]) == (5, "false")
    assert [r["job_type"] for r in rows] == [f"type-{n}" for n in (4, 3, 2, 1, 0)]
    for query, count in {
        "tag=n3": 1,
        "tag=t": 5,
        "job_type=type-1": 1,
        "q=TYPE": 5,
        f"q={rows[0]['id'][:30]}": 1,
        "status=scheduled": 1,
        "status=pending,scheduled": 6,
        "status=pending&offset=4": 1,
        "status=completed": 0,
        "status=failed": 0,
        "status=nonsense": 6,
        "created_after=2099-01-01T00:00:00Z": 0,
        "created_before=2099-01-01T00:00:00Z": 6,
        "created_after=2020-01-01T00:00:00%2B02:00": 6,
        "limit=0": 1,
        "limit=many": 6,
        "offset=-1": 6,
    }.items():
        rows, _, _ = await _list(api, query)
        assert len(rows) == count, query
    status, error, _ = await api.ask("GET", "/jobs?created_after=yesterday")
    assert (status, error["details"][0]["field"]) == (400, "created_after")


async def _list(api, query):
    status, rows, headers = await api.ask("GET", f"/jobs?{query}")
    assert status == 200, rows
    return rows, status, headers
