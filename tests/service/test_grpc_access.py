"""Who may call over gRPC, how fast, how much, and never on others' behalf."""

from typing import Any
from urllib.parse import urlsplit

import asyncpg
import grpc
import pytest

from libs.common.pb import spooled_pb2 as pb
from tests.support.grpc_client import open_grpc_api, trailers
from tests.support.house import new_tenant, open_api, run_house
from tests.support.wire import wire_to

ENQUEUE = pb.EnqueueRequest(queue_name="mail")
NOBODY = "sk_live_" + "x" * 43


async def change_plan(database_url, tenant, tier, custom_limits=None):
    conn = await asyncpg.connect(database_url)
    try:
        await conn.execute(
            "UPDATE organizations SET plan_tier = $2, custom_limits = $3 WHERE id = $1",
            tenant.id,
            tier,
            custom_limits,
        )
    finally:
        await conn.close()


def every_method():
    """Return (service, method, an empty request) of all there are."""
    for service in pb.DESCRIPTOR.services_by_name.values():
        for method in service.methods:
            yield service.name, method


METHODS = list(every_method())


@pytest.mark.parametrize(
    ("header", "spelled"),
    [
        ("x-api-key", "{}"),
        ("authorization", "Bearer {}"),
        ("authorization", "bearer {}"),
        ("authorization", "{}"),
    ],
)
async def test_a_key_may_be_sent_in_several_ways(
    grpc_house, grpc_port, tenant, header, spelled
):
    async with open_grpc_api(
        grpc_port, spelled.format(tenant.api_key), header=header
    ) as api:
        assert await api.enqueue()


async def test_an_access_token_does_as_well(grpc_house, grpc_port, tenant):
    async with open_api(grpc_house, tenant) as api:
        body = {"api_key": tenant.api_key}
        signed_in = await api.ask("POST", "/auth/login", json=body, expect=200)

    async with open_grpc_api(
        grpc_port, f"Bearer {signed_in['access_token']}", header="authorization"
    ) as api:
        assert await api.enqueue()


@pytest.mark.parametrize("key", ["", NOBODY, "nonsense", "eyJhbGciOiJub25lIn0.e30."])
async def test_nobody_gets_in_anywhere(grpc_house, grpc_port, key):
    async with open_grpc_api(grpc_port, key) as api:
        for service, method in METHODS:
            stub = getattr(
                api.queue if service == "QueueService" else api.worker, method.name
            )
            metadata = api.metadata if key else ()
            call = (
                stub(metadata=metadata)
                if method.client_streaming
                else stub(_empty(method), metadata=metadata)
            )
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await (call.read() if method.server_streaming else call)
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED, method.name
            assert caught.value.details()


def _empty(method):
    return getattr(pb, method.input_type.name)()


async def test_a_key_of_some_queues_keeps_to_them(
    grpc_house, grpc_port, grpc_api, tenant
):
    job_id = await grpc_api.enqueue("secret")
    (job,) = await grpc_api.dequeue(queue_name="secret")
    async with open_api(grpc_house, tenant) as api:
        made = await api.ask(
            "POST", "/api-keys", json={"name": "k", "queues": ["mail"]}, expect=201
        )
    async with open_grpc_api(grpc_port, made["key"]) as scoped:
        assert await scoped.enqueue("mail")
        for method, request in (
            ("Enqueue", pb.EnqueueRequest(queue_name="secret")),
            (
                "EnqueueBatch",
                pb.EnqueueBatchRequest(queue_name="secret", items=[pb.EnqueueItem()]),
            ),
            ("Dequeue", pb.DequeueRequest(queue_name="secret", worker_id="w")),
            ("GetQueueStats", pb.GetQueueStatsRequest(queue_name="secret")),
            (
                "Register",
                pb.RegisterWorkerRequest(queue_name="secret", hostname="box"),
            ),
        ):
            words = await scoped.refused(method, request, "PERMISSION_DENIED")
            assert words == "API key does not have permission for queue 'secret'"
        assert await scoped.job(job_id) is None
        held = {"job_id": job_id, "worker_id": "w1", "lease_id": job.lease_id}
        await scoped.refused("Complete", pb.CompleteRequest(**held), "NOT_FOUND")
        await scoped.refused("Fail", pb.FailRequest(**held), "NOT_FOUND")

    assert (await grpc_api.job(job_id)).status == pb.JOB_STATUS_PROCESSING


async def test_a_tenant_never_reaches_anothers_jobs(
    grpc_house, grpc_port, grpc_api, database_url
):
    job_id = await grpc_api.enqueue()
    job = await grpc_api.take("w1")
    before = await grpc_api.job(job_id)
    stranger = await new_tenant(database_url, slug="stranger")
    held = {"job_id": job_id, "worker_id": "w1", "lease_id": job.lease_id}
    async with open_grpc_api(grpc_port, stranger.api_key) as other:
        assert await other.job(job_id) is None
        assert await other.dequeue() == []
        for method, request in (
            ("Complete", pb.CompleteRequest(**held)),
            ("Complete", pb.CompleteRequest(job_id=job_id, worker_id="w1")),
            ("Fail", pb.FailRequest(**held)),
            ("RenewLease", pb.RenewLeaseRequest(**held)),
        ):
            await other.refused(method, request, "NOT_FOUND")
        many = {"job_id": job_id, "lease_id": job.lease_id}
        batches: list[tuple[str, Any]] = [
            ("CompleteBatch", pb.CompleteBatchRequest(worker_id="w1")),
            ("FailBatch", pb.FailBatchRequest(worker_id="w1")),
            ("RenewLeases", pb.RenewLeasesRequest(worker_id="w1")),
        ]
        for method, batch in batches:
            batch.items.add(**many)
            (answer,) = (await other.call(method, batch)).items
            assert answer.error.code == "NOT_FOUND", method
        stats = await other.call(
            "GetQueueStats", pb.GetQueueStatsRequest(queue_name="mail")
        )
        gone = await other.call("Deregister", pb.DeregisterRequest(worker_id="w1"))

    assert stats.total == 0
    assert not gone.success
    assert await grpc_api.job(job_id) == before
    await grpc_api.call("Complete", pb.CompleteRequest(**held))


async def test_who_is_too_fast_is_told_how_long_to_wait(
    grpc_house, grpc_port, tenant, database_url
):
    limits = '{"rate_limit_requests_per_second": 1, "rate_limit_burst": 3}'
    await change_plan(database_url, tenant, "enterprise", limits)
    async with open_grpc_api(grpc_port, tenant.api_key) as api:
        refusals = []
        for _ in range(8):
            try:
                await api.call("GetJob", pb.GetJobRequest(job_id="x"))
            except grpc.aio.AioRpcError as error:
                refusals.append(error)

    assert 3 <= len(refusals) <= 6
    for refusal in refusals:
        assert refusal.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert refusal.details() == "Rate limit exceeded"
        assert int(trailers(refusal)["retry-after"]) >= 1


async def test_a_quota_is_no_rate(grpc_house, grpc_port, tenant, database_url):
    limits = '{"max_active_jobs": 2, "max_payload_size_bytes": 1000}'
    await change_plan(database_url, tenant, "enterprise", limits)
    async with open_grpc_api(grpc_port, tenant.api_key) as api:
        for _ in range(2):
            await api.enqueue()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await api.call("Enqueue", ENQUEUE)
        batch = pb.EnqueueBatchRequest(queue_name="mail", items=[pb.EnqueueItem()] * 2)
        words = await api.refused("EnqueueBatch", batch, "RESOURCE_EXHAUSTED")
        large = pb.EnqueueRequest(queue_name="mail", payload={"x": "y" * 2000})
        too_large = await api.refused("Enqueue", large, "RESOURCE_EXHAUSTED")

    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "active_jobs limit reached (2/2)" in (caught.value.details() or "")
    assert "retry-after" not in trailers(caught.value)
    assert "limit reached" in words
    assert "payload size limit reached" in too_large


async def test_what_is_too_large_for_the_plan_spoils_nobody_elses_job(
    grpc_house, grpc_port, tenant, database_url
):
    await change_plan(
        database_url, tenant, "enterprise", '{"max_payload_size_bytes": 1000}'
    )
    batch = pb.EnqueueBatchRequest(
        queue_name="mail",
        items=[
            pb.EnqueueItem(payload={"n": 1}),
            pb.EnqueueItem(payload={"x": "y" * 2000}),
            pb.EnqueueItem(payload={"n": 2}),
        ],
    )
    async with open_grpc_api(grpc_port, tenant.api_key) as api:
        first, large, last = (await api.call("EnqueueBatch", batch)).items
        jobs = await api.dequeue(batch_size=10)

    assert [job.id for job in jobs] == [first.job_id, last.job_id]
    assert (large.job_id, large.created) == ("", False)
    assert large.error.code == "PAYLOAD_TOO_LARGE"
    assert "payload size limit reached" in large.error.message


async def test_a_plan_has_so_many_workers(grpc_house, grpc_port, tenant, database_url):
    await change_plan(database_url, tenant, "enterprise", '{"max_workers": 1}')
    mine = pb.RegisterWorkerRequest(queue_name="mail", hostname="box", worker_id="w1")
    other = pb.RegisterWorkerRequest(queue_name="mail", hostname="box", worker_id="w2")
    async with open_grpc_api(grpc_port, tenant.api_key) as api:
        await api.call("Register", mine)
        words = await api.refused("Register", other, "RESOURCE_EXHAUSTED")
        # The same worker again is no other one.
        await api.call("Register", mine)
        await api.call("Deregister", pb.DeregisterRequest(worker_id="w1"))
        await api.call("Register", other)

    assert "workers limit reached (1/1)" in words


async def test_postgres_away_is_unavailable(database_url, nats_url, grpc_port, tenant):
    address = urlsplit(database_url)
    async with wire_to(address.hostname, address.port) as wire:
        through = database_url.replace(f":{address.port}/", f":{wire.port}/")
        async with (
            run_house(through, nats_url, services=("ingest",), grpc_port=grpc_port),
            open_grpc_api(grpc_port, tenant.api_key) as api,
        ):
            await api.enqueue()
            wire.cut()
            words = await api.refused("Enqueue", ENQUEUE, "UNAVAILABLE")
            wire.mend()
            await api.enqueue()

    assert words == "Temporarily unavailable, please try again"
