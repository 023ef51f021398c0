"""Streams over gRPC: woken and not polling, one job at a time, and how they end."""

import asyncio
import time

import asyncpg
import grpc
import pytest

from libs.cli.embedded.ports import free_port
from libs.common.pb import spooled_pb2 as pb
from services.ingest.grpc import streaming
from tests.support.grpc_client import ended, open_grpc_api, soon
from tests.support.house import open_api
from tests.support.waiting import until


async def never(stream, *, seconds=0.3):
    """Read from a stream that must stay silent; the read goes on."""
    reading = asyncio.ensure_future(stream.read())
    done, _ = await asyncio.wait([reading], timeout=seconds)
    assert not done, reading.result()
    return reading


async def complete(api, job, worker_id="w1"):
    await api.call(
        "Complete",
        pb.CompleteRequest(job_id=job.id, worker_id=worker_id, lease_id=job.lease_id),
    )


async def test_a_stream_is_woken_at_once(grpc_api):
    await grpc_api.enqueue()
    stream = grpc_api.stream()
    await complete(grpc_api, await soon(stream.read()))
    seconds = []
    for _ in range(10):
        reading = await never(stream, seconds=0.05)
        began = time.perf_counter()
        await grpc_api.enqueue()
        job = await soon(reading)
        seconds.append(time.perf_counter() - began)
        await complete(grpc_api, job)
    stream.cancel()

    print("woken within", sorted(round(1000 * each, 1) for each in seconds), "ms")
    assert sorted(seconds)[4] < 0.1


async def test_the_next_job_comes_when_the_one_before_is_settled(grpc_api):
    for _ in range(3):
        await grpc_api.enqueue()
    stream = grpc_api.stream()
    first = await soon(stream.read())
    reading = await never(stream)
    others = await grpc_api.dequeue("w2", batch_size=10)
    await complete(grpc_api, first)
    for other in others:
        await grpc_api.call(
            "Fail",
            pb.FailRequest(job_id=other.id, worker_id="w2", lease_id=other.lease_id),
        )
    second = await soon(reading)
    stream.cancel()

    # Nothing was claimed ahead of the client.
    assert len(others) == 2
    assert second.id in {other.id for other in others}
    assert second.retry_count == 1


async def test_a_job_settled_through_another_door_frees_the_stream(
    grpc_api, grpc_house, tenant
):
    for _ in range(2):
        await grpc_api.enqueue()
    stream = grpc_api.stream()
    first = await soon(stream.read())
    reading = await never(stream, seconds=0.1)
    async with open_api(grpc_house, tenant) as api:
        body = {"worker_id": "w1", "lease_id": first.lease_id}
        await api.ask("POST", f"/jobs/{first.id}/complete", json=body)
    second = await soon(reading)
    stream.cancel()

    assert second.id != first.id


async def test_a_job_settled_by_another_replica_frees_the_stream(
    grpc_api, grpc_house, tenant
):
    for _ in range(2):
        await grpc_api.enqueue()
    port = free_port()
    await grpc_house.start("ingest#2", http_port=free_port(), grpc_port=port)
    stream = grpc_api.stream()
    first = await soon(stream.read())
    reading = await never(stream, seconds=0.1)
    async with open_grpc_api(port, tenant.api_key) as elsewhere:
        await complete(elsewhere, first)
        began = time.perf_counter()
        second = await soon(reading)
    took = time.perf_counter() - began
    stream.cancel()

    print("seen after", round(1000 * took, 1), "ms")
    assert second.id != first.id
    assert took < 0.45, "told of by NATS, and not looked for"


async def test_a_job_given_back_frees_the_stream(grpc_api):
    await grpc_api.call("Register", _worker("w1"))
    await grpc_api.enqueue()
    stream = grpc_api.stream()
    first = await soon(stream.read())
    reading = await never(stream, seconds=0.1)
    await grpc_api.call("Deregister", pb.DeregisterRequest(worker_id="w1"))
    again = await soon(reading)
    stream.cancel()

    assert again.id == first.id
    assert again.lease_id != first.lease_id
    assert again.retry_count == 0


async def test_a_lease_that_runs_out_frees_the_stream(grpc_api, database_url):
    for _ in range(2):
        await grpc_api.enqueue()
    stream = grpc_api.stream()
    first = await soon(stream.read())
    reading = await never(stream, seconds=0.1)
    conn = await asyncpg.connect(database_url)
    await conn.execute("UPDATE leased SET deadline = now() - interval '1 s'")
    await conn.close()
    second = await soon(reading)
    stream.cancel()

    assert (second.id, second.lease_id) != (first.id, first.lease_id)


async def test_who_leaves_takes_nothing_along(grpc_api, database_url):
    streams = [grpc_api.stream(f"w{n}") for n in range(5)]
    readings = [await never(stream, seconds=0.05) for stream in streams]
    for stream in streams:
        stream.cancel()
    await asyncio.gather(*readings, return_exceptions=True)
    for _ in range(5):
        await grpc_api.enqueue()

    jobs = []

    async def all_are_there():
        jobs.extend(await grpc_api.dequeue("other", batch_size=5))
        return len(jobs) == 5

    await until(all_are_there)
    assert {job.retry_count for job in jobs} == {0}


async def test_a_stream_needs_a_queue_and_a_worker(grpc_api):
    request = pb.StreamJobsRequest(queue_name="a b", worker_id="w")
    stream = grpc_api.queue.StreamJobs(request, metadata=grpc_api.metadata)
    assert "Queue name" in await ended(stream, "INVALID_ARGUMENT")
    request = pb.StreamJobsRequest(queue_name="mail")
    stream = grpc_api.queue.StreamJobs(request, metadata=grpc_api.metadata)
    assert await ended(stream, "INVALID_ARGUMENT") == "Worker ID is required"


async def test_a_revoked_key_ends_its_stream(grpc_api, grpc_house, grpc_port, tenant):
    async with open_api(grpc_house, tenant) as api:
        made = await api.ask("POST", "/api-keys", json={"name": "k"}, expect=201)
        async with open_grpc_api(grpc_port, made["key"]) as other:
            stream = other.stream()
            reading = await never(stream)
            await api.ask("DELETE", f"/api-keys/{made['id']}", expect=204)
            began = time.perf_counter()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await soon(reading, at_most=5)
    took = time.perf_counter() - began

    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert caught.value.details() in {"API key is inactive", "Invalid API key"}
    assert took < 2.5


async def test_a_key_that_loses_its_queue_loses_its_stream(
    grpc_api, grpc_house, grpc_port, tenant
):
    async with open_api(grpc_house, tenant) as api:
        made = await api.ask("POST", "/api-keys", json={"name": "k"}, expect=201)
        async with open_grpc_api(grpc_port, made["key"]) as other:
            stream = other.stream()
            reading = await never(stream)
            path, only = f"/api-keys/{made['id']}", {"queues": ["others"]}
            await api.ask("PUT", path, json=only, expect=200)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await soon(reading, at_most=5)
            await grpc_api.enqueue()
            job = await grpc_api.take("w2")

    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert caught.value.details() == (
        "API key does not have permission for queue 'mail'"
    )
    assert job.retry_count == 0


async def test_an_organization_has_so_many_streams(grpc_api, monkeypatch):
    monkeypatch.setattr(streaming, "STREAMS_MAX", 3)
    streams = [grpc_api.stream(f"w{n}") for n in range(3)]
    readings = [await never(stream, seconds=0.1) for stream in streams]

    words = await ended(grpc_api.stream("one-more"), "RESOURCE_EXHAUSTED")
    for stream in streams:
        stream.cancel()
    await asyncio.gather(*readings, return_exceptions=True)

    assert "limit reached (3/3)" in words


async def test_streams_end_when_the_house_is_emptied(grpc_api, grpc_house):
    stream = grpc_api.stream()
    talk = grpc_api.queue.ProcessJobs(metadata=grpc_api.metadata)
    reading = await never(stream)
    talking = await never(talk, seconds=0.05)
    waiting = asyncio.ensure_future(grpc_api.dequeue("w2", wait_seconds=25))
    await asyncio.sleep(0.1)
    began = time.perf_counter()
    await grpc_house.stop("ingest")
    took = time.perf_counter() - began

    for one in (reading, talking):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await one
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert caught.value.details() == "The server is shutting down"
    # A call under way finishes: with nothing, but as it should.
    assert await waiting == []
    assert took < 5


def _worker(worker_id):
    return pb.RegisterWorkerRequest(
        queue_name="mail", hostname="box", worker_id=worker_id
    )
