"""Messages: to every endpoint that asks for them, all at once, once."""

import asyncio
import io
import json

import pytest

from tests.support.endpoints import create_endpoint, send
from tests.support.house import new_tenant, open_api, run_house
from tests.support.tenants import scoped, stranger

JSON = {"Content-Type": "application/json"}
#: Nobody is there: who is not carried to needs nobody to be.
NOBODY = "http://127.0.0.1:9/"


@pytest.fixture
async def house(database_url, nats_url):
    async with run_house(database_url, nats_url, services=("ingest",)) as house:
        yield house


async def targets(api, sent):
    """Return to which endpoints a message goes."""
    message = await api.ask("GET", f"/messages/{sent['id']}", expect=200)
    assert len(message["deliveries"]) == sent["deliveries"]
    return {one["endpoint_id"] for one in message["deliveries"]}


async def test_a_message_goes_to_whoever_asks_for_it(api):
    every = await create_endpoint(api)
    below = await create_endpoint(api, event_types=["invoice.*"])
    named = await create_endpoint(api, event_types=["refund.made", "invoice.paid"])
    large = await create_endpoint(api, filter={"data.amount": {"$gte": 100}})

    for event_type, amount, wanted in (
        ("invoice.paid", 500, {every["id"], below["id"], named["id"], large["id"]}),
        ("invoice.paid", 5, {every["id"], below["id"], named["id"]}),
        ("invoice.paid.late", 5, {every["id"], below["id"]}),
        ("refund.made", 5, {every["id"], named["id"]}),
        ("order.made", 100, {every["id"], large["id"]}),
    ):
        sent = await send(api, event_type, {"data": {"amount": amount}})
        assert await targets(api, sent) == wanted, event_type


async def test_a_message_that_nobody_asks_for_is_kept(api, conn):
    await create_endpoint(api, event_types=["refund.made"])

    sent = await send(api, "invoice.paid", {"n": 1})

    assert sent["deliveries"] == 0
    shown = await api.ask("GET", f"/messages/{sent['id']}", expect=200)
    assert shown["deliveries"] == []
    assert await conn.fetchval("SELECT count(*) FROM jobs") == 0


async def test_what_is_shown_of_a_message(api):
    made = await create_endpoint(api, url=NOBODY)
    sent = await send(
        api, "invoice.paid", {"n": 1}, idempotency_key="k", ordering_key="o"
    )

    shown = await api.ask("GET", f"/messages/{sent['id']}", expect=200)

    [delivery] = shown.pop("deliveries")
    job = await api.job(delivery.pop("job_id"))
    assert job["payload"] == {"n": 1}
    assert (job["queue_name"], job["job_type"]) == ("webhooks", "invoice.paid")
    assert delivery == {
        "endpoint_id": made["id"],
        "url": NOBODY,
        "status": "pending",
        "attempts": 0,
        "last_status_code": None,
        "last_error": None,
        "next_attempt_at": None,
        "completed_at": None,
    }
    assert shown.pop("created_at")
    assert shown == {
        "id": sent["id"],
        "organization_id": str(api.tenant.id),
        "event_type": "invoice.paid",
        "payload": {"n": 1},
        "ordering_key": "o",
        "idempotency_key": "k",
        "delivery_count": 1,
    }


async def test_a_payload_is_kept_as_it_came(api, conn):
    await create_endpoint(api)
    spelled = b'{ "b":1.50, "a" : [1e3,"\\u00fc",  12345678901234567890], "b": 2 }'
    body = b'{"payload":' + spelled + b',"event_type":"a"}'

    status, sent, _ = await api.ask(
        "POST", "/messages", data=io.BytesIO(body), headers=JSON
    )

    assert status == 201, sent
    stored = await conn.fetchval("SELECT payload::text FROM messages")
    assert stored.encode() == spelled
    assert await conn.fetchval("SELECT payload FROM jobs") is None


async def test_a_disabled_endpoint_gets_its_delivery_and_a_deleted_one_none(api):
    off = await create_endpoint(api, enabled=False)
    gone = await create_endpoint(api)
    await api.ask("DELETE", f"/endpoints/{gone['id']}", expect=204)

    sent = await send(api, "a", 1)

    assert await targets(api, sent) == {off["id"]}


async def test_a_key_stands_for_one_message(api, conn):
    await create_endpoint(api)
    body = {"event_type": "a", "payload": {"n": 1}, "idempotency_key": "k"}

    first = await api.ask("POST", "/messages", json=body, expect=201)
    again = await api.ask("POST", "/messages", json=body, expect=200)
    other = {**body, "payload": {"n": 2}}
    still = await api.ask("POST", "/messages", json=other, expect=200)

    assert again == still == {**first, "created": False}
    assert await conn.fetchval("SELECT count(*) FROM messages") == 1
    assert await conn.fetchval("SELECT count(*) FROM jobs") == 1
    # A job has keys of its own.
    await api.create(idempotency_key="k")


async def test_a_key_in_the_header_is_strict(api):
    body = {"event_type": "a", "payload": {"n": 1}}
    key = {"Idempotency-Key": '"k"'}
    first = await api.ask("POST", "/messages", json=body, headers=key, expect=201)

    again = await api.ask("POST", "/messages", json=body, headers=key, expect=200)
    assert again == {**first, "created": False}
    for change in ({"payload": 2}, {"event_type": "b"}, {"ordering_key": "o"}):
        status, error, _ = await api.ask(
            "POST", "/messages", json={**body, **change}, headers=key
        )
        assert (status, error["code"]) == (422, "IDEMPOTENCY_KEY_REUSED"), change
    status, error, _ = await api.ask(
        "POST", "/messages", json={**body, "idempotency_key": "x"}, headers=key
    )
    assert (status, error["details"][0]["field"]) == (400, "idempotency_key")


async def test_keys_asked_for_at_once_stand_for_one_message_each(api, conn):
    await create_endpoint(api)

    async def ask(n):
        body = {"event_type": "a", "payload": 1, "idempotency_key": f"k{n % 5}"}
        return await api.ask("POST", "/messages", json=body)

    asked = await asyncio.gather(*(ask(n) for n in range(60)))

    assert sorted(status for status, _, _ in asked) == [200] * 55 + [201] * 5
    by_key: dict[int, set[str]] = {}
    for n, (_, data, _) in enumerate(asked):
        by_key.setdefault(n % 5, set()).add(data["id"])
        assert data["deliveries"] == 1
    assert all(len(ids) == 1 for ids in by_key.values())
    assert await conn.fetchval("SELECT count(*) FROM jobs") == 5


@pytest.mark.parametrize(
    ("change", "status", "field"),
    [
        ({"event_type": ...}, 422, "event_type"),
        ({"event_type": ""}, 400, "event_type"),
        ({"event_type": "invoice.*"}, 400, "event_type"),
        ({"event_type": "a b"}, 400, "event_type"),
        ({"event_type": "x" * 257}, 400, "event_type"),
        ({"event_type": 5}, 422, "event_type"),
        ({"payload": ...}, 422, "payload"),
        ({"idempotency_key": ""}, 400, "idempotency_key"),
        ({"idempotency_key": "k" * 256}, 400, "idempotency_key"),
        ({"ordering_key": ""}, 400, "ordering_key"),
        ({"ordering_key": "\x00"}, 400, "ordering_key"),
        ({"ordering_key": "o" * 256}, 400, "ordering_key"),
        ({"colour": "red"}, 400, "colour"),
        ({"queue_name": "mail"}, 400, "queue_name"),
    ],
)
async def test_a_bad_message_is_named(api, change, status, field):
    body = {
        name: value
        for name, value in {"event_type": "a", "payload": 1, **change}.items()
        if value is not ...
    }

    error = await api.ask("POST", "/messages", json=body, expect=status)

    assert [fault["field"] for fault in error["details"]] == [field]


async def test_a_payload_has_the_size_that_jobs_may_have(api, database_url):
    text = b'{"event_type":"a","payload":"' + b"x" * (1024 * 1024) + b'"}'
    status, error, _ = await api.ask(
        "POST", "/messages", data=io.BytesIO(text), headers=JSON
    )
    assert (status, error["details"][0]["field"]) == (400, "payload")
    other = await stranger(api, database_url, max_payload_size_bytes=10)
    body = {"event_type": "a", "payload": "x" * 10}
    assert (await other.ask("POST", "/messages", json=body))[0] == 413


async def test_a_key_for_other_queues_sends_nothing(api):
    await create_endpoint(api)
    sent = await send(api, "a", 1)
    some, other = await scoped(api, "webhooks"), await scoped(api, "mail")
    body = {"event_type": "a", "payload": 1}

    await some.ask("POST", "/messages", json=body, expect=201)
    await some.ask("GET", f"/messages/{sent['id']}", expect=200)
    await other.ask("POST", "/messages", json=body, expect=403)
    await other.ask("GET", "/messages", expect=403)
    await other.ask("GET", f"/messages/{sent['id']}", expect=404)


async def test_lists_of_messages_filter_and_page(api):
    some = await create_endpoint(api, event_types=["invoice.*"])
    await create_endpoint(api)
    sent = [
        await send(api, event_type, n)
        for n, event_type in enumerate(["invoice.paid", "order.made", "invoice.paid"])
    ]
    newest = [one["id"] for one in reversed(sent)]
    middle = await api.ask("GET", f"/messages/{sent[1]['id']}", expect=200)
    moment = middle["created_at"]

    for query, found in {
        "": newest,
        "limit=2": newest[:2],
        "limit=2&offset=2": newest[2:],
        "event_type=invoice.paid": [newest[0], newest[2]],
        "event_type=invoice": [],
        f"endpoint_id={some['id']}": [newest[0], newest[2]],
        f"endpoint_id={some['id']}&limit=1": [newest[0]],
        f"endpoint_id={some['id']}&event_type=order.made": [],
        f"endpoint_id={some['id']}&created_after={moment}": [newest[0]],
        f"endpoint_id={sent[0]['id']}": [],
        "endpoint_id=x": [],
        f"created_after={moment}": newest[:2],
        f"created_before={moment}": newest[2:],
        "created_after=2099-01-01": [],
    }.items():
        path = f"/messages?{query.replace('+', '%2B')}"
        status, rows, headers = await api.ask("GET", path)
        assert status == 200, rows
        assert [row["id"] for row in rows] == found, query
        more = query.endswith(("limit=2", "limit=1"))
        assert headers["X-Has-More"] == ("true" if more else "false"), query
    rows = await api.ask("GET", "/messages?limit=1", expect=200)
    assert rows == [
        {
            "id": newest[0],
            "event_type": "invoice.paid",
            "ordering_key": None,
            "idempotency_key": None,
            "created_at": rows[0]["created_at"],
            "delivery_count": 2,
        }
    ]
    error = await api.ask("GET", "/messages?created_after=yesterday", expect=400)
    assert error["details"][0]["field"] == "created_after"


# --- the endpoints as they are -------------------------------------------------------


async def test_a_message_goes_to_an_endpoint_that_was_just_made_elsewhere(
    house, tenant, database_url, nats_url, api
):
    """Two processes, of which one is not told of a change: it finds out by itself."""
    await send(api, "a", 1)
    async with (
        run_house(database_url, "nats://127.0.0.1:9", services=("ingest",)) as deaf,
        open_api(deaf, tenant) as other,
    ):
        for n in range(10):
            made = await create_endpoint(other)
            assert (await send(api, "a", 1))["deliveries"] == n + 1
            assert made["id"] in await targets(api, await send(api, "a", 1))


async def test_while_endpoints_come_and_go_none_is_missed(api):
    """Whoever was there from before a message to after it gets it."""
    answered: list[tuple[set[str], set[str]]] = []
    there: set[str] = set()
    done = asyncio.Event()

    async def produce():
        while not done.is_set():
            before = set(there)
            sent = await send(api, "a", 1)
            answered.append((before, await targets(api, sent)))

    async def change():
        for n in range(25):
            made = await create_endpoint(api)
            there.add(made["id"])
            if n % 3 == 2:
                gone = min(there)
                there.discard(gone)
                # From here on it may be missed, and soon it must be.
                for before, _ in answered[-1:]:
                    before.discard(gone)
                await api.ask("DELETE", f"/endpoints/{gone}", expect=204)
                removed.append(gone)
        done.set()

    removed: list[str] = []
    await asyncio.gather(change(), *(produce() for _ in range(4)))

    last = await targets(api, await send(api, "a", 1))
    assert last == there
    assert len(answered) > 20
    for before, got in answered:
        assert before - got <= set(removed)


async def test_a_thousand_endpoints_get_one_message(api, conn):
    await conn.execute(
        "INSERT INTO endpoints (id, organization_id, url)"
        " SELECT gen_random_uuid(), $1, $2 FROM generate_series(1, 1000)",
        api.tenant.id,
        NOBODY,
    )
    sent = await asyncio.gather(*(send(api, "a", {"n": n}) for n in range(3)))

    assert [one["deliveries"] for one in sent] == [1000] * 3
    assert await conn.fetchval("SELECT count(*) FROM ready") == 3000
    shown = await api.ask("GET", f"/messages/{sent[0]['id']}", expect=200)
    assert len(shown["deliveries"]) == 1000


# --- limits --------------------------------------------------------------------------


async def test_a_plan_counts_deliveries_and_takes_a_message_whole_or_not(
    api, database_url, conn
):
    other = await stranger(
        api, database_url, max_active_jobs=5, max_jobs_per_day=100, max_queues=1
    )
    for _ in range(2):
        await create_endpoint(other)

    for n in range(2):
        await send(other, "a", n, idempotency_key=f"k{n}")
    body = {"event_type": "a", "payload": 2}
    refused = await other.ask("POST", "/messages", json=body, expect=429)
    assert (refused["resource"], refused["current"]) == ("active_jobs", 4)
    # What is known costs nothing, and neither does what nobody gets.
    known = {**body, "payload": 1, "idempotency_key": "k1"}
    await other.ask("POST", "/messages", json=known, expect=200)
    usage = await other.ask("GET", "/organizations/usage", expect=200)
    assert usage["usage"]["jobs_today"]["current"] == 4
    assert usage["usage"]["queues"]["current"] == 1
    assert await conn.fetchval("SELECT count(*) FROM messages") == 2


async def test_a_plan_without_a_queue_left_gets_none_for_messages(api, database_url):
    other = await stranger(api, database_url, max_queues=1)
    await create_endpoint(other)
    job = await other.create(queue_name="mail")
    body = {"event_type": "a", "payload": 1}

    refused = await other.ask("POST", "/messages", json=body, expect=429)

    assert (refused["resource"], refused["limit"]) == ("queues", 1)
    usage = await other.ask("GET", "/organizations/usage", expect=200)
    assert usage["usage"]["queues"]["current"] == 1
    assert (await other.job(job))["status"] == "pending"


async def test_who_sends_at_once_gets_exactly_what_there_is_room_for(
    api, database_url, conn
):
    other = await stranger(api, database_url, max_active_jobs=7)
    for _ in range(2):
        await create_endpoint(other)
    body = {"event_type": "a", "payload": 1}

    asked = await asyncio.gather(
        *(other.ask("POST", "/messages", json=body) for _ in range(20))
    )

    assert sorted(status for status, _, _ in asked) == [201] * 3 + [429] * 17
    assert await conn.fetchval("SELECT count(*) FROM jobs") == 6


async def test_an_organization_that_is_no_more_sends_nothing(house, database_url, conn):
    tenant = await new_tenant(database_url, slug="leaving")
    async with open_api(house, tenant) as api:
        await create_endpoint(api)
        await send(api, "a", 1)
        await conn.execute(
            "UPDATE organizations SET erased_at = now() WHERE id = $1", tenant.id
        )
        # Its key, and its endpoints, are still remembered.
        body = {"event_type": "a", "payload": 1}
        error = await api.ask("POST", "/messages", json=body, expect=401)

    assert "not available" in json.dumps(error)
    assert await conn.fetchval("SELECT count(*) FROM messages") == 1


async def test_message_deliveries_and_key_are_there_together_or_not_at_all(api, conn):
    await create_endpoint(api)
    body = {"event_type": "a", "payload": 1, "idempotency_key": "k"}
    await conn.execute("ALTER TABLE ready RENAME TO out_of_reach")

    # The last of three statements fails.
    await api.ask("POST", "/messages", json=body, expect=500)

    for table in ("messages", "message_keys", "jobs", "journal"):
        assert await conn.fetchval(f"SELECT count(*) FROM {table}") == 0, table
    await conn.execute("ALTER TABLE out_of_reach RENAME TO ready")
    sent = await api.ask("POST", "/messages", json=body, expect=201)
    assert (sent["created"], sent["deliveries"]) == (True, 1)
