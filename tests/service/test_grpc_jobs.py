"""Jobs over gRPC: in, out, and how they end (contract 2.3)."""

import json
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from libs.common.pb import spooled_pb2 as pb
from tests.support.house import open_api
from tests.support.waiting import until

MISMATCH = (
    "lease_id does not match the job's current lease; this worker no longer holds it"
)


def complete(job, worker_id="w1", *, lease_id=None, result=None):
    return pb.CompleteRequest(
        job_id=job.id,
        worker_id=worker_id,
        lease_id=job.lease_id if lease_id is None else lease_id,
        result=result,
    )


async def test_a_job_goes_in_and_out_and_is_done(grpc_api):
    job_id = await grpc_api.enqueue(
        payload={"to": "a@b.c", "n": 1, "deep": {"list": [1, 2.5, None, True]}},
        priority=7,
        max_retries=2,
        timeout_seconds=60,
        tags={"team": "blue"},
    )
    waiting = await grpc_api.job(job_id)
    job = await grpc_api.take(lease_duration_secs=30)
    await grpc_api.call("Complete", complete(job, result={"sent": True}))
    done = await grpc_api.job(job_id)

    assert (waiting.status, waiting.queue_name) == (pb.JOB_STATUS_PENDING, "mail")
    assert job.id == job_id
    assert dict(job.payload)["to"] == "a@b.c"
    assert job.payload["deep"]["list"][1] == 2.5
    assert (job.priority, job.max_retries, job.timeout_seconds) == (7, 2, 60)
    assert (job.status, job.assigned_worker_id) == (pb.JOB_STATUS_PROCESSING, "w1")
    assert job.lease_id
    left = job.lease_expires_at.ToDatetime(tzinfo=UTC) - datetime.now(UTC)
    assert timedelta(seconds=20) < left <= timedelta(seconds=31)
    assert done.status == pb.JOB_STATUS_COMPLETED
    assert dict(done.result) == {"sent": True}
    assert done.HasField("completed_at")


async def test_rest_sees_the_numbers_as_they_were_meant(grpc_api, grpc_house, tenant):
    job_id = await grpc_api.enqueue(payload={"n": 1, "x": 1.5}, tags={"a": "b"})
    empty_id = str(
        (await grpc_api.call("Enqueue", pb.EnqueueRequest(queue_name="mail"))).job_id
    )

    async with open_api(grpc_house, tenant) as api:
        job, empty = await api.job(job_id), await api.job(empty_id)

    assert job["payload"] == {"n": 1, "x": 1.5}
    assert isinstance(job["payload"]["n"], int)
    assert job["tags"] == {"a": "b"}
    assert (job["max_retries"], job["timeout_seconds"]) == (3, 300)
    assert empty["payload"] == {}


async def test_what_no_struct_can_carry_arrives_as_json(grpc_api, grpc_house, tenant):
    async with open_api(grpc_house, tenant) as api:
        await api.create(payload=[1, "two"])

    job = await grpc_api.take()

    assert json.loads(job.payload_json) == [1, "two"]
    assert dict(job.payload) == {}
    assert job.HasField("payload")


async def test_a_known_key_gives_the_job_that_holds_it(grpc_api):
    request = pb.EnqueueRequest(queue_name="mail", idempotency_key="once")
    first = await grpc_api.call("Enqueue", request)
    again = await grpc_api.call("Enqueue", request)

    assert (first.created, again.created) == (True, False)
    assert first.job_id == again.job_id


async def test_later_is_later(grpc_api):
    request = pb.EnqueueRequest(queue_name="mail")
    request.scheduled_at.FromDatetime(datetime.now(UTC) + timedelta(hours=1))
    made = await grpc_api.call("Enqueue", request)

    job = await grpc_api.job(made.job_id)

    assert job.status == pb.JOB_STATUS_SCHEDULED
    assert job.HasField("scheduled_at")
    assert await grpc_api.dequeue() == []


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (pb.EnqueueRequest(), "Queue name"),
        (pb.EnqueueRequest(queue_name="a" * 101), "Queue name must be 1-100"),
        (pb.EnqueueRequest(queue_name="a b"), "alphanumeric"),
        (pb.EnqueueRequest(queue_name="a", priority=101), "priority"),
        (pb.EnqueueRequest(queue_name="a", max_retries=101), "max_retries"),
        (pb.EnqueueRequest(queue_name="a", idempotency_key="k" * 256), "idempotency"),
        (
            pb.EnqueueRequest(queue_name="a", payload={"x": "y" * 1024 * 1024}),
            "Payload too large",
        ),
        (pb.EnqueueRequest(queue_name="a", payload={"x": float("nan")}), "Invalid"),
    ],
)
async def test_a_bad_job_is_refused_in_words(grpc_api, request_, words):
    assert words in await grpc_api.refused("Enqueue", request_, "INVALID_ARGUMENT")


async def test_d22_zero_is_not_said(grpc_api, grpc_house, tenant):
    async with open_api(grpc_house, tenant) as api:
        body = {"max_retries": 9, "default_timeout": 77}
        await api.ask("PUT", "/queues/mail/config", json=body, expect=200)
    await grpc_api.enqueue(max_retries=-1, timeout_seconds=0)

    job = await grpc_api.take(lease_duration_secs=0, batch_size=-5)

    assert (job.max_retries, job.timeout_seconds) == (9, 77)
    left = job.lease_expires_at.ToDatetime(tzinfo=UTC) - datetime.now(UTC)
    assert timedelta(seconds=290) < left <= timedelta(seconds=301)


async def test_dequeue_clamps_and_keeps_the_order(grpc_api):
    for priority in (0, 50, -50):
        await grpc_api.enqueue(priority=priority)

    jobs = await grpc_api.dequeue(batch_size=1000, lease_duration_secs=1)

    assert [job.priority for job in jobs] == [50, 0, -50]
    left = jobs[0].lease_expires_at.ToDatetime(tzinfo=UTC) - datetime.now(UTC)
    assert timedelta(seconds=3) < left <= timedelta(seconds=6)
    assert await grpc_api.dequeue() == []


async def test_dequeue_wants_to_know_who_works(grpc_api):
    words = await grpc_api.refused(
        "Dequeue", pb.DequeueRequest(queue_name="mail"), "INVALID_ARGUMENT"
    )

    assert words == "Worker ID is required"


async def test_a_failure_is_retried_until_no_retry_is_left(grpc_api):
    job_id = await grpc_api.enqueue(max_retries=1)
    first = await grpc_api.take()
    again = await grpc_api.call(
        "Fail", pb.FailRequest(job_id=job_id, worker_id="w1", error="no", lease_id="")
    )
    second = (await grpc_api.dequeue(wait_seconds=10))[0]
    last = await grpc_api.call(
        "Fail",
        pb.FailRequest(
            job_id=job_id,
            worker_id="w1",
            error="x" * 5000,
            lease_id=second.lease_id,
            retry=True,
        ),
    )
    dead = await grpc_api.job(job_id)

    assert (again.success, again.will_retry) == (True, True)
    assert again.next_retry_delay_secs == 1
    assert second.id == job_id
    assert second.retry_count == first.retry_count + 1 == 1
    assert second.lease_id != first.lease_id
    assert (last.success, last.will_retry) == (True, False)
    assert last.next_retry_delay_secs == 0
    assert dead.status == pb.JOB_STATUS_DEADLETTER
    assert len(dead.last_error) == 4096
    assert dead.last_error.endswith("x... [truncated]")


async def test_d22_only_who_says_false_gives_up(grpc_api):
    job_id = await grpc_api.enqueue()
    job = await grpc_api.take()

    answer = await grpc_api.call(
        "Fail",
        pb.FailRequest(
            job_id=job_id,
            worker_id="w1",
            error="no",
            lease_id=job.lease_id,
            retry=False,
        ),
    )

    assert not answer.will_retry
    assert (await grpc_api.job(job_id)).status == pb.JOB_STATUS_DEADLETTER


async def test_d2_without_a_lease_id_the_worker_decides(grpc_api):
    ids = [await grpc_api.enqueue() for _ in range(2)]
    await grpc_api.dequeue(batch_size=2)
    done, failed = ({"job_id": job_id, "worker_id": "w1"} for job_id in ids)

    renewed = await grpc_api.call(
        "RenewLease", pb.RenewLeaseRequest(**done, extension_secs=60)
    )
    completed = await grpc_api.call("Complete", pb.CompleteRequest(**done))
    gave_up = await grpc_api.call("Fail", pb.FailRequest(**failed, error="no"))

    assert (renewed.success, completed.success, gave_up.success) == (True, True, True)
    assert (await grpc_api.job(ids[0])).status == pb.JOB_STATUS_COMPLETED
    assert (await grpc_api.job(ids[1])).retry_count == 1


async def test_the_fence_in_grpcs_words(grpc_api, database_url):
    job_id = await grpc_api.enqueue()
    job = await grpc_api.take(lease_duration_secs=60)
    other = job.lease_id[:-4] + ("0000" if job.lease_id[-4:] != "0000" else "1111")

    stolen = complete(job, lease_id=other)
    assert await grpc_api.refused("Complete", stolen, "FAILED_PRECONDITION") == MISMATCH
    stranger = complete(job, "w2", lease_id="")
    words = await grpc_api.refused("Complete", stranger, "NOT_FOUND")
    assert words == "Job not found or not authorized"
    nothing = pb.CompleteRequest(job_id="no-id", worker_id="w1")
    assert "not found" in await grpc_api.refused("Complete", nothing, "NOT_FOUND")
    await _expire(database_url, job_id)
    words = await grpc_api.refused("Complete", complete(job), "FAILED_PRECONDITION")
    assert words.lower() in {"lease expired", MISMATCH}
    taken = (await grpc_api.dequeue("w2", wait_seconds=10))[0]
    await grpc_api.call("Complete", complete(taken, "w2"))
    words = await grpc_api.refused(
        "Complete", complete(taken, "w2"), "FAILED_PRECONDITION"
    )
    assert words == "Job is already completed"


async def test_ids_are_asked_for(grpc_api):
    for method, request in (
        ("Complete", pb.CompleteRequest(worker_id="w1")),
        ("Fail", pb.FailRequest(worker_id="w1")),
        ("RenewLease", pb.RenewLeaseRequest(worker_id="w1")),
        ("GetJob", pb.GetJobRequest()),
    ):
        words = await grpc_api.refused(method, request, "INVALID_ARGUMENT")
        assert words == "Job ID is required", method
    nobody = pb.CompleteRequest(job_id="0193e5a4-0000-7000-8000-000000000000")
    words = await grpc_api.refused("Complete", nobody, "INVALID_ARGUMENT")
    assert words == "Worker ID is required"


async def test_a_result_has_a_size(grpc_api):
    await grpc_api.enqueue()
    job = await grpc_api.take()

    words = await grpc_api.refused(
        "Complete", complete(job, result={"x": "y" * 1024 * 1024}), "INVALID_ARGUMENT"
    )

    assert "result" in words


async def test_d4_a_lease_is_renewed_by_who_has_it(grpc_api):
    await grpc_api.enqueue()
    job = await grpc_api.take(lease_duration_secs=10)
    mine = pb.RenewLeaseRequest(
        job_id=job.id, worker_id="w1", extension_secs=600, lease_id=job.lease_id
    )
    renewed = await grpc_api.call("RenewLease", mine)
    stranger = pb.RenewLeaseRequest(job_id=job.id, worker_id="w2")
    told = await grpc_api.call("RenewLease", stranger)
    stranger.lease_id = job.lease_id
    words = await grpc_api.refused("RenewLease", stranger, "FAILED_PRECONDITION")

    left = renewed.new_expires_at.ToDatetime(tzinfo=UTC) - datetime.now(UTC)
    assert renewed.success
    assert timedelta(seconds=590) < left <= timedelta(seconds=601)
    assert (told.success, told.HasField("new_expires_at")) == (False, False)
    assert words == MISMATCH


async def test_d3_a_job_that_is_not_there_is_an_empty_answer(grpc_api):
    assert await grpc_api.job("0193e5a4-0000-7000-8000-000000000000") is None
    assert await grpc_api.job("no id at all") is None


async def test_a_job_whose_time_has_passed_is_shown(grpc_api, grpc_house, tenant):
    past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    async with open_api(grpc_house, tenant) as api:
        job_id = await api.create(expires_at=past)
        assert await grpc_api.dequeue() == []
        assert (await api.job(job_id))["status"] == "expired"

    assert (await grpc_api.job(job_id)).status == pb.JOB_STATUS_CANCELLED


async def test_a_queue_is_counted(grpc_api):
    for _ in range(4):
        await grpc_api.enqueue()
    taken = await grpc_api.dequeue(batch_size=2)
    await grpc_api.call("Complete", complete(taken[0]))

    async def counted():
        stats = await grpc_api.call(
            "GetQueueStats", pb.GetQueueStatsRequest(queue_name="mail")
        )
        assert (stats.pending, stats.processing, stats.completed) == (2, 1, 1)
        assert (stats.scheduled, stats.failed, stats.deadletter) == (0, 0, 0)
        assert (stats.total, stats.queue_name) == (4, "mail")
        return stats.max_age_ms > 0

    await until(counted)
    empty = await grpc_api.call(
        "GetQueueStats", pb.GetQueueStatsRequest(queue_name="nobody")
    )
    assert (empty.queue_name, empty.total, empty.max_age_ms) == ("nobody", 0, 0)
    words = await grpc_api.refused(
        "GetQueueStats", pb.GetQueueStatsRequest(queue_name="a b"), "INVALID_ARGUMENT"
    )
    assert "Queue name" in words


async def _expire(database_url, job_id):
    conn = await asyncpg.connect(database_url)
    try:
        await conn.execute(
            "UPDATE leased SET deadline = now() - interval '1 s' WHERE job_id = $1",
            job_id,
        )
    finally:
        await conn.close()
