"""The end of a job is told to the URL that it brought along: once, and signed (5.7)."""

import asyncio

import pytest

from tests.support.contract_webhooks import verified
from tests.support.endpoint import run_endpoint
from tests.support.official import open_official
from tests.support.waiting import until

SECRET = "kept between us"
WORKER = "worker-1"


async def claim(api, queue="mail"):
    asked = {"queue_name": queue, "worker_id": WORKER}

    async def found():
        return (await api.ask("POST", "/jobs/claim", json=asked, expect=200))["jobs"]

    (job,) = await until(found, at_most=10)
    return job


async def complete(api, job, result):
    body = {"worker_id": WORKER, "lease_id": job["lease_id"], "result": result}
    await api.ask("POST", f"/jobs/{job['id']}/complete", json=body, expect=200)


async def fail(api, job):
    body = {"worker_id": WORKER, "lease_id": job["lease_id"], "error": "no luck"}
    await api.ask("POST", f"/jobs/{job['id']}/fail", json=body, expect=200)


async def test_a_completed_job_tells_its_result(api, endpoint):
    made = await api.create(
        completion_webhook=endpoint.url, completion_webhook_secret=SECRET
    )
    seen = await api.job(made)
    assert seen["completion_webhook"] == endpoint.url
    assert SECRET not in str(seen)
    await complete(api, await claim(api), {"sum": 3})

    [request] = await endpoint.received(1)

    told = verified(request, SECRET)
    assert (told.event, told.attempt) == ("job.completed", 1)
    assert told.data == {
        "job_id": made,
        "queue_name": "mail",
        "status": "completed",
        "result": {"sum": 3},
    }


@pytest.mark.parametrize("secret", [SECRET, None], ids=["signed", "unsigned"])
async def test_a_job_that_is_given_up_tells_why_once(api, endpoint, secret):
    endpoint.otherwise = 500
    made = await api.create(
        max_retries=0,
        completion_webhook=endpoint.url,
        completion_webhook_secret=secret,
    )
    await fail(api, await claim(api))

    [request] = await endpoint.received(1)

    told = verified(request, secret)
    assert told.event == "job.failed"
    assert told.data == {
        "job_id": made,
        "queue_name": "mail",
        "status": "deadletter",
        "error": "no luck",
    }
    # One attempt, whatever was answered (contract 5.7).
    await asyncio.sleep(1.5)
    assert len(endpoint.requests) == 1


async def delivery_of(api, conn, made):
    """Return the delivery that told a job's end, when it is over."""
    id_ = await conn.fetchval(
        "SELECT id::text FROM jobs WHERE completion_of = $1::text::uuid", made
    )
    await api.until_status(id_, "completed")
    return id_


async def test_what_is_sent_again_is_signed_by_the_same_secret(api, endpoint, conn):
    made = await api.create(
        completion_webhook=endpoint.url, completion_webhook_secret=SECRET
    )
    await complete(api, await claim(api), 1)
    await endpoint.received(1)
    delivery = await delivery_of(api, conn, made)

    again = await api.ask("POST", f"/jobs/{delivery}/resend", expect=201)

    first, second = await endpoint.received(2)
    assert again["webhook_id"] == delivery
    assert verified(second, SECRET).data == verified(first, SECRET).data
    assert second.body == first.body
    assert second.headers.keys() == first.headers.keys()


async def test_nothing_is_sent_unsigned_when_its_secret_was_purged(api, endpoint, conn):
    made = await api.create(
        max_retries=0,
        completion_webhook=endpoint.url,
        completion_webhook_secret=SECRET,
    )
    await fail(api, await claim(api))
    await endpoint.received(1)
    delivery = await delivery_of(api, conn, made)
    purge = {"queue_name": "mail", "confirm": True}
    await api.ask("POST", "/jobs/dlq/purge", json=purge, expect=200)

    again = await api.ask("POST", f"/jobs/{delivery}/resend", expect=201)

    await api.until_status(again["id"], "deadletter")
    assert "purged" in (await api.job(again["id"]))["last_error"]
    assert len(endpoint.requests) == 1


async def test_a_pushed_job_tells_of_its_delivery(api, endpoint):
    async with run_endpoint() as elsewhere:
        made = await api.create(
            endpoint.url,
            completion_webhook=elsewhere.url,
            completion_webhook_secret=SECRET,
        )

        [request] = await elsewhere.received(1)

        told = verified(request, SECRET)
        assert (told.event, told.data["job_id"]) == ("job.completed", made)
        assert told.data["result"] is None
    [pushed] = endpoint.requests
    assert pushed.id == made


async def test_each_job_of_a_bulk_tells_its_own_url(api, endpoint):
    jobs = [
        {
            "payload": n,
            "completion_webhook": endpoint.url_of(f"/{n}"),
            "completion_webhook_secret": f"secret {n}",
        }
        for n in range(3)
    ]
    bulk = {"queue_name": "mail", "jobs": [*jobs, {"payload": 3}]}
    made = await api.ask("POST", "/jobs/bulk", json=bulk, expect=200)
    assert made["success_count"] == 4
    for _ in range(4):
        job = await claim(api)
        await complete(api, job, job["payload"])

    requests = await endpoint.received(3)

    assert {
        (request.path, verified(request, f"secret {request.path[1:]}").data["result"])
        for request in requests
    } == {("/0", 0), ("/1", 1), ("/2", 2)}


async def test_a_repeated_request_tells_once(api, endpoint):
    fields = {"idempotency_key": "k", "completion_webhook": endpoint.url}
    made = await api.create(**fields)
    assert await api.create(**fields, expect=200) == made
    await complete(api, await claim(api), 1)
    other = await api.create(completion_webhook=endpoint.url)
    await complete(api, await claim(api), 2)

    requests = await endpoint.received(2)

    told = [verified(request, None).data["job_id"] for request in requests]
    assert sorted(told) == sorted([made, other])


async def test_a_cancelled_and_an_expired_job_tell_that_they_were(api, endpoint):
    fields = {"completion_webhook": endpoint.url}
    cancelled = await api.create(**fields)
    await api.ask("DELETE", f"/jobs/{cancelled}", expect=204)
    expired = await api.create(**fields, expires_at="2020-01-01T00:00:00Z")

    requests = await endpoint.received(2)

    told = [verified(request, None) for request in requests]
    assert {(one.event, one.data["job_id"]) for one in told} == {
        ("job.cancelled", cancelled),
        ("job.expired", expired),
    }


async def test_it_is_no_event_for_outgoing_webhooks(api, endpoint):
    async with run_endpoint() as ours:
        hook = {"name": "all", "url": ours.url, "events": ["*"]}
        await api.ask("POST", "/outgoing-webhooks", json=hook, expect=201)
        await api.create(completion_webhook=endpoint.url)
        await complete(api, await claim(api), 1)
        await endpoint.received(1)
        await ours.received(3)
        await asyncio.sleep(1.0)
        assert len(ours.requests) == 3
        assert len(endpoint.requests) == 1


async def test_the_official_client_asks_for_it(house, tenant, endpoint):
    async with open_official(house, blocking=False, api_key=tenant.api_key) as client:
        made = await client(
            "jobs.create",
            {
                "queue_name": "mail",
                "payload": {},
                "completion_webhook": endpoint.url,
                "completion_webhook_secret": SECRET,
            },
        )
        seen = await client("jobs.get", made.id)
        assert seen.completion_webhook == endpoint.url
        asked = {"queue_name": "mail", "worker_id": WORKER}

        async def found():
            return (await client("jobs.claim", asked)).jobs

        (job,) = await until(found, at_most=10)
        body = {"worker_id": WORKER, "lease_id": job.lease_id, "result": {}}
        await client("jobs.complete", job.id, body)

    [request] = await endpoint.received(1)
    assert verified(request, SECRET).event == "job.completed"
