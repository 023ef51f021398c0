"""Nobody gets anywhere with what is another's over gRPC: every method, every id."""

import grpc

from libs.common.pb import spooled_pb2 as pb
from tests.support.furnished import QUEUE, WORKER, belongings, furnish
from tests.support.grpc_client import open_grpc_api
from tests.support.house import new_tenant, open_api
from tests.support.tenants import scoped

SERVICES = pb.DESCRIPTOR.services_by_name.values()
METHODS = [method for service in SERVICES for method in service.methods]
#: Whose id is unknown is told so, and not refused: nothing is done.
TELLS = {"GetJob", "GetQueueStats", "Heartbeat", "Deregister"}
#: What the scheduler is still busy with, and no call of gRPC speaks of.
BUSY = {"replays", "schedule_backfills", "tallies"}
#: How long a stream gets to show what it must not.
LOOK_SECONDS = 0.5


def requests_of(method, owned):
    """Return what to ask of a method about what is *owned* by another."""
    held = {"job_id": owned.claimed_id, "worker_id": WORKER, "lease_id": owned.lease_id}
    bare = {"job_id": owned.claimed_id, "worker_id": WORKER}
    item = {"job_id": owned.claimed_id, "lease_id": owned.lease_id}
    target = pb.Target(endpoint_id=owned.endpoint_id)
    dequeue = pb.DequeueRequest(queue_name=QUEUE, worker_id=WORKER)
    return {
        "Enqueue": [
            pb.EnqueueRequest(queue_name="mine"),
            pb.EnqueueRequest(queue_name="mine", target=target),
        ],
        "EnqueueBatch": [
            pb.EnqueueBatchRequest(queue_name="mine", items=[pb.EnqueueItem()])
        ],
        "Dequeue": [dequeue],
        "Complete": [pb.CompleteRequest(**held), pb.CompleteRequest(**bare)],
        "Fail": [
            pb.FailRequest(**held, error="x", retry=False),
            pb.FailRequest(**bare, error="x"),
        ],
        "RenewLease": [pb.RenewLeaseRequest(**held), pb.RenewLeaseRequest(**bare)],
        "GetJob": [pb.GetJobRequest(job_id=one) for one in owned.job_ids],
        "GetQueueStats": [pb.GetQueueStatsRequest(queue_name=QUEUE)],
        "StreamJobs": [pb.StreamJobsRequest(queue_name=QUEUE, worker_id=WORKER)],
        "ProcessJobs": [
            pb.ProcessRequest(dequeue=dequeue),
            pb.ProcessRequest(complete=pb.CompleteRequest(**held)),
            pb.ProcessRequest(fail=pb.FailRequest(**held, error="x")),
            pb.ProcessRequest(renew_lease=pb.RenewLeaseRequest(**held)),
        ],
        "CompleteBatch": [
            pb.CompleteBatchRequest(
                worker_id=WORKER, items=[pb.CompleteBatchRequest.Item(**item)]
            )
        ],
        "FailBatch": [
            pb.FailBatchRequest(
                worker_id=WORKER, items=[pb.FailBatchRequest.Item(**item, error="x")]
            )
        ],
        "RenewLeases": [
            pb.RenewLeasesRequest(
                worker_id=WORKER, items=[pb.RenewLeasesRequest.Item(**item)]
            )
        ],
        "Register": [
            pb.RegisterWorkerRequest(queue_name="mine", hostname="h", worker_id=WORKER)
        ],
        "Heartbeat": [pb.HeartbeatRequest(worker_id=WORKER, status="draining")],
        "Deregister": [pb.DeregisterRequest(worker_id=WORKER)],
    }[method.name]


async def call(client, method, request, *, metadata=None):
    """Return the status of a call and everything it told."""
    stub = client.queue if hasattr(client.queue, method.name) else client.worker
    metadata = client.metadata if metadata is None else metadata
    ask = getattr(stub, method.name)
    told = []
    try:
        if not method.server_streaming:
            told.append(await ask(request, metadata=metadata, timeout=10))
        elif method.client_streaming:
            answers = ask(iter([request]), metadata=metadata, timeout=10)
            told.extend([one async for one in answers])
        else:
            answers = ask(request, metadata=metadata, timeout=LOOK_SECONDS)
            async for one in answers:
                told.append(one)  # noqa: PERF401 - until it ends, which is an error
    except grpc.aio.AioRpcError as error:
        return error.code().name, f"{told} {error.details()}"
    return "OK", str(told)


async def walk(client, owned):
    """Call every method; yield (method, what was asked, status, what was told)."""
    for method in METHODS:
        for request in requests_of(method, owned):
            status, told = await call(client, method, request)
            yield method, str(request), status, told


async def test_another_organization_gets_nowhere(
    grpc_house, grpc_port, tenant, database_url, conn
):
    async with open_api(grpc_house, tenant) as api:
        owned = await furnish(api)
        stranger = await new_tenant(database_url, slug="stranger")
        before = await belongings(conn, owned, but=BUSY)

        async with open_grpc_api(grpc_port, stranger.api_key) as client:
            wrong = [
                (method.name, asked, status, told)
                async for method, asked, status, told in walk(client, owned)
                if status in {"INTERNAL", "UNKNOWN"}
                or any(one in told and one not in asked for one in owned.secrets)
                or ("success: true" in told and method.name not in TELLS)
            ]

        assert wrong == []
        assert await belongings(conn, owned, but=BUSY) == before
        body = {"worker_id": WORKER, "lease_id": owned.lease_id}
        path = f"/jobs/{owned.claimed_id}/complete"
        await api.ask("POST", path, json=body, expect=200)


async def test_a_key_for_other_queues_gets_nowhere(grpc_house, grpc_port, tenant, conn):
    async with open_api(grpc_house, tenant) as api:
        owned = await furnish(api)
        limited = await scoped(api, "elsewhere")
        before = await belongings(conn, owned, but=BUSY)

        async with open_grpc_api(grpc_port, limited.tenant.api_key) as client:
            wrong = [
                (method.name, asked, status, told)
                async for method, asked, status, told in walk(client, owned)
                if status in {"INTERNAL", "UNKNOWN"}
                or any(one in told and one not in asked for one in owned.secrets)
                or ("success: true" in told and method.name not in TELLS)
            ]

        assert wrong == []
        assert await belongings(conn, owned, but=BUSY) == before


async def test_nobody_gets_in_without_a_credential(grpc_house, grpc_port, tenant):
    async with open_api(grpc_house, tenant) as api:
        owned = await furnish(api)
    async with open_grpc_api(grpc_port, tenant.api_key) as client:
        for method in METHODS:
            for metadata in ((), (("x-api-key", "sk_live_nobody"),)):
                request = requests_of(method, owned)[0]
                status, _ = await call(client, method, request, metadata=metadata)
                assert status == "UNAUTHENTICATED", method.name
