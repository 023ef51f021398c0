"""Many at once over gRPC: each is answered for itself."""

from datetime import UTC, datetime, timedelta

import pytest

from libs.common.pb import spooled_pb2 as pb

NO_JOB = "0193e5a4-0000-7000-8000-000000000000"


async def enqueue_all(api, *items, queue_name="mail"):
    answer = await api.call(
        "EnqueueBatch", pb.EnqueueBatchRequest(queue_name=queue_name, items=items)
    )
    return list(answer.items)


async def test_a_batch_is_created_but_for_what_is_wrong(grpc_api):
    made = await enqueue_all(
        grpc_api,
        pb.EnqueueItem(payload={"n": 1}, priority=1),
        pb.EnqueueItem(payload={"n": 2}, priority=101),
        pb.EnqueueItem(payload={"n": 3}, idempotency_key="k"),
        pb.EnqueueItem(payload={"n": 4}, idempotency_key="k"),
        pb.EnqueueItem(tags={"team": "blue"}, max_retries=5, timeout_seconds=9),
    )
    jobs = await grpc_api.dequeue(batch_size=10)

    assert [item.created for item in made] == [True, False, True, False, True]
    assert [item.HasField("error") for item in made] == [False, True, *[False] * 3]
    assert made[1].error.code == "INVALID_ARGUMENT"
    assert "priority" in made[1].error.message
    assert made[3].job_id == made[2].job_id
    assert {job.id for job in jobs} == {made[0].job_id, made[2].job_id, made[4].job_id}
    last = next(job for job in jobs if job.id == made[4].job_id)
    assert (last.max_retries, last.timeout_seconds) == (5, 9)


async def test_a_batch_is_completed_but_for_what_is_not_held(grpc_api):
    await enqueue_all(grpc_api, *[pb.EnqueueItem()] * 3)
    first, second, third = await grpc_api.dequeue(batch_size=3)
    item = pb.CompleteBatchRequest.Item

    answer = await grpc_api.call(
        "CompleteBatch",
        pb.CompleteBatchRequest(
            worker_id="w1",
            items=[
                item(job_id=first.id, lease_id=first.lease_id, result={"ok": 1}),
                item(job_id=second.id),
                item(job_id=third.id, lease_id=NO_JOB),
                item(job_id=NO_JOB),
                item(job_id="no id"),
                item(),
            ],
        ),
    )
    done, still = await grpc_api.job(first.id), await grpc_api.job(third.id)

    codes = [one.error.code for one in answer.items]
    assert [one.success for one in answer.items] == [True, True, *[False] * 4]
    assert codes == [
        "",
        "",
        "LEASE_EXPIRED",
        "NOT_FOUND",
        "NOT_FOUND",
        "INVALID_ARGUMENT",
    ]
    assert dict(done.result) == {"ok": 1}
    assert still.status == pb.JOB_STATUS_PROCESSING


async def test_a_batch_is_failed(grpc_api):
    await enqueue_all(grpc_api, *[pb.EnqueueItem()] * 3)
    first, second, third = await grpc_api.dequeue(batch_size=3)
    item = pb.FailBatchRequest.Item

    answer = await grpc_api.call(
        "FailBatch",
        pb.FailBatchRequest(
            worker_id="w1",
            items=[
                item(job_id=first.id, lease_id=first.lease_id, error="later"),
                item(job_id=second.id, error="never", retry=False),
                item(job_id=third.id, lease_id=NO_JOB, error="whose?"),
            ],
        ),
    )
    dead = await grpc_api.job(second.id)

    assert [one.success for one in answer.items] == [True, True, False]
    assert [one.will_retry for one in answer.items] == [True, False, False]
    assert answer.items[0].next_retry_delay_secs == 1
    assert answer.items[2].error.code == "LEASE_EXPIRED"
    assert (dead.status, dead.last_error) == (pb.JOB_STATUS_DEADLETTER, "never")


async def test_leases_are_renewed_together(grpc_api):
    await enqueue_all(grpc_api, *[pb.EnqueueItem()] * 2)
    first, second = await grpc_api.dequeue(batch_size=2, lease_duration_secs=5)
    item = pb.RenewLeasesRequest.Item

    answer = await grpc_api.call(
        "RenewLeases",
        pb.RenewLeasesRequest(
            worker_id="w1",
            extension_secs=100,
            items=[
                item(job_id=first.id, lease_id=first.lease_id),
                item(job_id=second.id),
                item(job_id=NO_JOB),
            ],
        ),
    )

    assert [one.success for one in answer.items] == [True, True, False]
    assert answer.items[2].error.code == "NOT_FOUND"
    for one in answer.items[:2]:
        left = one.new_expires_at.ToDatetime(tzinfo=UTC) - datetime.now(UTC)
        assert timedelta(seconds=90) < left <= timedelta(seconds=101)


@pytest.mark.parametrize("size", [0, 1001])
async def test_a_batch_has_a_size(grpc_api, size):
    for method, request in (
        (
            "EnqueueBatch",
            pb.EnqueueBatchRequest(queue_name="m", items=[pb.EnqueueItem()] * size),
        ),
        (
            "CompleteBatch",
            pb.CompleteBatchRequest(
                worker_id="w", items=[pb.CompleteBatchRequest.Item()] * size
            ),
        ),
        (
            "FailBatch",
            pb.FailBatchRequest(
                worker_id="w", items=[pb.FailBatchRequest.Item()] * size
            ),
        ),
        (
            "RenewLeases",
            pb.RenewLeasesRequest(
                worker_id="w", items=[pb.RenewLeasesRequest.Item()] * size
            ),
        ),
    ):
        words = await grpc_api.refused(method, request, "INVALID_ARGUMENT")
        assert words == "items: must be 1 to 1000", method


async def test_a_whole_thousand_goes_in_and_out(grpc_api):
    made = await enqueue_all(grpc_api, *[pb.EnqueueItem(payload={"n": 1})] * 1000)
    taken: list[pb.Job] = []
    while len(taken) < 1000:
        jobs = await grpc_api.dequeue(batch_size=100)
        assert jobs
        taken += jobs
    answer = await grpc_api.call(
        "CompleteBatch",
        pb.CompleteBatchRequest(
            worker_id="w1",
            items=[
                pb.CompleteBatchRequest.Item(job_id=job.id, lease_id=job.lease_id)
                for job in taken
            ],
        ),
    )

    assert {item.job_id for item in made} == {job.id for job in taken}
    assert all(one.success for one in answer.items)
