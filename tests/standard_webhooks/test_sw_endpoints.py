"""Standard Webhooks 1.0, endpoints: keys, failures, and what can be done about them.

SW-12, SW-14 to SW-17 and SW-20 to SW-22, through the whole house.
"""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest
import standardwebhooks

from libs.common.backoff import STANDARD_RETRIES, STANDARD_WEBHOOKS, delay_seconds
from tests.support.endpoint import Answer, run_endpoint
from tests.support.endpoints import create_endpoint
from tests.support.house import assert_invariants, new_tenant, open_api, run_house
from tests.support.waiting import until


@pytest.fixture
async def api(database_url, nats_url):
    tenant = await new_tenant(database_url)
    async with (
        run_house(database_url, nats_url) as house,
        open_api(house, tenant) as client,
    ):
        yield client
        await assert_invariants(database_url)


async def send(api, event_type="order.paid", **fields):
    body = {"event_type": event_type, "payload": {"order": 42}, **fields}
    return await api.ask("POST", "/messages", json=body, expect=201)


async def delivery_of(api, message, check):
    """Wait until the only delivery of a message is as *check* wants it."""

    async def look():
        found = await api.ask("GET", f"/messages/{message['id']}", expect=200)
        [one] = found["deliveries"]
        return one if check(one) else None

    return await until(look, at_most=15)


async def test_sw_12_no_two_endpoints_share_a_key(api, endpoint):
    async with run_endpoint() as other:
        one = await create_endpoint(api, url=endpoint.url)
        two = await create_endpoint(api, url=other.url)
        assert one["secret"] != two["secret"]

        await send(api)

        [mine], [theirs] = await endpoint.received(1), await other.received(1)
        mine.verify(one["secret"])
        theirs.verify(two["secret"])
        with pytest.raises(standardwebhooks.WebhookVerificationError):
            mine.verify(two["secret"])


async def test_sw_14_who_is_gone_is_disabled_and_sent_nothing_more(api, endpoint):
    endpoint.otherwise = 410
    made = await create_endpoint(api, url=endpoint.url)

    first = await send(api)
    dead = await delivery_of(api, first, lambda one: one["status"] == "deadletter")

    assert dead["last_status_code"] == 410
    shown = await api.ask("GET", f"/endpoints/{made['id']}", expect=200)
    assert (shown["enabled"], shown["disabled_reason"]) == (False, "gone")
    later = await send(api)
    waits = await delivery_of(api, later, lambda one: one["status"] == "pending")
    assert waits["attempts"] == 0
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize("status", [429, 502, 504])
async def test_sw_15_who_asks_for_less_gets_less(api, endpoint, status):
    endpoint.answers = [Answer(status, headers={"Retry-After": "60"})]
    made = await create_endpoint(api, url=endpoint.url)

    first = await send(api)
    tried = await delivery_of(api, first, lambda one: one["next_attempt_at"])

    shown = await api.ask("GET", f"/endpoints/{made['id']}", expect=200)
    until_when = datetime.fromisoformat(shown["stats"]["throttled_until"])
    assert until_when > datetime.now(UTC) + timedelta(seconds=30)
    # Not before it said, whatever the schedule would have.
    again = datetime.fromisoformat(tried["next_attempt_at"])
    assert again > datetime.now(UTC) + timedelta(seconds=50)
    # Nor is anything else sent meanwhile.
    later = await send(api)
    waits = await delivery_of(api, later, lambda one: one["status"] == "pending")
    assert waits["attempts"] == 0
    assert len(endpoint.requests) == 1


def test_sw_16_retries_over_days_at_random_and_never_early():
    planned = [5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400]

    assert STANDARD_WEBHOOKS.schedule_seconds == planned
    assert STANDARD_RETRIES == 9
    assert str(timedelta(seconds=sum(planned))) == "3 days, 3:35:05"
    for count, seconds in enumerate(planned):
        earliest = delay_seconds(STANDARD_WEBHOOKS, retry_count=count, luck=0.0)
        latest = delay_seconds(STANDARD_WEBHOOKS, retry_count=count, luck=0.999)
        assert earliest == seconds
        assert seconds < latest <= seconds * 1.1


async def test_sw_16_an_endpoint_without_a_policy_has_that_schedule(api, endpoint):
    endpoint.otherwise = 500
    await create_endpoint(api, url=endpoint.url)

    message = await send(api)
    tried = await delivery_of(api, message, lambda one: one["next_attempt_at"])

    [attempt] = await api.attempts(tried["job_id"])
    wait = datetime.fromisoformat(tried["next_attempt_at"]) - datetime.fromisoformat(
        attempt["started_at"]
    )
    assert timedelta(seconds=5) <= wait < timedelta(seconds=7)
    assert (await api.job(tried["job_id"]))["max_retries"] == 9


async def test_sw_17_who_fails_for_days_is_disabled_and_somebody_is_told(
    api, conn, endpoint
):
    async with run_endpoint() as operator:
        await api.ask(
            "POST",
            "/outgoing-webhooks",
            json={
                "name": "operator",
                "url": operator.url,
                "events": ["endpoint.disabled"],
            },
            expect=201,
        )
        endpoint.otherwise = 500
        made = await create_endpoint(api, url=endpoint.url)
        await send(api)
        await endpoint.received(1)
        await until(lambda: _failed(conn))
        await conn.execute(
            "UPDATE endpoint_health SET failing_since = now() - interval '5 days'"
        )

        await send(api)

        [told] = await operator.received(1)
    event = json.loads(told.body)
    assert event["event"] == "endpoint.disabled"
    assert event["data"]["endpoint_id"] == made["id"]
    assert made["secret"] not in told.body.decode()
    shown = await api.ask("GET", f"/endpoints/{made['id']}", expect=200)
    assert (shown["enabled"], shown["disabled_reason"]) == (False, "failing")


async def _failed(conn):
    return await conn.fetchval("SELECT sum(consecutive_failures) FROM endpoint_health")


async def test_sw_20_the_recommended_payload_is_an_endpoints_choice(api, endpoint):
    await create_endpoint(api, url=endpoint.url, format="envelope")

    await send(api)

    [request] = await endpoint.received(1)
    body = json.loads(request.body)
    assert list(body) == ["type", "timestamp", "data"]
    assert body["type"] == "order.paid"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", body["timestamp"])
    assert body["data"] == {"order": 42}


@pytest.mark.parametrize("name", ["", "a..b", ".a", "a b", "a/b", "*", "ä"])
async def test_sw_20_an_event_type_is_words_joined_by_dots(api, name):
    body = {"event_type": name, "payload": {}}
    status, refused, _ = await api.ask("POST", "/messages", json=body)

    assert status == 400
    assert "event_type" in refused["message"]


async def test_sw_21_several_endpoints_each_with_its_event_types(api, endpoint):
    async with run_endpoint() as other:
        await create_endpoint(api, url=endpoint.url, event_types=["order.*"])
        await create_endpoint(api, url=other.url, event_types=["user.created"])

        order = await send(api)
        user = await send(api, "user.created")
        nobody = await send(api, "invoice.paid")

        await endpoint.received(1)
        await other.received(1)
    assert endpoint.ids == [order["id"]]
    assert other.ids == [user["id"]]
    assert nobody["deliveries"] == 0


async def test_sw_22_failures_are_listed_and_sent_again_alone_or_as_a_range(
    api, endpoint
):
    endpoint.otherwise = 500
    made = await create_endpoint(api, url=endpoint.url, max_retries=0)
    messages = [await send(api) for _ in range(3)]
    dead = [
        await delivery_of(api, one, lambda it: it["status"] == "deadletter")
        for one in messages
    ]

    path = f"/endpoints/{made['id']}"
    failed = await api.ask("GET", f"{path}/attempts?status=failed", expect=200)

    assert {one["job_id"] for one in failed} == {one["job_id"] for one in dead}
    endpoint.requests.clear()
    endpoint.otherwise = 200
    await api.ask("POST", f"/jobs/{dead[0]['job_id']}/resend", expect=201)
    await endpoint.received(1)
    assert endpoint.ids == [messages[0]["id"]]
    since = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    await api.ask("POST", f"{path}/replay", json={"since": since}, expect=202)
    await endpoint.received(4)
    assert set(endpoint.ids) == {one["id"] for one in messages}
