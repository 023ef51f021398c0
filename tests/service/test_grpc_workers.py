"""Workers over gRPC: they come, show that they live, and go (contract 2.3)."""

import pytest

from libs.common.pb import spooled_pb2 as pb
from tests.support.grpc_client import open_grpc_api
from tests.support.house import new_tenant, open_api


def worker(**fields):
    return pb.RegisterWorkerRequest(
        **{"queue_name": "mail", "hostname": "box-1.local", **fields}
    )


async def test_a_worker_comes_beats_and_goes(grpc_api, grpc_house, tenant):
    came = await grpc_api.call(
        "Register",
        worker(
            worker_type="python",
            max_concurrency=0,
            version="1.0",
            metadata={"zone": "a"},
        ),
    )
    beat = await grpc_api.call(
        "Heartbeat",
        pb.HeartbeatRequest(
            worker_id=came.worker_id, current_jobs=2, status="nonsense"
        ),
    )
    async with open_api(grpc_house, tenant) as api:
        seen = await api.ask("GET", f"/workers/{came.worker_id}", expect=200)
    gone = await grpc_api.call(
        "Deregister", pb.DeregisterRequest(worker_id=came.worker_id)
    )
    after = await grpc_api.call(
        "Deregister", pb.DeregisterRequest(worker_id="nobody-like-this")
    )

    assert came.worker_id
    assert (came.lease_duration_secs, came.heartbeat_interval_secs) == (300, 10)
    assert (beat.acknowledged, beat.should_drain) == (True, False)
    assert (seen["max_concurrency"], seen["current_jobs"]) == (5, 2)
    assert (seen["status"], seen["hostname"]) == ("healthy", "box-1.local")
    assert seen["metadata"] == {"zone": "a"}
    assert (gone.success, after.success) == (True, False)


async def test_the_same_id_is_the_same_worker(grpc_api, grpc_house, tenant):
    for concurrency in (1, 5000):
        came = await grpc_api.call(
            "Register", worker(worker_id="stable", max_concurrency=concurrency)
        )
        assert came.worker_id == "stable"

    async with open_api(grpc_house, tenant) as api:
        workers = await api.ask("GET", "/workers", expect=200)

    assert [(one["id"], one["max_concurrency"]) for one in workers] == [("stable", 100)]


async def test_an_id_of_somebody_elses_is_taken(
    grpc_api, grpc_house, grpc_port, database_url
):
    await grpc_api.call("Register", worker(worker_id="mine"))
    stranger = await new_tenant(database_url, slug="other")

    async with open_grpc_api(grpc_port, stranger.api_key) as other:
        words = await other.refused(
            "Register", worker(worker_id="mine"), "ALREADY_EXISTS"
        )
        beat = await other.call("Heartbeat", pb.HeartbeatRequest(worker_id="mine"))
        gone = await other.call("Deregister", pb.DeregisterRequest(worker_id="mine"))

    assert "Worker ID" in words
    assert not beat.acknowledged
    assert not gone.success


async def test_draining_stays(grpc_api):
    await grpc_api.call("Register", worker(worker_id="w"))

    async def beat(status):
        answer = await grpc_api.call(
            "Heartbeat", pb.HeartbeatRequest(worker_id="w", status=status)
        )
        return answer.should_drain

    assert [await beat(status) for status in ("", "draining", "healthy")] == [
        False,
        True,
        True,
    ]


async def test_who_goes_gives_back_its_jobs(grpc_api):
    await grpc_api.call("Register", worker(worker_id="w1"))
    await grpc_api.enqueue()
    job = await grpc_api.take("w1")
    await grpc_api.call("Deregister", pb.DeregisterRequest(worker_id="w1"))

    again = await grpc_api.take("w2", wait_seconds=5)

    assert (again.id, again.retry_count) == (job.id, 0)


@pytest.mark.parametrize(
    ("method", "request_", "words"),
    [
        ("Register", worker(queue_name=""), "Queue name"),
        ("Register", worker(hostname=""), "Hostname"),
        ("Register", worker(hostname=".box"), "Hostname can only contain alphanumeric"),
        ("Register", worker(hostname="a b"), "Hostname can only contain alphanumeric"),
        ("Register", worker(worker_id="a b"), "worker_id"),
        ("Heartbeat", pb.HeartbeatRequest(), "Worker ID is required"),
        ("Deregister", pb.DeregisterRequest(), "Worker ID is required"),
    ],
)
async def test_a_bad_worker_is_refused_in_words(grpc_api, method, request_, words):
    assert words in await grpc_api.refused(method, request_, "INVALID_ARGUMENT")
