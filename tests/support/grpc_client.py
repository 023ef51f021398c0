"""A gRPC client of one tenant's, and short words for what it may get back."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import pytest

from libs.common.pb import spooled_pb2 as pb
from libs.common.pb import spooled_pb2_grpc as stubs

#: What is read when a stream has ended; the stubs of grpc do not know it.
EOF = grpc.aio.EOF  # type: ignore[attr-defined]


@dataclass
class GrpcApi:
    """Both services over one channel, each call with the tenant's key."""

    channel: grpc.aio.Channel
    metadata: tuple[tuple[str, str], ...]

    def __post_init__(self):
        self.queue = stubs.QueueServiceStub(self.channel)
        self.worker = stubs.WorkerServiceStub(self.channel)

    async def call(self, method: str, request: Any, **kwargs) -> Any:
        """Call a unary method by its name."""
        stub = self.queue if hasattr(self.queue, method) else self.worker
        return await getattr(stub, method)(request, metadata=self.metadata, **kwargs)

    async def refused(self, method: str, request: Any, status: str) -> str:
        """Call what must be refused with *status*; return the details."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.call(method, request, timeout=10)
        assert caught.value.code().name == status, caught.value.details()
        return caught.value.details() or ""

    async def enqueue(self, queue_name="mail", payload=None, **fields) -> str:
        """Create a job; return its id."""
        made = await self.call(
            "Enqueue",
            pb.EnqueueRequest(
                queue_name=queue_name, payload=payload or {"n": 1}, **fields
            ),
        )
        return str(made.job_id)

    async def dequeue(self, worker_id="w1", *, queue_name="mail", **fields) -> Any:
        """Claim; return the jobs."""
        answer = await self.call(
            "Dequeue",
            pb.DequeueRequest(queue_name=queue_name, worker_id=worker_id, **fields),
        )
        return list(answer.jobs)

    async def take(self, worker_id="w1", **fields) -> Any:
        """Claim one job that is there; return it."""
        (job,) = await self.dequeue(worker_id, **fields)
        return job

    async def job(self, job_id) -> Any:
        """Return a job, or None."""
        answer = await self.call("GetJob", pb.GetJobRequest(job_id=job_id))
        return answer.job if answer.HasField("job") else None

    def stream(self, worker_id="w1", *, queue_name="mail", lease=30) -> Any:
        """Open ``StreamJobs``."""
        return self.queue.StreamJobs(
            pb.StreamJobsRequest(
                queue_name=queue_name, worker_id=worker_id, lease_duration_secs=lease
            ),
            metadata=self.metadata,
        )


async def soon(awaitable: Awaitable[Any], *, at_most: float = 10.0) -> Any:
    """Return what comes within so many seconds."""
    return await asyncio.wait_for(awaitable, at_most)


async def asked(talk: Any, **request: Any) -> Any:
    """Ask in a conversation (``ProcessJobs``); return the answer."""
    await talk.write(pb.ProcessRequest(**request))
    return await soon(talk.read())


async def ended(stream: Any, status: str) -> str:
    """Read to the end, which must be *status*; return the details."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _drained(stream)
    assert caught.value.code().name == status, caught.value.details()
    return caught.value.details() or ""


async def _drained(stream: Any) -> None:
    while await soon(stream.read()) is not EOF:
        pass


def trailers(error: Any) -> dict[str, Any]:
    """Return what came after a refusal, by name."""
    return dict(error.trailing_metadata() or ())


@asynccontextmanager
async def open_grpc_api(
    port: int, api_key: str, *, header: str = "x-api-key"
) -> AsyncIterator[GrpcApi]:
    """Open a client that calls with *api_key*."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield GrpcApi(channel, ((header, api_key),))
