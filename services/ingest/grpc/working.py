"""What workers call: jobs out, and how they ended."""

from dataclasses import dataclass

from libs.common.access import Principal
from libs.common.errors import NotFound
from libs.common.pb import spooled_pb2 as pb
from services.ingest.claims import Claim, Claims
from services.ingest.grpc import checks
from services.ingest.grpc.handing import Handing
from services.ingest.grpc.structs import stamp
from services.ingest.heartbeats import Heartbeats, Renewal
from services.ingest.settlement import Ended, Settlement


@dataclass(frozen=True, slots=True)
class Working:
    """Dequeue, Complete, Fail, RenewLease."""

    claims: Claims
    settlement: Settlement
    heartbeats: Heartbeats
    handing: Handing

    async def dequeue(
        self, request: pb.DequeueRequest, principal: Principal
    ) -> pb.DequeueResponse:
        """Lease jobs to a worker, as many as fit; waits for the first when asked to."""
        size = max(1, min(request.batch_size, checks.CLAIM_MAX))
        wanted = claim_of(request, principal, limit=size)
        works = await self.claims.claim(
            wanted, wait_seconds=checks.wait_seconds(request.wait_seconds)
        )
        return pb.DequeueResponse(jobs=await self.handing.as_many_as_fit(wanted, works))

    async def complete(
        self, request: pb.CompleteRequest, principal: Principal
    ) -> pb.CompleteResponse:
        """Settle a job as completed."""
        await self.settlement.settle(completed(principal, request.worker_id, request))
        return pb.CompleteResponse(success=True)

    async def fail(
        self, request: pb.FailRequest, principal: Principal
    ) -> pb.FailResponse:
        """Settle a job as failed: it is tried again later, or dead."""
        outcome = await self.settlement.settle(
            failed(principal, request.worker_id, request)
        )
        return pb.FailResponse(
            success=True,
            will_retry=outcome.how == "retrying",
            next_retry_delay_secs=int(outcome.delay_seconds or 0),
        )

    async def renew_lease(
        self, request: pb.RenewLeaseRequest, principal: Principal
    ) -> pb.RenewLeaseResponse:
        """Set a lease to end a while from now.

        Whose job it is not hears so in the answer when it names no lease (D4).
        """
        response = pb.RenewLeaseResponse()
        try:
            expires_at = await self.heartbeats.renew(
                renewal(principal, request.worker_id, request, request.extension_secs)
            )
        except NotFound:
            if request.lease_id:
                raise
            return response
        response.success = True
        stamp(response.new_expires_at, expires_at)
        return response


def claim_of(
    request: pb.DequeueRequest | pb.StreamJobsRequest,
    principal: Principal,
    *,
    limit: int,
) -> Claim:
    """Return a checked claim; raises `Malformed`, `Forbidden`."""
    name = checks.queue_name(request.queue_name)
    principal.require(name)
    return Claim(
        organization_id=principal.organization_id,
        queue_name=name,
        worker_id=checks.worker_id(request.worker_id),
        limit=limit,
        lease=checks.lease(request.lease_duration_secs),
    )


def completed(
    principal: Principal,
    worker_id: str,
    told: pb.CompleteRequest | pb.CompleteBatchRequest.Item,
) -> Ended:
    """Return a checked success; raises `Malformed`, `NotFound`."""
    return Ended(
        organization_id=principal.organization_id,
        queues=principal.scope,
        job_id=checks.job_id(told.job_id),
        worker_id=checks.worker_id(worker_id),
        lease_id=told.lease_id or None,
        result=checks.result(told.result) if told.HasField("result") else None,
        error=None,
    )


def failed(
    principal: Principal,
    worker_id: str,
    told: pb.FailRequest | pb.FailBatchRequest.Item,
) -> Ended:
    """Return a checked failure; raises `Malformed`, `NotFound`."""
    return Ended(
        organization_id=principal.organization_id,
        queues=principal.scope,
        job_id=checks.job_id(told.job_id),
        worker_id=checks.worker_id(worker_id),
        lease_id=told.lease_id or None,
        result=None,
        error=checks.error(told.error),
        # Only who says false gives up (D22).
        retry=told.retry or not told.HasField("retry"),
        retry_after_seconds=checks.retry_after_seconds(told.retry_after_seconds),
    )


def renewal(
    principal: Principal,
    worker_id: str,
    told: pb.RenewLeaseRequest | pb.RenewLeasesRequest.Item,
    extension_seconds: int,
) -> Renewal:
    """Return a checked renewal; raises `Malformed`, `NotFound`."""
    return Renewal(
        organization_id=principal.organization_id,
        queues=principal.scope,
        job_id=checks.job_id(told.job_id),
        worker_id=checks.worker_id(worker_id),
        lease_id=told.lease_id or None,
        lease=checks.lease(extension_seconds),
    )
