"""What happens is told to outgoing webhooks, signed, in the contract's words (5.7)."""

import asyncio
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from tests.support.contract_webhooks import verified
from tests.support.endpoint import run_endpoint
from tests.support.official import open_official
from tests.support.waiting import until

SECRET = "a s3cret \u00fc"
WORKER = "worker-1"


@pytest.fixture
async def client(house, tenant):
    async with open_official(house, blocking=False, api_key=tenant.api_key) as official:
        yield official


async def hook(client, endpoint, *events, **fields):
    """Create a webhook with the official client, that is told all unless said."""
    return await client.client._http.post(
        "/outgoing-webhooks",
        {
            "name": "ops",
            "url": endpoint.url,
            "events": list(events) or ["*"],
            "secret": SECRET,
            **fields,
        },
    )


async def told_of(endpoint, count, *, secret=SECRET, at_most=20.0):
    """Return the first *count* deliveries, by event, each verified."""
    requests = await endpoint.received(count, at_most=at_most)
    return [verified(request, secret) for request in requests]


def by_event(told):
    """Return the deliveries by event: the data of each."""
    found: dict[str, list[dict[str, Any]]] = {}
    for one in told:
        found.setdefault(one.event, []).append(one.data)
    return found


async def claim(client, **fields):
    asked = {"queue_name": "mail", "worker_id": WORKER, **fields}

    async def found():
        return (await client("jobs.claim", asked)).jobs

    (job,) = await until(found, at_most=10)
    return job


async def test_a_jobs_life_is_told_by_the_official_clients_webhook(client, endpoint):
    params = {
        "name": "ops",
        "url": endpoint.url,
        "events": ["job.created", "job.started", "job.completed"],
        "secret": SECRET,
    }
    webhook = await client("webhooks.create", params)
    made = await client(
        "jobs.create", {"queue_name": "mail", "payload": {}, "priority": 7}
    )
    job = await claim(client)
    await client(
        "jobs.complete",
        job.id,
        {"worker_id": WORKER, "lease_id": job.lease_id, "result": {"sent": True}},
    )

    told = await told_of(endpoint, 3)

    assert by_event(told) == {
        "job.created": [
            {
                "job_id": made.id,
                "queue_name": "mail",
                "priority": 7,
                "status": "pending",
            }
        ],
        "job.started": [{"job_id": made.id, "queue_name": "mail", "worker_id": WORKER}],
        "job.completed": [
            {
                "job_id": made.id,
                "queue_name": "mail",
                "status": "completed",
                "result": {"sent": True},
            }
        ],
    }
    assert {one.attempt for one in told} == {1}

    async def noted():
        deliveries = await client("webhooks.get_deliveries", webhook.id)
        assert Counter(one.status for one in deliveries) == {"success": 3}
        return deliveries

    deliveries = await until(noted, at_most=10)
    assert {one.id for one in deliveries} == {one.id for one in told}
    for one in deliveries:
        assert (one.webhook_id, one.status_code, one.attempts) == (webhook.id, 200, 1)
        assert one.payload["id"] == one.id
        assert one.delivered_at is not None

    async def standing():
        seen = await client("webhooks.get", webhook.id)
        assert (seen.last_status, seen.failure_count) == ("success", 0)
        return seen.last_triggered_at is not None

    await until(standing, at_most=10)


async def test_every_way_a_job_can_end_is_told(client, endpoint):
    await hook(
        client,
        endpoint,
        "job.failed",
        "job.deadlettered",
        "job.retried",
        "job.cancelled",
        "job.expired",
    )
    base = {"queue_name": "mail", "payload": {}}
    failing = await client("jobs.create", {**base, "max_retries": 1})
    for error in ("once", "twice"):
        job = await claim(client)
        body = {"worker_id": WORKER, "lease_id": job.lease_id, "error": error}
        await client("jobs.fail", job.id, body)
    later = datetime.now(UTC) + timedelta(days=1)
    cancelled = await client("jobs.create", {**base, "scheduled_at": later})
    await client("jobs.cancel", cancelled.id)
    past = datetime.now(UTC) - timedelta(seconds=1)
    expired = await client(
        "jobs.create", {**base, "queue_name": "x", "expires_at": past}
    )

    found = by_event(await told_of(endpoint, 5))

    [retried] = found["job.retried"]
    assert (retried["job_id"], retried["error"], retried["source"]) == (
        failing.id,
        "once",
        "automatic",
    )
    dead = {
        "job_id": failing.id,
        "queue_name": "mail",
        "status": "deadletter",
        "error": "twice",
    }
    assert found["job.failed"] == [dead]
    assert found["job.deadlettered"] == [{**dead, "reason": "attempts_exhausted"}]
    assert found["job.cancelled"] == [
        {
            "job_id": cancelled.id,
            "queue_name": "mail",
            "status": "cancelled",
            "old_status": "scheduled",
        }
    ]
    assert [one["job_id"] for one in found["job.expired"]] == [expired.id]

    await client("jobs.retry", failing.id)
    found = by_event(await told_of(endpoint, 6))
    assert found["job.retried"][1]["source"] == "manual"


async def test_queues_and_workers_are_told_of(client, endpoint):
    await hook(
        client,
        endpoint,
        "queue.paused",
        "queue.resumed",
        "worker.registered",
        "worker.deregistered",
    )
    await client("jobs.create", {"queue_name": "mail", "payload": {}})
    await client("queues.pause", "mail", "fire")
    await client("queues.resume", "mail")
    worker = await client("workers.register", {"queue_name": "mail", "hostname": "box"})
    await client("workers.deregister", worker.id)

    found = by_event(await told_of(endpoint, 4))

    data = {"worker_id": worker.id, "queue_name": "mail", "hostname": "box"}
    assert found == {
        "queue.paused": [{"queue_name": "mail", "reason": "fire"}],
        "queue.resumed": [{"queue_name": "mail", "paused_duration_secs": 0}],
        "worker.registered": [data],
        "worker.deregistered": [data],
    }


async def test_schedules_are_told_of_and_the_jobs_they_make(client, api, endpoint):
    await hook(client, endpoint, "schedule.triggered", "job.created")
    schedule = await api.ask(
        "POST",
        "/schedules",
        json={
            "name": "yearly",
            "cron_expression": "0 0 1 1 *",
            "queue_name": "mail",
            "payload_template": {},
        },
        expect=201,
    )
    path = f"/schedules/{schedule['id']}/trigger"
    triggered = await api.ask("POST", path, expect=200)

    found = by_event(await told_of(endpoint, 2))

    of_both = {
        "job_id": triggered["job_id"],
        "queue_name": "mail",
        "source": "schedule_trigger",
        "schedule_id": schedule["id"],
    }
    assert found == {
        "schedule.triggered": [of_both],
        "job.created": [{**of_both, "priority": 0, "status": "pending"}],
    }


async def test_without_a_secret_nothing_is_signed(client, endpoint):
    webhook = await hook(client, endpoint, "job.created", secret=None)
    await client("jobs.create", {"queue_name": "mail", "payload": {}})
    await told_of(endpoint, 1, secret=None)

    await client("webhooks.update", webhook["id"], {"secret": "new"})
    await client("jobs.create", {"queue_name": "mail", "payload": {}})
    await endpoint.received(2)
    verified(endpoint.requests[1], "new")


@pytest.mark.parametrize("format_", ["slack", "discord", "teams"])
async def test_a_chat_is_told_in_its_own_format(client, endpoint, format_):
    await hook(client, endpoint, "job.created", format=format_)
    made = await client("jobs.create", {"queue_name": "mail", "payload": {}})

    [told] = await told_of(endpoint, 1)

    body = json.loads(told.raw.body)
    key = {"slack": "text", "discord": "content", "teams": "attachments"}[format_]
    assert made.id in json.dumps(body[key])
    assert told.event == "job.created"


async def test_what_tells_of_jobs_is_not_told_of_and_is_seen_where_it_is_asked_for(
    client, api, endpoint
):
    await hook(client, endpoint)
    made = await client("jobs.create", {"queue_name": "mail", "payload": {}})
    await told_of(endpoint, 1)
    job = await claim(client)
    await client(
        "jobs.complete", job.id, {"worker_id": WORKER, "lease_id": job.lease_id}
    )
    await told_of(endpoint, 3)
    # Whatever is still to come has had time to come: nothing may.
    await asyncio.sleep(1.5)

    assert len(endpoint.requests) == 3
    listed = await api.ask("GET", "/jobs", expect=200)
    assert [one["id"] for one in listed] == [made.id]
    sorted_ = await api.ask("GET", "/jobs?order_by=priority", expect=200)
    assert [one["id"] for one in sorted_] == [made.id]
    queues = await api.ask("GET", "/queues", expect=200)
    assert [one["queue_name"] for one in queues] == ["mail"]
    stats = await api.ask("GET", "/jobs/stats", expect=200)
    assert stats["total"] == stats["completed"] == 1
    theirs = await api.ask("GET", "/jobs?queue_name=outgoing-webhooks", expect=200)
    assert len(theirs) == 3
    assert {one["job_type"] for one in theirs} == {
        "job.created",
        "job.started",
        "job.completed",
    }


async def test_a_delivery_is_tried_again_and_given_up_and_tried_by_hand(
    client, api, endpoint
):
    webhook = await hook(client, endpoint, "job.created")
    path = f"/outgoing-webhooks/{webhook['id']}"
    endpoint.otherwise = 500
    await client("jobs.create", {"queue_name": "mail", "payload": {}})

    told = await told_of(endpoint, 5, at_most=40)

    assert [one.attempt for one in told] == [1, 2, 3, 4, 5]
    assert len({one.id for one in told}) == 1
    for planned, (one, following) in zip((1, 2, 4, 8), pairwise(told), strict=True):
        assert following.raw.at - one.raw.at > planned - 0.05

    async def failed():
        [one] = await api.ask("GET", f"{path}/deliveries", expect=200)
        assert (one["status"], one["attempts"]) == ("failed", 5)
        return one

    one = await until(failed, at_most=10)
    assert (one["status_code"], one["error"]) == (500, "HTTP 500")
    assert one["delivered_at"] is None
    [same] = await api.ask("GET", f"{path}/deliveries?status=failed", expect=200)
    assert same == one
    assert await api.ask("GET", f"{path}/deliveries?status=success", expect=200) == []

    async def counted():
        seen = await api.ask("GET", path, expect=200)
        assert (seen["failure_count"], seen["last_status"]) == (1, "failed")
        return True

    await until(counted, at_most=10)

    again = await client("webhooks.retry_delivery", webhook["id"], one["id"])
    assert again.success
    await endpoint.received(6)
    # One attempt by hand is one attempt.
    await until(failed_after(api, path, 6), at_most=10)
    endpoint.otherwise = 200
    await client("webhooks.retry_delivery", webhook["id"], one["id"])
    await endpoint.received(7)

    async def arrived():
        seen = await api.ask("GET", path, expect=200)
        assert (seen["failure_count"], seen["last_status"]) == (0, "success")
        return True

    await until(arrived, at_most=10)
    status, error, _ = await api.ask("POST", f"{path}/retry/{one['id']}")
    assert (status, error["code"]) == (400, "BAD_REQUEST")


def failed_after(api, path, attempts):
    async def check():
        [one] = await api.ask("GET", f"{path}/deliveries", expect=200)
        assert (one["status"], one["attempts"]) == ("failed", attempts)
        return True

    return check


async def test_twenty_deliveries_that_fail_disable_a_webhook_and_it_is_told(
    client, api, endpoint
):
    async with run_endpoint() as receiver:
        receiver.otherwise = 500
        failing = await hook(client, receiver, "job.created")
        await hook(client, endpoint, "endpoint.disabled")
        path = f"/outgoing-webhooks/{failing['id']}"
        bulk = {"queue_name": "mail", "jobs": [{"payload": n} for n in range(20)]}
        await api.ask("POST", "/jobs/bulk", json=bulk, expect=200)

        async def disabled():
            seen = await api.ask("GET", path, expect=200)
            assert (seen["enabled"], seen["last_status"]) == (False, "auto_disabled")
            return seen

        seen = await until(disabled, at_most=100)
        assert seen["failure_count"] == 20
        assert len(receiver.requests) == 100
        [told] = await told_of(endpoint, 1)
        assert told.data["endpoint_id"] == failing["id"]
        assert told.data["reason"] == "auto_disabled"

        receiver.otherwise = 200
        enabled = await client("webhooks.update", failing["id"], {"enabled": True})
        assert (enabled.enabled, enabled.failure_count) == (True, 0)
        await client("jobs.create", {"queue_name": "mail", "payload": {}})
        await receiver.received(101)


async def test_a_test_is_sent_at_once(client, endpoint):
    webhook = await hook(client, endpoint, "job.failed", enabled=False)
    endpoint.answers = [200, 503]

    good = await client("webhooks.test", webhook["id"])
    bad = await client("webhooks.test", webhook["id"])

    assert (good.success, good.status_code, good.error) == (True, 200, None)
    assert (bad.success, bad.status_code, bad.error) == (False, 503, "HTTP 503")
    told = [verified(request, SECRET) for request in endpoint.requests]
    assert [one.event for one in told] == ["webhook.test"] * 2
    body = json.loads(told[0].raw.body)
    assert (body["webhook_id"], body["test"]) == (webhook["id"], True)
    assert await client("webhooks.get_deliveries", webhook["id"]) == []


async def test_a_test_of_nothing_says_what_was_wrong(client, endpoint):
    webhook = await hook(client, endpoint, "job.failed", url="http://127.0.0.1:9/")

    told = await client("webhooks.test", webhook["id"])

    assert (told.success, told.status_code) == (False, None)
    assert told.error


async def test_what_is_deleted_is_not_told_any_more(client, api, endpoint, conn):
    webhook = await hook(client, endpoint, "job.created")
    await client("jobs.create", {"queue_name": "mail", "payload": {}})
    await told_of(endpoint, 1)
    await client("webhooks.delete", webhook["id"])

    await client("jobs.create", {"queue_name": "mail", "payload": {}})

    async def passed():
        count = await conn.fetchval(
            "SELECT count(*) FROM journal CROSS JOIN announced"
            " WHERE (journal.xid, journal.seq) > (tell_xid, tell_seq)"
        )
        return count == 0

    await until(passed, at_most=10)
    assert len(endpoint.requests) == 1
