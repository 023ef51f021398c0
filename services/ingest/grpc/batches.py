"""What workers call for many jobs at once: each is answered for itself."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from libs.common.access import Principal
from libs.common.errors import BellhopError, Malformed, NotFound
from libs.common.pb import spooled_pb2 as pb
from services.ingest.grpc import answers, checks
from services.ingest.grpc.errors import Refusal, attempted, refused
from services.ingest.grpc.structs import stamp
from services.ingest.grpc.working import completed, failed, renewal
from services.ingest.heartbeats import Heartbeats
from services.ingest.settlement import Ended, Outcome, Settlement

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Batches:
    """CompleteBatch, FailBatch, RenewLeases."""

    settlement: Settlement
    heartbeats: Heartbeats

    async def complete_batch(
        self, request: pb.CompleteBatchRequest, principal: Principal
    ) -> pb.CompleteBatchResponse:
        """Settle many jobs as completed."""
        worker = checks.worker_id(request.worker_id)
        outcomes = await self._settle(
            checks.items(request.items), lambda item: completed(principal, worker, item)
        )
        response = pb.CompleteBatchResponse()
        for outcome in outcomes:
            place = response.items.add()
            if isinstance(outcome, BellhopError):
                place.error.CopyFrom(answers.error(refused(outcome)))
            else:
                place.success = True
        return response

    async def fail_batch(
        self, request: pb.FailBatchRequest, principal: Principal
    ) -> pb.FailBatchResponse:
        """Settle many jobs as failed."""
        worker = checks.worker_id(request.worker_id)
        outcomes = await self._settle(
            checks.items(request.items), lambda item: failed(principal, worker, item)
        )
        response = pb.FailBatchResponse()
        for outcome in outcomes:
            place = response.items.add()
            if isinstance(outcome, BellhopError):
                place.error.CopyFrom(answers.error(refused(outcome)))
            else:
                place.success = True
                place.will_retry = outcome.how == "retrying"
                place.next_retry_delay_secs = int(outcome.delay_seconds or 0)
        return response

    async def renew_leases(
        self, request: pb.RenewLeasesRequest, principal: Principal
    ) -> pb.RenewLeasesResponse:
        """Set many leases to end a while from now; they share their statements."""
        worker = checks.worker_id(request.worker_id)

        async def renew(item: pb.RenewLeasesRequest.Item) -> datetime:
            return await self.heartbeats.renew(
                renewal(principal, worker, item, request.extension_secs)
            )

        renewed = await asyncio.gather(
            *(
                attempted("RenewLeases", renew(item))
                for item in checks.items(request.items)
            )
        )
        response = pb.RenewLeasesResponse()
        for one in renewed:
            place = response.items.add()
            if isinstance(one, Refusal):
                place.error.CopyFrom(answers.error(one))
            else:
                place.success = True
                stamp(place.new_expires_at, one)
        return response

    async def _settle(
        self, items: Sequence[Item], read: Callable[[Item], Ended]
    ) -> list[Outcome | BellhopError]:
        """Settle what can be read; the others have what is wrong with them."""
        outcomes: list[Outcome | BellhopError | None] = []
        told: list[Ended] = []
        for item in items:
            try:
                told.append(read(item))
                outcomes.append(None)
            except (Malformed, NotFound) as error:
                outcomes.append(error)
        settled = iter(await self.settlement.settle_all(told))
        return [next(settled) if one is None else one for one in outcomes]
