"""Streams: jobs pushed to a worker one by one, and a conversation on one connection.

``StreamJobs`` waits in `Claims`, which is woken when jobs become ready, and not by
asking the database.  It hands out one job at a time (`Hands`).  Who streams is looked
at again every two seconds, and at once when their organization changed.

A stream that ends gives back at once a job that was claimed for it and not sent.  Both
kinds end with ``UNAVAILABLE`` when this process drains.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from uuid import UUID

import grpc

from libs.common.access import Principal
from libs.common.errors import QuotaExceeded
from libs.common.loops import pause
from libs.common.messages import OrganizationChanged
from libs.common.pb import spooled_pb2 as pb
from services.ingest.claims import Claim
from services.ingest.grpc import answers
from services.ingest.grpc.admission import metadata_of
from services.ingest.grpc.behind import Behind
from services.ingest.grpc.errors import Draining, Refusal, attempted
from services.ingest.grpc.handing import Handing, unsent, unsent_message
from services.ingest.grpc.hands import Hands
from services.ingest.grpc.methods import Call, Reader
from services.ingest.grpc.racing import first
from services.ingest.grpc.working import Working, claim_of

#: How many ``StreamJobs`` an organization may have open here (contract 2.3).
STREAMS_MAX: Final = 100
_LOOK_AGAIN_SECONDS: Final = 2.0
_WAIT_SECONDS: Final = 30.0
_NO_JOBS: Final = pb.ProcessResponse(
    error=pb.ErrorResponse(code="NO_JOBS", message="No jobs available")
)
_EMPTY: Final = pb.ProcessResponse(
    error=pb.ErrorResponse(code="INVALID_REQUEST", message="Empty request")
)


class Streaming:
    """StreamJobs, ProcessJobs."""

    def __init__(
        self,
        behind: Behind,
        hands: Hands,
        handing: Handing,
        working: Working,
        stopping: asyncio.Event,
    ) -> None:
        self._bus = behind.bus
        self._admission = behind.admission
        self._claims = behind.claims
        self._hands = hands
        self._handing = handing
        self._working = working
        self._stopping = stopping
        self._open: Counter[UUID] = Counter()
        #: Set, and replaced, whenever an organization changed.
        self._changed = asyncio.Event()

    async def listen(self, stopping: asyncio.Event) -> None:
        """Look at who streams again when told of a change, until stopped (an actor)."""

        def changed(word: OrganizationChanged) -> None:
            # Whichever of the two listeners hears first.
            self._admission.keys.forget(word)
            self._changed.set()
            self._changed = asyncio.Event()

        await self._bus.hear(OrganizationChanged, changed, stopping=stopping)

    async def stream_jobs(self, request: pb.StreamJobsRequest, call: Call) -> None:
        """Hand out jobs until the client leaves."""
        claim = claim_of(request, call.principal, limit=1)
        with self._counted(call.principal):
            await first(
                self._hand_out(claim, call.context),
                self._keep_looking(claim, call),
                self._until_drained(),
            )

    async def process_jobs(self, call: Call) -> None:
        """Answer each request in order until the client has no more."""
        while True:
            request = await first(call.context.read(), self._until_drained())
            if request is grpc.aio.EOF:  # type: ignore[attr-defined]
                return
            principal = await attempted("ProcessJobs", self._again(call))
            if isinstance(principal, Refusal):
                await call.context.write(_error(principal))
                if principal.status is grpc.StatusCode.UNAUTHENTICATED:
                    await self._again(call)
                continue
            answer = await attempted(
                "ProcessJobs", self._answer(request, call.read, principal)
            )
            if isinstance(answer, Refusal):
                answer = _error(answer)
            async with self._handing.guard(unsent_message(answer.job)):
                await call.context.write(answer)

    async def _again(self, call: Call) -> Principal:
        return await self._admission.admit(call.context)

    async def _answer(
        self, said: bytes, read: Reader, principal: Principal
    ) -> pb.ProcessResponse:
        request, working = read(said), self._working
        match request.WhichOneof("request"):
            case "dequeue":
                request.dequeue.batch_size = 1
                found = await working.dequeue(request.dequeue, principal)
                return pb.ProcessResponse(job=found.jobs[0]) if found.jobs else _NO_JOBS
            case "complete":
                done = await working.complete(request.complete, principal)
                return pb.ProcessResponse(complete=done)
            case "fail":
                failed = await working.fail(request.fail, principal)
                return pb.ProcessResponse(fail=failed)
            case "renew_lease":
                renewed = await working.renew_lease(request.renew_lease, principal)
                return pb.ProcessResponse(renew_lease=renewed)
            case _:
                return _EMPTY

    async def _hand_out(self, claim: Claim, context: Any) -> None:
        """Send one job after the other; never returns."""
        while True:
            works = await self._claims.claim(claim, wait_seconds=_WAIT_SECONDS)
            for work in works:
                async with self._handing.guard(unsent(claim, [work])):
                    await context.write(answers.claimed(claim, work))
                await self._hands.until_free(work.job_id, work.lease_id)

    async def _keep_looking(self, claim: Claim, call: Call) -> None:
        """Raise `Unauthorized` or `Forbidden` when the caller may no longer."""
        while True:
            await pause(_LOOK_AGAIN_SECONDS, self._changed)
            metadata = metadata_of(call.context)
            principal = await self._admission.whoever(metadata)
            principal.require(claim.queue_name)

    async def _until_drained(self) -> None:
        await self._stopping.wait()
        raise Draining("stopping")

    @contextmanager
    def _counted(self, principal: Principal) -> Iterator[None]:
        """Count an open stream; raises `QuotaExceeded`."""
        organization = principal.organization_id
        if self._open[organization] >= STREAMS_MAX:
            raise QuotaExceeded(
                resource="job streams",
                current=STREAMS_MAX,
                limit=STREAMS_MAX,
                plan=principal.plan.tier,
                upgrade_to=None,
            )
        self._open[organization] += 1
        try:
            yield
        finally:
            self._open[organization] -= 1
            if not self._open[organization]:
                del self._open[organization]


def _error(refusal: Refusal) -> pb.ProcessResponse:
    return pb.ProcessResponse(error=answers.error(refusal))
