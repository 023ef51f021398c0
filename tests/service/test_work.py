"""What workers say of their jobs over REST, one by one and many at once."""

import asyncio
import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from libs.common.ids import new_id
from libs.common.metrics import BATCH_SIZE
from tests.support.house import open_api, run_house
from tests.support.waiting import until
from tests.support.work import (
    BODIES,
    MISMATCH,
    all_refused,
    claim,
    claimed_job,
    let_leases_run_out,
    say,
)

# --- done, failed, kept ---------------------------------------------------------------


@pytest.mark.parametrize("named", [True, False])
async def test_a_completed_job_shows_its_result(api, named):
    job = await claimed_job(api)
    lease = {"lease_id": job["lease_id"]} if named else {}

    said = await say(api, "complete", job, result={"sum": 1.50, "ok": [1]}, **lease)

    assert said == {"success": True}
    shown = await api.job(job["id"])
    assert (shown["status"], shown["result"]) == ("completed", {"sum": 1.5, "ok": [1]})
    assert shown["started_at"] < shown["completed_at"]
    assert shown["assigned_worker_id"] is None
    [attempt] = await api.attempts(job["id"])
    assert (attempt["outcome"], attempt["worker_id"]) == ("delivered", "w1")
    assert await api.history(job["id"]) == ["created", "started", "completed"]


async def test_a_result_is_kept_as_it_was_sent(api):
    job = await claimed_job(api)
    result = '{"n": 12345678901234567890123, "x": 1.10, "u": "\\u00e9\\u0000"}'
    body = f'{{"worker_id": "w1", "result": {result}}}'

    await api.ask(
        "POST",
        f"/jobs/{job['id']}/complete",
        data=body.encode(),
        headers={"Content-Type": "application/json"},
        expect=200,
    )

    shown = await api.job(job["id"])
    assert shown["result"] == json.loads(result)


async def test_a_result_may_be_any_json(still):
    results: list[Any] = [None, 0, "", [], False, {"a": None}]
    for result in results:
        job = await claimed_job(still)

        await say(still, "complete", job, result=result)

        assert (await still.job(job["id"]))["result"] == result


async def test_a_job_that_fails_is_tried_again_and_then_is_dead(api):
    job_id = await api.create(
        max_retries=2,
        retry={"strategy": "schedule", "schedule_seconds": [0.05], "jitter": 0},
    )
    for attempt in range(3):
        [job] = await until(lambda: claim(api), at_most=10)
        assert (job["id"], job["retry_count"]) == (job_id, attempt)
        await say(api, "fail", job, error=f"no luck {attempt}")

    shown = await api.job(job_id)
    assert (shown["status"], shown["last_error"]) == ("deadletter", "no luck 2")
    assert (shown["dead_reason"], shown["retry_count"]) == ("attempts_exhausted", 2)
    assert [row["error"] for row in await api.attempts(job_id)] == [
        f"no luck {attempt}" for attempt in range(3)
    ]
    assert await api.history(job_id) == [
        *["created", "started", "retrying", "due", "started", "retrying", "due"],
        *["started", "deadlettered"],
    ]


async def test_a_failed_job_waits_for_its_next_time_as_pending(still):
    job = await claimed_job(still)

    await say(still, "fail", job)

    shown = await still.job(job["id"])
    assert (shown["status"], shown["last_error"]) == ("pending", "no luck")
    assert shown["scheduled_at"] is not None


async def test_a_worker_may_give_a_job_up(still):
    for said in ({"no_retry": True}, {"retry": False}):
        job = await claimed_job(still)

        await say(still, "fail", job, **said)

        shown = await still.job(job["id"])
        assert (shown["status"], shown["dead_reason"]) == ("deadletter", "given_up")


async def test_a_worker_need_not_give_a_job_up(still):
    for said in ({"no_retry": False}, {"retry": True}, {"retry": None}):
        job = await claimed_job(still)

        await say(still, "fail", job, **said)

        assert (await still.job(job["id"]))["status"] == "pending"


async def test_the_error_is_called_reason_by_some_and_cut(still):
    job = await claimed_job(still)
    body = {"worker_id": "w1", "reason": "x\x00" + "y" * 3000}

    await still.ask("POST", f"/jobs/{job['id']}/fail", json=body, expect=200)

    assert (await still.job(job["id"]))["last_error"] == "x\ufffd" + "y" * 2046


async def test_a_queues_simple_settings_decide_when_to_try_again(still):
    config = {"settings": {"retry_delay_ms": 600_000, "max_retry_delay_ms": 700_000}}
    await still.ask("PUT", "/queues/mail/config", json=config, expect=200)
    job = await claimed_job(still)

    await say(still, "fail", job)

    due = (await still.job(job["id"]))["scheduled_at"]
    wait = datetime.fromisoformat(due) - datetime.now(UTC)
    assert 590 < wait.total_seconds() < 670


async def test_a_heartbeat_moves_the_end_of_the_lease(still):
    job = await claimed_job(still, max_retries=0)
    before = (await still.job(job["id"]))["lease_expires_at"]

    await say(still, "heartbeat", job, lease_duration_secs=600)
    longer = (await still.job(job["id"]))["lease_expires_at"]
    await say(still, "heartbeat", job, lease_duration_secs=5, lease_id=job["lease_id"])
    shorter = (await still.job(job["id"]))["lease_expires_at"]

    assert before == job["lease_expires_at"]
    assert shorter < before < longer


async def test_a_dead_workers_job_comes_back_and_costs_a_retry(api):
    job_id = await api.create()
    [first] = await claim(api, lease_duration_secs=5)

    [second] = await until(lambda: claim(api, worker="w2"), at_most=10)

    assert (second["id"], second["retry_count"]) == (job_id, 1)
    assert second["lease_id"] != first["lease_id"]
    assert (await api.job(job_id))["last_error"] == "Lease expired (worker timeout)"
    await say(api, "complete", second, worker="w2")


async def test_a_job_that_nobody_survives_ends_dead(api, house):
    job_id = await api.create(max_retries=0)
    await claim(api)

    await let_leases_run_out(house)

    shown = await api.until_status(job_id, "deadletter")
    assert shown["last_error"] == "Max retries exceeded after lease expiration"


# --- what may be said -----------------------------------------------------------------


#: What is said beside a worker's id, and how it is refused: status, field.
CANNOT_BE_MEANT: list[tuple[str, dict[str, Any], int, str]] = [
    ("complete", {"worker_id": ""}, 400, "worker_id"),
    ("complete", {"worker_id": None}, 422, "worker_id"),
    ("complete", {"worker_id": "x" * 256}, 400, "worker_id"),
    ("complete", {"worker_id": "w\x00"}, 400, "worker_id"),
    ("complete", {"lease_id": ""}, 400, "lease_id"),
    ("complete", {"lease_id": 7}, 422, "lease_id"),
    ("fail", {}, 422, "error"),
    ("fail", {"error": ""}, 400, "error"),
    ("fail", {"error": 7}, 422, "error"),
    ("heartbeat", {}, 422, "lease_duration_secs"),
    ("heartbeat", {"lease_duration_secs": 4}, 400, "lease_duration_secs"),
    ("heartbeat", {"lease_duration_secs": 3601}, 400, "lease_duration_secs"),
    ("heartbeat", {"lease_duration_secs": "30"}, 422, "lease_duration_secs"),
]


async def test_what_cannot_be_meant_is_refused(still):
    job = await claimed_job(still)

    for verb, fields, status, field in CANNOT_BE_MEANT:
        said = await still.ask(
            "POST",
            f"/jobs/{job['id']}/{verb}",
            json={"worker_id": "w1", **fields},
            expect=status,
        )
        assert (said["code"], said["details"][0]["field"]) == (
            "VALIDATION_ERROR",
            field,
        )
    assert (await still.job(job["id"]))["status"] == "processing"


async def test_a_result_of_more_than_a_mebibyte_is_refused(still):
    job = await claimed_job(still)
    body = json.dumps({"worker_id": "w1", "result": "x" * 2**20})

    said = await still.ask(
        "POST",
        f"/jobs/{job['id']}/complete",
        data=io.BytesIO(body.encode()),
        headers={"Content-Type": "application/json"},
        expect=400,
    )

    assert said["code"] == "VALIDATION_ERROR"
    assert said["details"][0]["field"] == "result"


async def test_the_lease_id_can_be_required(database_url, nats_url, tenant):
    async with (
        run_house(
            database_url, nats_url, services=("ingest",), require_lease_id=True
        ) as house,
        open_api(house, tenant) as api,
    ):
        job = await claimed_job(api)

        answers = await all_refused(api, job, 400)
        await say(api, "complete", job, lease_id=job["lease_id"])

    missing = ("VALIDATION_ERROR", "lease_id: is required")
    assert answers == dict.fromkeys(BODIES, missing)


# --- many at once ---------------------------------------------------------------------


async def test_a_bulk_answers_for_each_job_by_itself(still):
    for _ in range(4):
        await still.create()
    first, second, third, fourth = await claim(still, limit=4)
    unknown = str(new_id())
    jobs = [
        {"job_id": first["id"], "lease_id": first["lease_id"], "result": {"n": 1}},
        {"job_id": second["id"]},
        {"job_id": second["id"]},
        {"job_id": third["id"], "lease_id": str(new_id())},
        {"job_id": unknown},
        {"job_id": "nonsense"},
        {"lease_id": fourth["lease_id"]},
        "nonsense",
    ]

    said = await still.ask(
        "POST",
        "/jobs/complete/bulk",
        json={"worker_id": "w1", "jobs": jobs},
        expect=200,
    )

    assert said["succeeded"] == [
        {"index": 0, "job_id": first["id"]},
        {"index": 1, "job_id": second["id"]},
    ]
    told = [(one["index"], one["job_id"], one["code"]) for one in said["failed"]]
    assert told == [
        (2, second["id"], "CONFLICT"),
        (3, third["id"], "LEASE_EXPIRED"),
        (4, unknown, "NOT_FOUND"),
        (5, "nonsense", "NOT_FOUND"),
        (6, None, "VALIDATION_ERROR"),
        (7, None, "VALIDATION_ERROR"),
    ]
    assert (said["total"], said["success_count"], said["failure_count"]) == (8, 2, 6)
    assert said["failed"][1]["error"] == MISMATCH
    assert (await still.job(first["id"]))["result"] == {"n": 1}
    statuses = [(await still.job(each["id"]))["status"] for each in (third, fourth)]
    assert statuses == ["processing", "processing"]


async def test_a_bulk_of_failures_gives_up_and_tries_again(still):
    for _ in range(2):
        await still.create()
    first, second = await claim(still, limit=2)
    jobs = [
        {"job_id": first["id"], "error": "no luck"},
        {"job_id": second["id"], "reason": "hopeless", "no_retry": True},
    ]

    said = await still.ask(
        "POST", "/jobs/fail/bulk", json={"worker_id": "w1", "jobs": jobs}, expect=200
    )

    assert said["success_count"] == 2
    assert (await still.job(first["id"]))["status"] == "pending"
    shown = await still.job(second["id"])
    assert (shown["status"], shown["last_error"]) == ("deadletter", "hopeless")


async def test_a_bulk_has_a_size(still):
    for verb in ("complete", "fail"):
        for size in (0, 101):
            body = {"worker_id": "w1", "jobs": [{}] * size}
            await still.ask("POST", f"/jobs/{verb}/bulk", json=body, expect=400)


async def test_what_is_said_at_once_shares_a_statement(still):
    for _ in range(64):
        await still.create()
    jobs = await claim(still, limit=64)
    size = BATCH_SIZE.labels(batch="settle")
    batches, items = observed(size), size._sum.get()

    await asyncio.gather(
        *(
            say(still, "complete" if n % 4 else "fail", job)
            for n, job in enumerate(jobs)
        )
    )

    assert size._sum.get() - items == 64
    assert observed(size) - batches < 32
    statuses = [(await still.job(job["id"]))["status"] for job in jobs]
    assert (statuses.count("completed"), statuses.count("pending")) == (48, 16)


async def test_heartbeats_at_once_share_a_statement(still):
    for _ in range(64):
        await still.create()
    jobs = await claim(still, limit=64)
    size = BATCH_SIZE.labels(batch="renew")
    batches = observed(size)

    await asyncio.gather(*(say(still, "heartbeat", job) for job in jobs))

    assert observed(size) - batches < 32


async def test_of_many_who_complete_one_job_one_is_believed(still):
    job = await claimed_job(still)

    answers = await asyncio.gather(
        *(
            still.ask(
                "POST",
                f"/jobs/{job['id']}/complete",
                json={"worker_id": "w1", "lease_id": job["lease_id"], "result": n},
            )
            for n in range(20)
        )
    )

    assert sorted(status for status, _, _ in answers) == [200] + [409] * 19
    [winner] = [n for n, (status, _, _) in enumerate(answers) if status == 200]
    assert (await still.job(job["id"]))["result"] == winner


def observed(histogram):
    """Return how many batches a histogram has counted."""
    return sum(bucket.get() for bucket in histogram._buckets)
