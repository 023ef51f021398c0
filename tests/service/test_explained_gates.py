"""Why is this job not running?  The gates, lines and limits that keep it back."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.support.endpoint import HANG, Answer
from tests.support.endpoints import create_endpoint
from tests.support.timetables import go_back, make, runs
from tests.support.waiting import until
from tests.support.work import claim, say

SOON = {"strategy": "schedule", "schedule_seconds": [0.05], "jitter": 0}


async def why(api, job_id):
    return await api.ask("GET", f"/jobs/{job_id}/explain", expect=200)


async def until_said(api, job_id, reason):
    """Return what is said of a job as soon as this is why it does not run."""
    said = {}

    async def check():
        said.update(await why(api, job_id))
        assert said["reason"] == reason, said
        return True

    await until(check, at_most=15)
    return said


async def make_jobs(api, made, count, **fields):
    """Create jobs for an endpoint; return their ids."""
    target = {"endpoint_id": made["id"]}
    return [await api.create(target, **fields) for _ in range(count)]


def moment(text):
    return datetime.fromisoformat(text)


# --- endpoints ------------------------------------------------------------------------


async def test_a_breaker_that_is_open_and_then_on_trial(api, endpoint, conn):
    endpoint.otherwise = 500
    made = await create_endpoint(api, url=endpoint.url, retry=SOON, max_concurrency=2)
    ids = await make_jobs(api, made, 20, max_retries=9)

    async def is_open():
        return await conn.fetchval(
            "SELECT open_until FROM endpoint_health WHERE open_until IS NOT NULL"
        )

    open_until = await until(is_open)
    said = await until_said(api, ids[-1], "endpoint_breaker_open")
    assert moment(said["until"]) == open_until
    assert "breaker is open" in said["message"]

    # Its time is over: one request at a time shows whether it is well.
    endpoint.otherwise = HANG
    await until(lambda: endpoint.under_way == 0)
    tried = len(endpoint.requests)
    await conn.execute("UPDATE endpoint_health SET open_until = now()")
    body = {"description": "on trial"}
    await api.ask("PATCH", f"/endpoints/{made['id']}", json=body, expect=200)
    await endpoint.received(tried + 1)
    reasons = {(await why(api, id_))["reason"] for id_ in ids}
    assert reasons == {"running", "endpoint_on_trial"}


async def test_an_endpoint_that_has_asked_for_less(api, endpoint, conn):
    endpoint.answers = [Answer(429, headers={"Retry-After": "600"})]
    made = await create_endpoint(api, url=endpoint.url, max_concurrency=1)
    [first] = await make_jobs(api, made, 1)
    await until_said(api, first, "retry_scheduled")

    [second] = await make_jobs(api, made, 1)

    said = await until_said(api, second, "endpoint_throttled")
    assert said["place"] == "ready"
    throttled_until = await conn.fetchval("SELECT throttled_until FROM endpoint_health")
    assert moment(said["until"]) == throttled_until
    assert len(endpoint.requests) == 1


async def test_an_endpoint_that_has_as_many_requests_as_it_wants(api, endpoint):
    endpoint.otherwise = HANG
    made = await create_endpoint(api, url=endpoint.url, max_concurrency=2)
    ids = await make_jobs(api, made, 3)
    await endpoint.received(2)

    assert [(await why(api, id_))["reason"] for id_ in ids] == [
        "running",
        "running",
        "endpoint_concurrency",
    ]
    assert "gets 2 requests at once" in (await why(api, ids[2]))["message"]


async def test_an_endpoint_whose_rate_is_used_up(api, endpoint):
    made = await create_endpoint(
        api, url=endpoint.url, max_concurrency=10, rate_limit_per_second=0.01
    )
    first, second = await make_jobs(api, made, 2)
    await api.until_status(first, "completed")

    said = await why(api, second)

    assert said["reason"] == "endpoint_rate_limit"
    assert "0.01 requests per second" in said["message"]
    left = moment(said["until"]) - datetime.now(UTC)
    assert timedelta(seconds=60) < left <= timedelta(seconds=100)
    assert len(endpoint.requests) == 1


async def test_a_retry_that_leaves_room_for_what_is_new(api, endpoint):
    """Of two places retries get one."""
    made = await create_endpoint(api, url=endpoint.url, retry=SOON, max_concurrency=2)
    endpoint.answers = [500, 500]
    endpoint.otherwise = HANG
    ids = await make_jobs(api, made, 2)
    await endpoint.received(3)

    async def one_waits():
        said = [await why(api, id_) for id_ in ids]
        reasons = sorted(one["reason"] for one in said)
        assert reasons == ["endpoint_retries", "running"], said
        return True

    await until(one_waits)
    [fresh] = await make_jobs(api, made, 1)
    await endpoint.received(4)
    assert (await why(api, fresh))["reason"] == "running"


async def test_an_endpoint_that_is_disabled_while_jobs_wait(api, endpoint):
    endpoint.otherwise = HANG
    made = await create_endpoint(api, url=endpoint.url, max_concurrency=1)
    _, second = await make_jobs(api, made, 2)
    await endpoint.received(1)

    path = f"/endpoints/{made['id']}"
    await api.ask("PATCH", path, json={"enabled": False}, expect=200)

    said = await until_said(api, second, "endpoint_disabled")
    assert "(manual)" in said["message"]

    async def is_held():
        return (await why(api, second))["place"] == "held"

    await until(is_held)
    assert (await why(api, second))["reason"] == "endpoint_disabled"
    await api.ask("DELETE", path, expect=204)
    said = await until_said(api, second, "cancelled")
    assert said["message"] == "It was cancelled: its endpoint was deleted"


# --- queues ---------------------------------------------------------------------------


async def test_a_queue_whose_rate_is_used_up(api, conn):
    await api.ask("PUT", "/queues/mail/config", json={"rate_limit": 1}, expect=200)
    first, second = [await api.create() for _ in range(2)]
    [job] = await claim(api)
    assert job["id"] == first
    # As after many more: a second is soon over.
    await conn.execute("UPDATE queues SET rate_spent_until = now() + interval '1 hour'")

    said = await why(api, second)

    assert (said["reason"], said["place"]) == ("queue_rate_limit", "ready")
    left = moment(said["until"]) - datetime.now(UTC)
    assert timedelta(minutes=59) < left <= timedelta(hours=1)


async def test_a_queue_with_as_many_jobs_in_work_as_it_may(api):
    settings = {"settings": {"concurrency": 2}}
    await api.ask("PUT", "/queues/mail/config", json=settings, expect=200)
    ids = [await api.create() for _ in range(3)]
    assert len(await claim(api, limit=3)) == 2

    assert (await why(api, ids[2]))["reason"] == "queue_concurrency"
    await say(api, "complete", ids[0])
    assert (await why(api, ids[2]))["reason"] == "waits_for_worker"


# --- lines ----------------------------------------------------------------------------


async def test_a_job_whose_key_another_has(api):
    ids = [await api.create(concurrency_key="key") for _ in range(3)]
    [job] = await claim(api, wait_seconds=5)
    assert job["id"] == ids[0]

    said = await why(api, ids[2])

    assert (said["place"], said["reason"]) == ("held", "waits_for_turn")
    assert said["line"] == {
        "key": "key",
        "called": False,
        "before": 1,
        "concurrency": 1,
        "holders": [ids[0]],
    }
    assert (await why(api, ids[0]))["line"]["called"]
    await say(api, "complete", ids[0])
    await until_said(api, ids[1], "waits_for_worker")
    assert (await why(api, ids[2]))["line"]["holders"] == [ids[1]]


async def test_a_delivery_that_comes_after_another_of_its_ordering_key(api, endpoint):
    endpoint.otherwise = HANG
    await create_endpoint(api, url=endpoint.url, ordered=True)
    body = {"event_type": "order.paid", "payload": {}, "ordering_key": "order-7"}
    sent = [await api.ask("POST", "/messages", json=body, expect=201) for _ in range(2)]
    await endpoint.received(1)
    shown = [await api.ask("GET", f"/messages/{one['id']}", expect=200) for one in sent]
    first, second = (one["deliveries"][0]["job_id"] for one in shown)

    said = await why(api, second)

    assert (said["reason"], said["line"]["holders"]) == ("waits_for_turn", [first])
    assert (await why(api, first))["reason"] == "running"


# --- nobody is there ------------------------------------------------------------------


async def test_a_webhook_that_nobody_sends(api):
    job = await api.create("http://localhost:9/")
    behind = await api.create("http://localhost:9/")

    said = await why(api, job)

    assert (said["reason"], said["place"]) == ("waits_for_delivery", "ready")
    assert (await why(api, behind))["before"] == 1


async def test_without_nats_webhooks_wait_and_workers_do_not(api, nats_server):
    await nats_server.kill()
    webhook = await api.create("http://localhost:9/")
    work = await api.create()

    await until_said(api, webhook, "waits_for_nats")
    assert (await why(api, work))["reason"] == "waits_for_worker"
    await nats_server.start()
    await until_said(api, webhook, "waits_for_delivery")


# --- how it ended ---------------------------------------------------------------------


async def test_what_was_cancelled_by_whom(api, house, conn):
    by_hand = await api.create()
    await api.ask("DELETE", f"/jobs/{by_hand}", expect=204)
    await house.stop("scheduler")
    schedule = await make(api, overlap="cancel_previous")
    path = f"/schedules/{schedule['id']}/trigger"
    first = (await api.ask("POST", path, expect=200))["job_id"]
    await go_back(conn, schedule["id"], ticks=1)
    await house.start("scheduler")
    await runs(api, schedule["id"], at_least=2)

    assert (await why(api, by_hand))["message"] == "It was cancelled: by hand"
    said = await why(api, first)
    assert said["message"] == "It was cancelled: its schedule began another run"


@pytest.mark.parametrize("target", [None, "http://localhost:9/"])
async def test_what_was_not_begun_in_time(api, target):
    soon = datetime.now(UTC) + timedelta(seconds=0.3)
    job = await api.create(target, expires_at=soon.isoformat())
    await api.until_status(job, "expired")

    assert (await why(api, job))["reason"] == "expired"


async def test_a_retry_waits_for_its_time(api, endpoint):
    endpoint.otherwise = 500
    later = {"strategy": "schedule", "schedule_seconds": [600], "jitter": 0}
    job = await api.create(endpoint.url, retry=later)
    await endpoint.received(1)

    said = await until_said(api, job, "retry_scheduled")

    assert said["place"] == "scheduled"
    assert moment(said["until"]) > datetime.now(UTC) + timedelta(seconds=500)
