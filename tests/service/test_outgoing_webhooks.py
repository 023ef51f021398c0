"""Outgoing webhooks are kept as the contract's clients keep them (1.10)."""

import pytest
from spooled.errors import NotFoundError

from libs.common.sealing import Sealer
from tests.support.house import SECRET_KEY, answers, run_house
from tests.support.official import open_official
from tests.support.tenants import scoped, stranger
from tests.support.waiting import until

GOOD = {"name": "ops", "url": "http://localhost:9/hook", "events": ["job.failed"]}
FIELDS = {
    "id",
    "organization_id",
    "name",
    "url",
    "events",
    "format",
    "enabled",
    "failure_count",
    "last_triggered_at",
    "last_status",
    "created_at",
    "updated_at",
}


@pytest.fixture
async def house(database_url, nats_url):
    async with run_house(database_url, nats_url, services=("ingest",)) as house:
        yield house


async def create(api, *, expect=201, **fields):
    return await api.ask(
        "POST", "/outgoing-webhooks", json={**GOOD, **fields}, expect=expect
    )


async def secrets_of(conn, id_):
    rows = await conn.fetch(
        "SELECT scheme, sealed FROM endpoint_secrets WHERE endpoint_id = $1", id_
    )
    return [
        (row["scheme"], Sealer(SECRET_KEY).unseal(row["sealed"], owner=id_))
        for row in rows
    ]


async def test_a_webhook_is_made_shown_changed_and_deleted(api):
    made = await create(api, secret="s3cret", format="slack")
    assert made.keys() == FIELDS
    assert made["organization_id"] == str(api.tenant.id)
    assert (made["enabled"], made["failure_count"], made["last_status"]) == (
        True,
        0,
        None,
    )
    path = f"/outgoing-webhooks/{made['id']}"
    assert await api.ask("GET", path, expect=200) == made
    assert await api.ask("GET", "/outgoing-webhooks", expect=200) == [made]

    change = {"name": "n", "events": ["*", "job.failed", "*"], "enabled": False}
    changed = await api.ask("PUT", path, json=change, expect=200)
    assert changed == {
        **made,
        "name": "n",
        "events": ["*", "job.failed"],
        "enabled": False,
        "updated_at": changed["updated_at"],
    }

    await api.ask("DELETE", path, expect=204)
    for method, rest in (
        ("GET", ""),
        ("PUT", ""),
        ("DELETE", ""),
        ("POST", "/test"),
        ("GET", "/deliveries"),
        ("POST", f"/retry/{made['id']}"),
    ):
        body = {"name": "x"} if method == "PUT" else None
        await api.ask(method, path + rest, json=body, expect=404)
    assert await api.ask("GET", "/outgoing-webhooks", expect=200) == []


async def test_a_secret_is_kept_replaced_and_taken_away(api, conn):
    made = await create(api, secret="one")
    path = f"/outgoing-webhooks/{made['id']}"
    assert await secrets_of(conn, made["id"]) == [("contract", b"one")]

    await api.ask("PUT", path, json={"name": "x"}, expect=200)
    assert await secrets_of(conn, made["id"]) == [("contract", b"one")]
    await api.ask("PUT", path, json={"secret": "zwei\u00df"}, expect=200)
    assert await secrets_of(conn, made["id"]) == [("contract", "zwei\u00df".encode())]
    await api.ask("PUT", path, json={"secret": None}, expect=200)
    assert await secrets_of(conn, made["id"]) == []
    await api.ask("PUT", path, json={"secret": "three"}, expect=200)
    await api.ask("DELETE", path, expect=204)
    assert await secrets_of(conn, made["id"]) == []


@pytest.mark.parametrize(
    ("change", "status", "field"),
    [
        ({"name": ""}, 400, "name"),
        ({"name": "n" * 256}, 400, "name"),
        ({"name": None}, 422, "name"),
        ({"events": []}, 400, "events"),
        ({"events": ["job.exploded"]}, 400, "events"),
        ({"events": "job.failed"}, 422, "events"),
        ({"url": "ftp://example.com"}, 400, "url"),
        ({"url": "https://example.com/" + "x" * 2048}, 400, "url"),
        ({"secret": ""}, 400, "secret"),
        ({"secret": "s" * 256}, 400, "secret"),
        ({"format": "carrier-pigeon"}, 400, "format"),
        ({"enabled": "perhaps"}, 422, "enabled"),
    ],
)
async def test_what_is_wrong_is_named(api, change, status, field):
    got, error, _ = await api.ask("POST", "/outgoing-webhooks", json={**GOOD, **change})

    assert (got, error["code"]) == (status, "VALIDATION_ERROR"), error
    assert error["details"][0]["field"].split(".")[0] == field


async def test_in_production_only_the_world_is_told(house, api):
    await house.stop("ingest")
    await house.start("ingest", environment="production")
    await until(lambda: answers(house.base_url), at_most=10)
    plain = "http://example.com/"

    for url in (
        plain,
        "https://localhost/",
        "https://10.0.0.1/",
        "https://postgres/",
        "https://metadata.google.internal/",
    ):
        job = {"queue_name": "mail", "payload": 1, "completion_webhook": url}
        for path, body in (
            ("/outgoing-webhooks", {**GOOD, "url": url}),
            ("/jobs", job),
        ):
            status, error, _ = await api.ask("POST", path, json=body)
            assert (status, error["code"]) == (400, "VALIDATION_ERROR")
            assert "Invalid webhook URL: " in error["message"]
            if url == plain:
                assert error["message"].endswith("HTTP not allowed in production")


async def test_a_plan_allows_so_many_that_are_enabled(api, database_url):
    mine = await stranger(api, database_url, max_webhooks=1)
    one = await create(mine)
    status, error, _ = await mine.ask("POST", "/outgoing-webhooks", json=GOOD)
    assert (status, error["code"], error["resource"]) == (
        429,
        "QUOTA_EXCEEDED",
        "webhooks",
    )
    two = await create(mine, enabled=False)
    path = f"/outgoing-webhooks/{two['id']}"
    status, error, _ = await mine.ask("PUT", path, json={"enabled": True})
    assert (status, error["code"]) == (429, "QUOTA_EXCEEDED")
    used = await mine.ask("GET", "/organizations/usage", expect=200)
    assert used["usage"]["webhooks"]["current"] == 1

    await mine.ask("PUT", path, json={"name": "still off"}, expect=200)
    first = f"/outgoing-webhooks/{one['id']}"
    # One that is on already is none more.
    await mine.ask("PUT", first, json={"enabled": True}, expect=200)
    await mine.ask("DELETE", first, expect=204)
    await mine.ask("PUT", path, json={"enabled": True}, expect=200)


async def test_a_key_for_queues_looks_after_none(api):
    made = await create(api)
    mail = await scoped(api, "mail")
    one = f"/outgoing-webhooks/{made['id']}"
    for method, path, body in (
        ("GET", "/outgoing-webhooks", None),
        ("POST", "/outgoing-webhooks", GOOD),
        ("GET", one, None),
        ("PUT", one, {"name": "mine"}),
        ("DELETE", one, None),
        ("POST", f"{one}/test", None),
        ("GET", f"{one}/deliveries", None),
        ("POST", f"{one}/retry/{made['id']}", None),
    ):
        status, error, _ = await mail.ask(method, path, json=body)
        assert (status, error["code"]) == (403, "ACCESS_DENIED"), (method, path)


async def test_a_test_without_anybody_to_send_it_says_so(api):
    made = await create(api)

    told = await api.ask("POST", f"/outgoing-webhooks/{made['id']}/test", expect=200)

    assert told == {
        "success": False,
        "status_code": None,
        "response_time_ms": 0,
        "error": "no delivery pod is up",
    }


async def test_a_delivery_that_is_none_is_not_tried_again(api):
    made = await create(api)
    path = f"/outgoing-webhooks/{made['id']}/retry"

    status, error, _ = await api.ask("POST", f"{path}/not-an-id")
    assert (status, error["code"]) == (400, "BAD_REQUEST")
    # A job of the same organization that is no delivery of this webhook.
    job = await api.create()
    await api.ask("POST", f"{path}/{job}", expect=404)


@pytest.mark.parametrize("blocking", [True, False], ids=["sync", "async"])
async def test_the_official_client_keeps_webhooks(house, tenant, conn, blocking):
    async with open_official(
        house, blocking=blocking, api_key=tenant.api_key
    ) as client:
        made = await client("webhooks.create", {**GOOD, "secret": "one"})
        assert (made.format, made.failure_count) == ("json", 0)
        listed = await client("webhooks.list")
        assert [one.id for one in listed] == [made.id]
        changed = await client("webhooks.update", made.id, {"secret": None})
        assert changed.name == made.name
        assert await secrets_of(conn, made.id) == []
        tested = await client("webhooks.test", made.id)
        assert not tested.success
        assert await client("webhooks.get_deliveries", made.id, {"limit": 10}) == []
        await client("webhooks.delete", made.id)
        with pytest.raises(NotFoundError):
            await client("webhooks.get", made.id)
