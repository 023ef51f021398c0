"""When a job was asked to run is known for as long as the job is."""

from datetime import UTC, datetime, timedelta

import pytest

from libs.common.pb import spooled_pb2 as pb
from tests.support.grpc_client import open_grpc_api
from tests.support.house import open_api
from tests.support.waiting import until


@pytest.fixture
async def both(grpc_house, grpc_port, tenant):
    """Clients of both doors."""
    async with (
        open_api(grpc_house, tenant) as rest,
        open_grpc_api(grpc_port, tenant.api_key) as grpc,
    ):
        yield rest, grpc


def moment(text):
    return datetime.fromisoformat(text)


async def shown(api, job_id):
    """Return what each route says of when the job runs."""
    jobs = [
        await api.job(job_id),
        *await api.ask("GET", "/jobs?order_by=scheduled_at", expect=200),
        *await api.ask("GET", f"/jobs/status?ids={job_id}", expect=200),
    ]
    return [moment(job["scheduled_at"]) for job in jobs if job["id"] == job_id]


@pytest.mark.parametrize("delay_seconds", [0.3, -60])
async def test_it_is_known_when_the_job_is_due_at_work_and_done(both, delay_seconds):
    rest, grpc = both
    asked = datetime.now(UTC) + timedelta(seconds=delay_seconds)
    job_id = await rest.create(scheduled_at=asked.isoformat())
    await rest.until_status(job_id, "pending")
    due = await shown(rest, job_id)
    body = {"queue_name": "mail", "worker_id": "w1"}
    (claimed,) = (await rest.ask("POST", "/jobs/claim", json=body, expect=200))["jobs"]
    at_work = await shown(rest, job_id)
    path, body = f"/jobs/{job_id}/complete", {"worker_id": "w1"}
    await rest.ask("POST", path, json=body, expect=200)
    done = await shown(rest, job_id)

    assert due == at_work == done == [asked] * 3
    assert moment(claimed["scheduled_at"]) == asked
    seen = (await grpc.job(job_id)).scheduled_at
    assert seen.ToDatetime(tzinfo=UTC) == asked


async def test_it_is_told_to_who_dequeues(both):
    _, grpc = both
    asked = datetime.now(UTC) + timedelta(seconds=0.2)
    request = pb.EnqueueRequest(queue_name="mail")
    request.scheduled_at.FromDatetime(asked)
    await grpc.call("Enqueue", request)

    job = await grpc.take(wait_seconds=10)

    assert job.scheduled_at.ToDatetime(tzinfo=UTC) == asked


async def test_a_retry_has_a_time_of_its_own_until_it_is_due(both):
    rest, _ = both
    asked = datetime.now(UTC) - timedelta(hours=1)
    retry = {"strategy": "schedule", "schedule_seconds": [1.0], "jitter": 0}
    job_id = await rest.create(scheduled_at=asked.isoformat(), retry=retry)
    body = {"queue_name": "mail", "worker_id": "w1"}
    await rest.ask("POST", "/jobs/claim", json=body, expect=200)
    failed = {"worker_id": "w1", "error": "no"}
    await rest.ask("POST", f"/jobs/{job_id}/fail", json=failed, expect=200)

    again = await shown(rest, job_id)

    async def is_due():
        return await rest.history(job_id) == ["created", "started", "retrying", "due"]

    assert {when > asked for when in again} == {True}
    await until(is_due)
    assert await shown(rest, job_id) == [asked] * 3


async def test_lists_sort_by_it_after_it_is_past(both):
    rest, _ = both
    now = datetime.now(UTC)
    made: dict[object, str] = {}
    for hours in (2, 3, 1):
        asked = now - timedelta(hours=hours)
        made[hours] = await rest.create(scheduled_at=asked.isoformat())
    made["never"] = await rest.create()

    listed = await rest.ask(
        "GET", "/jobs?order_by=scheduled_at&order_dir=asc", expect=200
    )

    assert [job["id"] for job in listed] == [made[key] for key in (3, 2, 1, "never")]
    assert listed[-1]["scheduled_at"] is None
