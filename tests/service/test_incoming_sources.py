"""Whose webhooks an organization takes: configured, rotated, never shown."""

import asyncio
import json
from functools import partial
from uuid import uuid4

import pytest

from libs.cli.embedded.ports import free_port
from tests.support import senders
from tests.support.house import run_house
from tests.support.senders import EXAMPLES, SECRET, configure, deliver
from tests.support.waiting import until


@pytest.fixture
async def house(database_url, nats_url):
    async with run_house(database_url, nats_url, services=("ingest",)) as house:
        yield house


@pytest.fixture
def send(api):
    """Send (provider, headers, body) to the organization, or to another *org*."""
    return partial(deliver, api)


async def test_both_secrets_are_good_while_one_replaces_the_other(api, send, conn):
    body = EXAMPLES["github"][2]

    async def tries(*secrets):
        return [
            (
                await send(
                    "github",
                    senders.github(body, secret=one, delivery=f"{one}-{uuid4()}"),
                    body,
                )
            )[0]
            for one in secrets
        ]

    await configure(api, "github", secret="first secret")
    shown = await configure(api, "github", secret="second secret")
    assert shown["previous_secret_expires_at"] is not None
    assert await tries("first secret", "second secret", "third secret") == [
        200,
        200,
        401,
    ]
    # The same again is no rotation.
    assert await configure(api, "github", secret="second secret") == {
        **shown,
        "updated_at": (await listed(api))["updated_at"],
    }
    assert await tries("first secret", "second secret") == [200, 200]
    await configure(api, "github", secret="third secret", overlap_seconds=1)
    assert await tries("first secret", "third secret") == [401, 200]
    await asyncio.sleep(1.1)
    assert await tries("second secret", "third secret") == [401, 200]
    assert (await listed(api))["previous_secret_expires_at"] is None
    shown = await configure(api, "github", secret="fourth secret", overlap_seconds=0)
    assert shown["previous_secret_expires_at"] is None
    assert await tries("third secret", "fourth secret") == [401, 200]
    row = await conn.fetchrow("SELECT * FROM incoming_sources")
    assert row["previous_sealed"] is None
    assert b"secret" not in row["sealed"]


async def listed(api):
    (one,) = await api.ask("GET", "/incoming-webhooks", expect=200)
    return one


async def test_sources_are_shown_changed_and_deleted_without_secrets(api, send, tenant):
    status, refused, _ = await api.ask("PUT", "/incoming-webhooks/github", json={})
    assert (status, refused["details"][0]["field"]) == (422, "secret")
    made = await configure(api, "github", secret=SECRET)
    assert {**made, "created_at": "", "updated_at": ""} == {
        "provider": "github",
        "enabled": True,
        "queue_name": None,
        "as": "job",
        "webhook_url": f"http://127.0.0.1:8080/api/v1/webhooks/{tenant.id}/github",
        "previous_secret_expires_at": None,
        "created_at": "",
        "updated_at": "",
    }
    changed = await configure(api, "github", queue_name="hooks", enabled=False)
    assert (changed["queue_name"], changed["enabled"]) == ("hooks", False)
    kept = await configure(api, "github", enabled=True)
    assert (kept["queue_name"], kept["enabled"]) == ("hooks", True)
    body = EXAMPLES["github"][2]
    assert (await send("github", senders.github(body), body))[1][
        "queue_name"
    ] == "hooks"
    back = await configure(api, "github", queue_name=None)
    assert back["queue_name"] is None
    await configure(api, "slack", secret="another secret")
    sources = await api.ask("GET", "/incoming-webhooks", expect=200)
    assert [one["provider"] for one in sources] == ["github", "slack"]
    assert SECRET not in json.dumps(sources)
    await api.ask("DELETE", "/incoming-webhooks/github", expect=204)
    await api.ask("DELETE", "/incoming-webhooks/github", expect=404)
    assert (await send("github", senders.github(body), body))[0] == 401


async def test_a_source_that_is_disabled_says_so_to_who_signs(api, send):
    await configure(api, "github", secret=SECRET, enabled=False)
    body = EXAMPLES["github"][2]

    status, refused = await send("github", senders.github(body), body)
    assert (status, refused["code"]) == (403, "ACCESS_DENIED")
    forged = senders.github(body, secret="forged")
    assert (await send("github", forged, body))[0] == 401


async def test_a_source_that_breaks_a_rule_is_refused(api):
    for path, fields, status, field in (
        ("github", {"secret": ""}, 400, "secret"),
        ("github", {"secret": " x"}, 400, "secret"),
        ("github", {"secret": "x\n"}, 400, "secret"),
        ("github", {"secret": "x\x00y"}, 400, "secret"),
        ("github", {"secret": "x" * 513}, 400, "secret"),
        ("github", {"secret": "x", "queue_name": "a b"}, 400, "queue_name"),
        ("github", {"secret": "x", "as": "task"}, 400, "as"),
        ("github", {"secret": "x", "overlap_seconds": 604_801}, 400, "overlap_seconds"),
        ("github", {"secret": "x", "enable": True}, 400, "enable"),
        ("github", {"secret": 1}, 422, "secret"),
        ("standard", {"secret": "whpk_AAAA"}, 400, "secret"),
        ("standard", {"secret": "whsec_???"}, 400, "secret"),
    ):
        found, refused, _ = await api.ask(
            "PUT", f"/incoming-webhooks/{path}", json=fields
        )
        assert found == status, fields
        assert refused["details"][0]["field"] == field, fields
    found, refused, _ = await api.ask(
        "PUT", "/incoming-webhooks/gitlab", json={"secret": "x"}
    )
    assert (found, refused["code"]) == (404, "NOT_FOUND")


async def test_only_a_key_without_limits_looks_after_sources(api):
    body = {"name": "scoped", "queues": ["orders"]}
    scoped = await api.ask("POST", "/api-keys", json=body, expect=201)
    headers = {"Authorization": f"Bearer {scoped['key']}"}
    for method, path in (
        ("GET", "/incoming-webhooks"),
        ("PUT", "/incoming-webhooks/github"),
        ("DELETE", "/incoming-webhooks/github"),
    ):
        refused = await api.ask(
            method, path, headers=headers, json={"secret": "x"}, expect=403
        )
        assert refused["code"] == "ACCESS_DENIED"


async def test_a_change_of_sources_reaches_every_process(api, house, tenant, send):
    await house.start("ingest#2", http_port=(port := free_port()))
    url = f"http://127.0.0.1:{port}/api/v1/webhooks/{tenant.id}/github"
    body = EXAMPLES["github"][2]

    async def there(secret):
        headers = senders.github(body, secret=secret, delivery=str(uuid4()))
        async with api.session.post(url, data=body, headers=headers) as answer:
            return answer.status

    await configure(api, "github", secret="first secret")

    async def believes():
        return await there("first secret") == 200

    await until(believes, at_most=5)
    await configure(api, "github", secret="second secret", overlap_seconds=0)

    async def believes_no_more():
        return await there("first secret") == 401

    await until(believes_no_more, at_most=5)
    assert await there("second secret") == 200


async def test_a_secret_that_nobody_can_open_is_our_trouble_and_not_the_senders(
    api, send, conn
):
    """They try again; meanwhile somebody brings the key, or gives the secret anew."""
    body = EXAMPLES["github"][2]
    await configure(api, "github", secret=SECRET)
    await configure(api, "slack", secret=SECRET)
    await conn.execute(
        "UPDATE incoming_sources SET sealed = overlay(sealed placing 'xxxx' from 2)"
        " WHERE provider = 'github'"
    )
    await configure(api, "slack", queue_name="slack")  # which tells everybody

    status, refused = await send("github", senders.github(body), body)
    assert (status, refused["code"]) == (503, "SERVICE_UNAVAILABLE")
    event = EXAMPLES["slack"][2]
    assert (await send("slack", senders.slack(event), event))[0] == 200
    await configure(api, "github", secret=SECRET)
    assert (await send("github", senders.github(body), body))[0] == 200
