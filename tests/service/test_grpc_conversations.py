"""``ProcessJobs``: one answer for each request, in order, whatever is wrong."""

import asyncpg
import grpc

from libs.common.pb import spooled_pb2 as pb
from tests.support.grpc_client import EOF, asked, ended, open_grpc_api, soon
from tests.support.house import open_api
from tests.support.waiting import until


async def test_a_conversation_answers_in_order(grpc_api):
    job_id = await grpc_api.enqueue()
    dead_id = await grpc_api.enqueue(priority=-1)
    talk = grpc_api.queue.ProcessJobs(metadata=grpc_api.metadata)
    want = pb.DequeueRequest(queue_name="mail", worker_id="w1", batch_size=10)

    first = await asked(talk, dequeue=want)
    second = await asked(talk, dequeue=want)
    none = await asked(talk, dequeue=want)
    held = {"worker_id": "w1", "job_id": job_id, "lease_id": first.job.lease_id}
    renewed = await asked(talk, renew_lease=pb.RenewLeaseRequest(**held))
    done = await asked(talk, complete=pb.CompleteRequest(**held))
    again = await asked(talk, complete=pb.CompleteRequest(**held))
    failed = await asked(
        talk, fail=pb.FailRequest(worker_id="w1", job_id=dead_id, retry=False)
    )
    stolen = await asked(
        talk,
        complete=pb.CompleteRequest(
            worker_id="w1", job_id=dead_id, lease_id=first.job.lease_id
        ),
    )
    empty = await asked(talk)
    wrong = await asked(talk, dequeue=pb.DequeueRequest(queue_name="a b"))
    lost = await asked(talk, complete=pb.CompleteRequest(worker_id="w", job_id="x"))
    await talk.done_writing()
    end = await soon(talk.read())

    assert (first.job.id, second.job.id) == (job_id, dead_id)
    assert (none.error.code, none.error.message) == ("NO_JOBS", "No jobs available")
    assert renewed.renew_lease.success
    assert done.complete.success
    assert (again.error.code, again.error.message) == (
        "CONFLICT",
        "Job is already completed",
    )
    assert (failed.fail.success, failed.fail.will_retry) == (True, False)
    assert stolen.error.code in {"LEASE_EXPIRED", "CONFLICT"}
    assert (empty.error.code, empty.error.message) == (
        "INVALID_REQUEST",
        "Empty request",
    )
    assert wrong.error.code == "INVALID_ARGUMENT"
    assert lost.error.code == "NOT_FOUND"
    assert end is EOF
    assert await talk.code() is grpc.StatusCode.OK


async def test_a_lost_lease_is_said_in_the_conversation(grpc_api, database_url):
    job_id = await grpc_api.enqueue(max_retries=5)
    job = await grpc_api.take()
    conn = await asyncpg.connect(database_url)
    await conn.execute("UPDATE leased SET deadline = now() - interval '1 s'")
    await conn.close()
    talk = grpc_api.queue.ProcessJobs(metadata=grpc_api.metadata)

    answer = await asked(
        talk,
        complete=pb.CompleteRequest(
            job_id=job_id, worker_id="w1", lease_id=job.lease_id
        ),
    )
    talk.cancel()

    assert answer.error.code == "LEASE_EXPIRED"


async def test_a_conversation_ends_when_its_key_is_revoked(
    grpc_api, grpc_house, grpc_port, tenant
):
    want = pb.DequeueRequest(queue_name="mail", worker_id="w1")
    async with open_api(grpc_house, tenant) as api:
        made = await api.ask("POST", "/api-keys", json={"name": "k"}, expect=201)
        async with open_grpc_api(grpc_port, made["key"]) as other:
            talk = other.queue.ProcessJobs(metadata=other.metadata)
            before = await asked(talk, dequeue=want)
            await api.ask("DELETE", f"/api-keys/{made['id']}", expect=204)

            async def revoked():
                answer = await asked(talk, dequeue=want)
                return answer.error.code == "UNAUTHENTICATED"

            await until(revoked)
            await ended(talk, "UNAUTHENTICATED")

    assert before.error.code == "NO_JOBS"


async def test_what_a_key_may_not_is_said_in_the_conversation(
    grpc_api, grpc_house, grpc_port, tenant
):
    await grpc_api.enqueue()
    async with open_api(grpc_house, tenant) as api:
        body = {"name": "k", "queues": ["mail"]}
        made = await api.ask("POST", "/api-keys", json=body, expect=201)
    async with open_grpc_api(grpc_port, made["key"]) as scoped:
        talk = scoped.queue.ProcessJobs(metadata=scoped.metadata)
        closed = await asked(talk, dequeue=want("secret"))
        open_ = await asked(talk, dequeue=want("mail"))
        talk.cancel()

    assert (closed.error.code, closed.error.message) == (
        "PERMISSION_DENIED",
        "API key does not have permission for queue 'secret'",
    )
    assert open_.job.id


async def test_who_is_too_fast_is_told_so_in_the_conversation(
    grpc_house, grpc_port, tenant, conn
):
    await conn.execute(
        "UPDATE organizations SET custom_limits = $2 WHERE id = $1",
        tenant.id,
        '{"rate_limit_requests_per_second": 1, "rate_limit_burst": 3}',
    )
    async with open_grpc_api(grpc_port, tenant.api_key) as api:
        talk = api.queue.ProcessJobs(metadata=api.metadata)
        codes = [(await asked(talk, dequeue=want("mail"))).error.code for _ in range(6)]

        async def goes_on():
            answer = await asked(talk, dequeue=want("mail"))
            return answer.error.code == "NO_JOBS"

        await until(goes_on)
        talk.cancel()

    # To open the conversation was the first of three.
    assert codes[:2] == ["NO_JOBS", "NO_JOBS"]
    assert "RATE_LIMIT_EXCEEDED" in codes
    assert set(codes) == {"NO_JOBS", "RATE_LIMIT_EXCEEDED"}


def want(queue_name):
    return pb.DequeueRequest(queue_name=queue_name, worker_id="w1")
