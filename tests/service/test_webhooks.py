"""The main job of the house: posted over REST, delivered as a signed webhook."""

import asyncio
import io
import json
from datetime import UTC, datetime, timedelta

from tests.support.endpoint import HANG, Answer
from tests.support.waiting import until

FAST = {"strategy": "schedule", "schedule_seconds": [0.05], "jitter": 0}


async def test_a_job_arrives_signed_and_ends_completed(api, endpoint):
    payload = {"order": 42, "lines": ["a", "b"]}

    job_id = await api.create(endpoint.url, payload=payload)
    job = await api.until_status(job_id, "completed")

    (received,) = endpoint.requests
    received.verify(api.tenant.signing_secret)
    assert json.loads(received.body) == payload
    assert received.id == job_id
    assert (job["attempt"], job["retry_count"]) == (1, 0)
    (attempt,) = await api.attempts(job_id)
    assert (attempt["outcome"], attempt["status_code"]) == ("delivered", 200)
    assert await api.history(job_id) == ["created", "started", "completed"]


async def test_the_payload_arrives_byte_for_byte(api, endpoint):
    text = '{ "n": 12345678901234567890123, "x":1.10,\n "u":"\\u00e9\\u0000" }'
    body = (
        f'{{"queue_name":"mail","payload":{text},"target":{{"url":"{endpoint.url}"}}}}'
    )

    created = await api.ask(
        "POST",
        "/jobs",
        data=body.encode(),
        headers={"Content-Type": "application/json"},
        expect=201,
    )
    await api.until_status(created["id"], "completed")

    assert endpoint.requests[0].body == text.encode()


async def test_500_twice_then_200_is_delivered_at_the_third_attempt(api, endpoint):
    endpoint.answers = [500, Answer(503, b"not now"), 200]

    job_id = await api.create(endpoint.url, retry=FAST)
    await api.until_status(job_id, "completed")

    assert [r.id for r in endpoint.requests] == [job_id] * 3
    rows = await api.attempts(job_id)
    assert [row["status_code"] for row in rows] == [500, 503, 200]
    assert rows[1]["response_body"] == "not now"
    assert rows[1]["error"] == "HTTP 503"
    assert (await api.job(job_id))["last_error"] == "HTTP 503"
    assert await api.history(job_id) == [
        *["created", "started", "retrying", "due", "started", "retrying", "due"],
        *["started", "completed"],
    ]


async def test_always_500_ends_in_the_dlq_with_every_attempt(api, endpoint):
    endpoint.otherwise = Answer(500, b"no")

    job_id = await api.create(endpoint.url, retry=FAST)
    job = await api.until_status(job_id, "deadletter")

    # max_retries is 3 by default: at most four attempts.
    assert len(endpoint.requests) == 4
    assert [r["response_body"] for r in await api.attempts(job_id)] == ["no"] * 4
    assert (job["retry_count"], job["last_error"]) == (3, "HTTP 500")
    assert job["dead_reason"] == "attempts_exhausted"
    (letter,) = await api.ask("GET", "/jobs/dlq", expect=200)
    assert letter["id"] == job_id


async def test_a_dead_letter_that_is_retried_is_delivered(api, endpoint):
    endpoint.otherwise = 500
    job_id = await api.create(endpoint.url, retry=FAST, max_retries=0)
    await api.until_status(job_id, "deadletter")

    endpoint.otherwise = 200
    job = await api.ask("POST", f"/jobs/{job_id}/retry", expect=200)

    assert (job["retry_count"], job["last_error"]) == (0, None)
    await api.until_status(job_id, "completed")
    assert [r["attempt"] for r in await api.attempts(job_id)] == [1, 2]
    status, body, _ = await api.ask("POST", f"/jobs/{job_id}/retry")
    assert (status, body["code"]) == (409, "CONFLICT")


async def test_many_dead_letters_are_retried_or_purged_at_once(api, endpoint):
    endpoint.otherwise = 500
    jobs = [await api.create(endpoint.url, retry=FAST, max_retries=0) for _ in range(3)]
    for job_id in jobs:
        await api.until_status(job_id, "deadletter")

    endpoint.otherwise = 200
    done = await api.ask(
        "POST",
        "/jobs/dlq/retry",
        # However it is spelt.
        json={"job_ids": [jobs[0].replace("-", "").upper(), "nonsense"]},
        expect=200,
    )
    assert done["retried_jobs"] == [jobs[0]]
    assert done["skipped_jobs"] == ["nonsense"]
    await api.until_status(jobs[0], "completed")

    status, body, _ = await api.ask("POST", "/jobs/dlq/purge", json={"confirm": False})
    assert (status, body["code"]) == (400, "BAD_REQUEST")
    assert (await api.ask("POST", "/jobs/dlq/purge", json={}))[0] == 422
    purged = await api.ask(
        "POST", "/jobs/dlq/purge", json={"confirm": True}, expect=200
    )
    assert purged == {"purged_count": 2}
    assert await api.ask("GET", "/jobs/dlq", expect=200) == []
    assert (await api.ask("GET", f"/jobs/{jobs[1]}"))[0] == 404


async def test_a_receiver_that_hangs_costs_its_timeout_and_a_retry(api, endpoint):
    endpoint.answers = [HANG]

    job_id = await api.create({"url": endpoint.url, "timeout_seconds": 0.3}, retry=FAST)
    await api.until_status(job_id, "completed")

    first, second = await api.attempts(job_id)
    assert (first["outcome"], first["status_code"]) == ("unanswered", None)
    assert "timeout" in first["error"].lower()
    assert 250 < first["duration_ms"] < 2000
    assert second["outcome"] == "delivered"


async def test_nobody_listening_is_a_failed_attempt(api, endpoint):
    url = endpoint.url.replace(str(endpoint.port), "9")

    job_id = await api.create(url, retry=FAST, max_retries=1)
    job = await api.until_status(job_id, "deadletter")

    assert "refused" in job["last_error"].lower()
    assert len(await api.attempts(job_id)) == 2


async def test_410_ends_it_at_once(api, endpoint):
    endpoint.otherwise = 410

    job_id = await api.create(endpoint.url, retry=FAST)
    job = await api.until_status(job_id, "deadletter")

    assert len(endpoint.requests) == 1
    assert (job["dead_reason"], job["last_error"]) == ("gone", "HTTP 410")


async def test_retry_after_is_honoured(api, endpoint):
    endpoint.answers = [Answer(429, headers={"Retry-After": "1"}), 200]

    job_id = await api.create(endpoint.url, retry=FAST)
    waiting = await api.until_status(job_id, "pending", at_most=5)
    assert waiting["id"] == job_id
    await api.until_status(job_id, "completed")

    first, second = endpoint.requests
    assert second.at - first.at >= 1.0


async def test_a_redirect_is_a_failure_and_not_followed(api, endpoint):
    endpoint.answers = [Answer(302, headers={"Location": endpoint.url_of("/other")})]

    job_id = await api.create(endpoint.url, max_retries=0)
    await api.until_status(job_id, "deadletter")

    assert [r.path for r in endpoint.requests] == ["/webhook"]


async def test_a_queue_gives_its_retry_policy_and_its_retries(api, endpoint):
    endpoint.otherwise = 500
    await api.ask(
        "PUT",
        "/queues/mail/config",
        json={"max_retries": 1, "settings": {"retry": FAST, "colour": "red"}},
        expect=200,
    )

    job_id = await api.create(endpoint.url)
    await api.until_status(job_id, "deadletter")

    assert len(endpoint.requests) == 2
    queue = await api.ask("GET", "/queues/mail", expect=200)
    assert queue["settings"]["colour"] == "red"


async def test_method_headers_and_body_are_the_producers(api, endpoint):
    target = {
        "url": endpoint.url_of("/in?x=1"),
        "method": "PUT",
        "headers": {"X-Shop": "7", "Content-Type": "application/vnd.shop+json"},
    }

    job_id = await api.create(target)
    await api.until_status(job_id, "completed")

    (received,) = endpoint.requests
    assert (received.method, received.headers["X-Shop"]) == ("PUT", "7")
    assert received.headers["Content-Type"] == "application/vnd.shop+json"


async def test_a_megabyte_arrives_whole(api, endpoint):
    payload = "x" * (1024 * 1024 - 2)

    body = {"queue_name": "q", "payload": payload, "target": {"url": endpoint.url}}
    created = await api.ask(
        "POST",
        "/jobs",
        data=io.BytesIO(json.dumps(body).encode()),
        headers={"Content-Type": "application/json"},
        expect=201,
    )
    await api.until_status(created["id"], "completed")

    (received,) = endpoint.requests
    assert received.body == json.dumps(payload).encode()
    received.verify(api.tenant.signing_secret)


async def test_a_rotated_secret_signs_beside_the_old_one(api, endpoint):
    old = await api.ask("GET", "/organizations/signing-secret", expect=200)
    new = await api.ask("POST", "/organizations/signing-secret/rotate", expect=200)

    job_id = await api.create(endpoint.url)
    await api.until_status(job_id, "completed")

    (received,) = endpoint.requests
    assert new["signing_secret"] != old["signing_secret"]
    assert new["previous"][0]["signing_secret"] == old["signing_secret"]
    received.verify(old["signing_secret"])
    received.verify(new["signing_secret"])


async def test_a_job_for_later_waits_and_can_be_cancelled(api, endpoint):
    job_id = await api.create(endpoint.url, scheduled_at="2099-01-01T00:00:00Z")
    assert (await api.job(job_id))["status"] == "scheduled"

    assert (await api.ask("DELETE", f"/jobs/{job_id}"))[0] == 204

    assert (await api.job(job_id))["status"] == "cancelled"
    status, body, _ = await api.ask("DELETE", f"/jobs/{job_id}")
    assert (status, body["code"]) == (409, "CONFLICT")
    assert endpoint.requests == []


async def test_a_job_whose_time_has_passed_expires_unrun(api, endpoint):
    job_id = await api.create(
        endpoint.url,
        scheduled_at="2099-01-01T00:00:00Z",
        expires_at="2020-01-01T00:00:00Z",
    )
    due_now = await api.create(endpoint.url, expires_at="2020-01-01T00:00:00Z")

    await api.until_status(job_id, "expired")
    await api.until_status(due_now, "expired")

    assert endpoint.requests == []


async def test_one_hanging_receiver_delays_nobody_else(api, endpoint):
    endpoint.otherwise = lambda r: HANG if r.path == "/hang" else 200
    other = endpoint.url_of("/fine").replace("127.0.0.1", "localhost")
    for _ in range(30):
        await api.create({"url": endpoint.url_of("/hang"), "timeout_seconds": 20})
    await until(lambda: len(endpoint.requests) >= 30, at_most=10)

    started = asyncio.get_running_loop().time()
    job_id = await api.create(other)
    await api.until_status(job_id, "completed", at_most=5)

    assert asyncio.get_running_loop().time() - started < 5


async def test_a_workers_delayed_job_becomes_due_and_is_nobodys_webhook(api, endpoint):
    soon = datetime.now(UTC) + timedelta(seconds=0.3)
    job_id = await api.create(scheduled_at=soon.isoformat())

    await api.until_status(job_id, "pending")
    # A webhook of the same moment has been looked at, claimed and delivered since.
    await api.until_status(await api.create(endpoint.url), "completed")

    job = await api.job(job_id)
    assert (job["status"], job["attempt"]) == ("pending", 0)
    assert await api.history(job_id) == ["created", "due"]
