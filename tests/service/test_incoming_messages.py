"""Webhooks that become messages: to every endpoint that asks for them, once."""

import io
import json
from functools import partial

import pytest

from tests.support import senders
from tests.support.endpoints import create_endpoint
from tests.support.senders import (
    EXAMPLES,
    MESSAGE,
    PUSH,
    SECRET,
    STANDARD_SECRET,
    configure,
    deliver,
)
from tests.support.waiting import until


@pytest.fixture
def send(api):
    """Send (provider, headers, body) to the organization."""
    return partial(deliver, api)


async def logged(api):
    return await api.ask("GET", "/webhooks/deliveries", expect=200)


async def test_a_webhook_arrives_at_who_asks_for_it_as_it_came(api, send, endpoint):
    made = await create_endpoint(
        api, url=endpoint.url, event_types=["github.*"], filter={"n": {"$gt": 1}}
    )
    await create_endpoint(api, url=endpoint.url, event_types=["stripe.*"])
    await configure(api, "github", secret=SECRET, **{"as": "message"})

    status, taken = await send("github", senders.github(PUSH), PUSH)
    [received] = await until(lambda: endpoint.requests)

    assert status == 200
    assert taken == {
        "job_id": None,
        "message_id": received.id,
        "queue_name": None,
        "status": "created",
    }
    assert received.body == PUSH
    received.verify(made["secret"])
    assert await send("github", senders.github(PUSH), PUSH) == (
        200,
        {**taken, "status": "duplicate"},
    )
    rows = await logged(api)
    assert [(row["status"], row["message_id"], row["job_id"]) for row in rows] == [
        ("duplicate", received.id, None),
        ("created", received.id, None),
    ]
    assert {row["matched_queue"] for row in rows} == {None}
    message = await api.ask("GET", f"/messages/{received.id}", expect=200)
    assert message["event_type"] == "github.push"
    assert len(message["deliveries"]) == 1


async def test_every_providers_event_is_a_type_of_message(api, send):
    for provider, (sign, secret, body, _, _, _, type_) in EXAMPLES.items():
        await configure(api, provider, secret=secret, **{"as": "message"})

        status, taken = await send(provider, sign(body), body)

        assert status == 200, taken
        path = f"/messages/{taken['message_id']}"
        message = await api.ask("GET", path, expect=200)
        assert message["event_type"] == type_
    assert await api.ask("GET", "/jobs", expect=200) == []


async def test_a_large_one_arrives_whole_and_a_larger_one_is_refused(
    api, send, endpoint
):
    await create_endpoint(api, url=endpoint.url)
    await configure(api, "github", secret=SECRET, **{"as": "message"})
    body = senders.spelled("x" * (1024 * 1024 - 2))
    larger = senders.spelled("x" * (1024 * 1024 - 1))

    status, refused = await send("github", senders.github(larger), io.BytesIO(larger))
    assert (status, refused["code"]) == (413, "PAYLOAD_TOO_LARGE")
    status, _ = await send("github", senders.github(body), io.BytesIO(body))
    [received] = await until(lambda: endpoint.requests)

    assert status == 200
    assert received.body == body


async def test_a_repeat_is_known_though_it_would_become_something_else(api, send):
    first = senders.github(PUSH, delivery="first")
    await configure(api, "github", secret=SECRET)
    _, job = await send("github", first, PUSH)

    shown = await configure(api, "github", **{"as": "message"})
    assert shown["as"] == "message"
    again = await send("github", first, PUSH)
    second = senders.github(PUSH, delivery="second")
    _, message = await send("github", second, PUSH)
    await configure(api, "github", **{"as": "job"})
    later = await send("github", second, PUSH)
    third = await send("github", senders.github(PUSH, delivery="third"), PUSH)

    assert again == (200, {**job, "status": "duplicate"})
    assert later == (200, {**message, "status": "duplicate"})
    assert (third[0], third[1]["status"]) == (200, "created")
    rows = await logged(api)
    assert [(row["status"], row["matched_queue"]) for row in reversed(rows)] == [
        ("created", "github-push"),
        ("duplicate", "github-push"),
        ("created", None),
        ("duplicate", None),
        ("created", "github-push"),
    ]


async def test_a_message_and_its_line_are_one_commit(api, send, conn):
    await configure(api, "standard", secret=STANDARD_SECRET, **{"as": "message"})
    await conn.execute(
        "ALTER TABLE incoming_deliveries ADD CONSTRAINT refuse CHECK (false) NOT VALID"
    )
    failed, _ = await send("standard", senders.standard(MESSAGE), MESSAGE)
    kept = await conn.fetchval("SELECT count(*) FROM messages")
    await conn.execute("ALTER TABLE incoming_deliveries DROP CONSTRAINT refuse")

    assert (failed, kept) == (500, 0)
    _, taken = await send("standard", senders.standard(MESSAGE), MESSAGE)
    assert taken["status"] == "created"


async def test_its_deliveries_count_as_jobs_but_not_as_a_queue(api, send, tenant, conn):
    for _ in range(2):
        await create_endpoint(api, event_types=["github.*"])
    await conn.execute(
        "UPDATE organizations SET custom_limits = $2 WHERE id = $1",
        tenant.id,
        json.dumps({"max_active_jobs": 3, "max_queues": 0}),
    )
    await configure(api, "github", secret=SECRET, **{"as": "message"})

    answers = [
        await send("github", senders.github(PUSH, delivery=id_), PUSH)
        for id_ in ("first", "second", "first")
    ]

    assert [status for status, _ in answers] == [200, 429, 200]
    assert answers[1][1]["resource"] == "active_jobs"
    assert answers[2][1] == {**answers[0][1], "status": "duplicate"}


@pytest.mark.usefixtures("carrying")
async def test_what_goes_round_ends(api, house, conn, tenant):
    """Two endpoints lead to where their messages came in."""
    url = f"{house.base_url}/api/v1/webhooks/{tenant.id}/standard"
    one = await create_endpoint(api, url=url, max_retries=0)
    await create_endpoint(api, url=url, max_retries=0, secret=one["secret"])
    await configure(api, "standard", secret=one["secret"], **{"as": "message"})

    body = {"event_type": "a.b", "payload": {"type": "a.b"}}
    await api.ask("POST", "/messages", json=body, expect=201)

    async def over():
        dead = await conn.fetchval("SELECT count(*) FROM dead")
        done = await conn.fetchval("SELECT count(*) FROM finished")
        return dead + done == await conn.fetchval("SELECT count(*) FROM jobs") and dead

    # Both deliveries of the last one were refused.
    assert await until(over, at_most=30) == 2
    kept = await conn.fetch("SELECT hops FROM messages ORDER BY id")
    assert [row["hops"] for row in kept] == [0, 1, 2, 3, 4, 5]
    refused = "SELECT DISTINCT status_code FROM attempts WHERE verdict <> 'delivered'"
    assert [row[0] for row in await conn.fetch(refused)] == [508]


@pytest.mark.parametrize("said", ["5", "0005", "99999999999", "4711"])
async def test_what_came_too_often_is_refused(api, send, said):
    await configure(api, "standard", secret=STANDARD_SECRET)
    headers = {**senders.standard(MESSAGE), "webhook-hops": said}

    status, refused = await send("standard", headers, MESSAGE)

    assert (status, refused["code"]) == (508, "LOOP_DETECTED")
    assert await logged(api) == []
    assert (await send("standard", {**headers, "webhook-hops": "4"}, MESSAGE))[0] == 200


@pytest.mark.parametrize(
    ("said", "sent"), [(None, "1"), ("2", "3"), ("-1", "1"), ("1.5", "1"), ("²", "1")]
)
async def test_a_delivery_says_how_often_it_came(api, send, endpoint, conn, said, sent):
    await create_endpoint(api, url=endpoint.url)
    await configure(api, "standard", secret=STANDARD_SECRET, **{"as": "message"})
    headers = senders.standard(MESSAGE)
    if said is not None:
        headers["webhook-hops"] = said

    _, taken = await send("standard", headers, MESSAGE)
    [first] = await endpoint.received(1)
    assert first.headers["webhook-hops"] == sent

    job = str(await conn.fetchval("SELECT id FROM jobs"))
    await api.until_status(job, "completed")
    await api.ask("POST", f"/jobs/{job}/resend", expect=201)
    assert [one.headers["webhook-hops"] for one in await endpoint.received(2)] == [
        sent,
        sent,
    ]
    assert taken["message_id"] == first.id
