"""A worker's hands: the same verbs over REST and over gRPC."""

import time
from dataclasses import dataclass
from typing import Any, Protocol

import grpc

from libs.common.pb import spooled_pb2 as pb
from tests.chaos.asking import Client
from tests.chaos.history import History
from tests.support.grpc_client import GrpcApi

LEASE_SECONDS = 5
WAIT_SECONDS = 2
#: What says that the job is no longer the worker's.
_LOST = {grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.ABORTED}


@dataclass(frozen=True)
class Held:
    """A job that was handed out; the lease runs from *asked_at* at the earliest."""

    job: str
    lease: str
    #: How often it failed, or was lost, before.
    tries: int
    asked_at: float


class Hands(Protocol):
    """None is no answer: nobody knows whether it was carried out."""

    async def claim(self, queue: str, worker: str, limit: int) -> list[Held] | None:
        """Claim what there is, and wait a while for the first."""

    async def renew(self, held: Held, worker: str) -> bool | None:
        """Keep a job; return whether it is still ours."""

    async def complete(self, held: Held, worker: str) -> bool | None:
        """Complete a job; return whether it was still ours."""

    async def fail(self, held: Held, worker: str) -> bool | None:
        """Fail a job, to be tried again; return whether it was still ours."""


@dataclass
class RestHands:
    """Over REST."""

    client: Client

    async def claim(self, queue: str, worker: str, limit: int) -> list[Held] | None:
        body = {
            "queue_name": queue,
            "worker_id": worker,
            "limit": limit,
            "lease_duration_secs": LEASE_SECONDS,
            "wait_seconds": WAIT_SECONDS,
        }
        answer = await self.client.once("POST", "/jobs/claim", body)
        if answer is None or answer.status != 200:
            return None
        return [
            Held(job["id"], job["lease_id"], job["retry_count"], answer.asked_at)
            for job in answer.body["jobs"]
        ]

    async def renew(self, held: Held, worker: str) -> bool | None:
        return await self._say("heartbeat", held, worker, lease_duration_secs=5)

    async def complete(self, held: Held, worker: str) -> bool | None:
        return await self._say("complete", held, worker, result={"by": worker})

    async def fail(self, held: Held, worker: str) -> bool | None:
        return await self._say("fail", held, worker, error="no luck")

    async def _say(self, verb: str, held: Held, worker: str, **fields) -> bool | None:
        body = {"worker_id": worker, "lease_id": held.lease, **fields}
        answer = await self.client.once("POST", f"/jobs/{held.job}/{verb}", body)
        return None if answer is None else answer.status == 200


@dataclass
class GrpcHands:
    """Over gRPC, through one replica."""

    api: GrpcApi
    history: History

    async def claim(self, queue: str, worker: str, limit: int) -> list[Held] | None:
        asked_at = time.monotonic()
        request = pb.DequeueRequest(
            queue_name=queue,
            worker_id=worker,
            batch_size=limit,
            lease_duration_secs=LEASE_SECONDS,
            wait_seconds=WAIT_SECONDS,
        )
        answer = await self._call("Dequeue", request)
        if answer is None:
            return None
        return [
            Held(job.id, job.lease_id, job.retry_count, asked_at) for job in answer.jobs
        ]

    async def renew(self, held: Held, worker: str) -> bool | None:
        return await self._say(
            "RenewLease", pb.RenewLeaseRequest(extension_secs=5), held, worker
        )

    async def complete(self, held: Held, worker: str) -> bool | None:
        return await self._say("Complete", pb.CompleteRequest(), held, worker)

    async def fail(self, held: Held, worker: str) -> bool | None:
        request = pb.FailRequest(error="no luck", retry=True)
        return await self._say("Fail", request, held, worker)

    async def _say(self, verb: str, request, held: Held, worker: str) -> bool | None:
        request.job_id, request.lease_id = held.job, held.lease
        request.worker_id = worker
        try:
            answer = await self._call(verb, request)
        except grpc.aio.AioRpcError as error:
            if error.code() in _LOST:
                return False
            raise
        return None if answer is None else bool(answer.success)

    async def _call(self, method: str, request) -> Any:
        try:
            return await self.api.call(method, request, timeout=40)
        except grpc.aio.AioRpcError as error:
            if error.code() in {
                grpc.StatusCode.UNAVAILABLE,
                grpc.StatusCode.DEADLINE_EXCEEDED,
                grpc.StatusCode.CANCELLED,
                grpc.StatusCode.RESOURCE_EXHAUSTED,
            }:
                return None
            if error.code() is grpc.StatusCode.INTERNAL:
                self.history.note("bug", says=f"gRPC {method}: {error.details()}")
                return None
            raise
