"""Jobs that hardly fit a gRPC message: large ones, deep ones, and many at once."""

import io
import json
from collections import Counter
from typing import Any

import orjson
import pytest

from libs.common.pb import spooled_pb2 as pb
from services.ingest.grpc.sizes import DEPTH_MAX
from tests.support.grpc_client import asked, soon
from tests.support.house import open_api

_KIB = 1024
#: As JSON within a megabyte, as a `Struct` nearly six.
MANY_NUMBERS = {"a": [1] * (500 * _KIB)}


def nested(depth):
    """Return an object in an object, *depth* of them."""
    inner: object = {"bottom": True}
    for _ in range(depth - 1):
        inner = {"in": inner}
    return inner


def payload_of(job):
    return json.loads(job.payload_json) if job.payload_json else as_json(job.payload)


def as_json(struct):
    return {"bottom": True} if "bottom" in struct else {"in": as_json(struct["in"])}


async def test_jobs_that_do_not_fit_one_answer_come_with_the_next(
    grpc_api, grpc_house, tenant
):
    async with open_api(grpc_house, tenant) as api:
        made = [
            await api.create(payload={"n": n, "x": "y" * 900_000}) for n in range(6)
        ]
    taken: list[Any] = []
    sizes: list[int] = []
    while len(taken) < len(made):
        jobs = await grpc_api.dequeue(f"w{len(sizes)}", batch_size=10, wait_seconds=5)
        assert jobs
        taken += jobs
        sizes.append(len(jobs))

    assert Counter(job.id for job in taken) == Counter(made)
    assert {job.retry_count for job in taken} == {0}
    assert sizes[0] == 4
    assert await grpc_api.dequeue() == []
    async with open_api(grpc_house, tenant) as api:
        for job in taken:
            assert (await api.job(job.id))["attempt"] == 1


@pytest.mark.parametrize("way", ["Dequeue", "StreamJobs", "ProcessJobs"])
async def test_what_is_too_large_as_a_struct_comes_as_json(
    grpc_api, grpc_house, tenant, way
):
    async with open_api(grpc_house, tenant) as api:
        made = await told(
            api, "/jobs", {"queue_name": "mail", "payload": MANY_NUMBERS}, expect=201
        )
        job_id = made["id"]
        job = await handed_out(grpc_api, way)
        ended = {"worker_id": "w1", "result": MANY_NUMBERS}
        await told(api, f"/jobs/{job_id}/complete", ended, expect=200)
    done = await grpc_api.job(job_id)

    assert job.id == done.id == job_id
    assert json.loads(job.payload_json) == MANY_NUMBERS
    assert not job.payload.fields
    assert json.loads(done.payload_json) == MANY_NUMBERS
    assert json.loads(done.result_json) == MANY_NUMBERS


async def test_two_structs_share_the_room_of_one_answer(grpc_api):
    numbers = {"a": [1] * (200 * _KIB)}
    job_id = await grpc_api.enqueue(payload=numbers)
    job = await grpc_api.take()
    await grpc_api.call(
        "Complete",
        pb.CompleteRequest(job_id=job_id, worker_id="w1", result=numbers),
    )
    done = await grpc_api.job(job_id)

    assert not job.payload_json
    assert len(job.payload["a"]) == len(numbers["a"])
    assert len(done.payload["a"]) == len(numbers["a"])
    assert json.loads(done.result_json) == numbers


@pytest.mark.parametrize("way", ["Dequeue", "StreamJobs", "ProcessJobs"])
@pytest.mark.parametrize("depth", [DEPTH_MAX, DEPTH_MAX + 1, 40, 500])
async def test_what_is_too_deep_for_a_struct_comes_as_json(
    grpc_api, grpc_house, tenant, way, depth
):
    deep = nested(depth)
    async with open_api(grpc_house, tenant) as api:
        job_id = await api.create(payload=deep)

        waiting = await grpc_api.job(job_id)
        job = await handed_out(grpc_api, way)
        await api.ask(
            "POST",
            f"/jobs/{job_id}/complete",
            json={"worker_id": "w1", "result": deep},
            expect=200,
        )
    done = await grpc_api.job(job_id)

    assert {job.id, waiting.id, done.id} == {job_id}
    for one in (waiting, job, done):
        assert bool(one.payload_json) == (depth > DEPTH_MAX)
        assert payload_of(one) == deep
        assert one.HasField("payload")
    assert bool(done.result_json) == (depth > DEPTH_MAX)


async def test_lists_are_as_deep_as_objects(grpc_api, grpc_house, tenant):
    deep: object = []
    for _ in range(39):
        deep = [deep]
    async with open_api(grpc_house, tenant) as api:
        await api.create(payload={"in": deep})

    job = await grpc_api.take()

    assert json.loads(job.payload_json) == {"in": deep}


async def told(api, path, body, *, expect):
    """Post *body* without a space too many, which would make it too large."""
    return await api.ask(
        "POST",
        path,
        data=io.BytesIO(orjson.dumps(body)),
        headers={"Content-Type": "application/json"},
        expect=expect,
    )


async def handed_out(api, way):
    """Return the one job there is, as it is handed out *way*."""
    if way == "Dequeue":
        return await api.take()
    if way == "StreamJobs":
        stream = api.stream()
        job = await soon(stream.read(), at_most=30)
        stream.cancel()
        return job
    talk = api.queue.ProcessJobs(metadata=api.metadata)
    want = pb.DequeueRequest(queue_name="mail", worker_id="w1")
    answer = await asked(talk, dequeue=want)
    talk.cancel()
    return answer.job
