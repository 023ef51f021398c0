"""What producers call: jobs in, one or many."""

from dataclasses import dataclass

from libs.common.access import Principal
from libs.common.errors import BellhopError, Malformed
from libs.common.pb import spooled_pb2 as pb
from services.ingest.grpc import answers, checks
from services.ingest.grpc.errors import refused
from services.ingest.intake import Intake
from services.ingest.producing import Producing as Door
from services.ingest.wanted import Wanted


@dataclass(frozen=True, slots=True)
class Producing:
    """Enqueue, EnqueueBatch."""

    intake: Intake
    door: Door

    async def enqueue(
        self, request: pb.EnqueueRequest, principal: Principal
    ) -> pb.EnqueueResponse:
        """Create a job; answered when it is committed."""
        made = await self.intake.create(
            await self._wanted(principal, request.queue_name, request), source="grpc"
        )
        return pb.EnqueueResponse(job_id=str(made.job_id), created=made.created)

    async def enqueue_batch(
        self, request: pb.EnqueueBatchRequest, principal: Principal
    ) -> pb.EnqueueBatchResponse:
        """Create many jobs; what is wrong with one is said in its place.

        A quota that does not hold them all refuses the call, as in REST.
        """
        name = checks.queue_name(request.queue_name)
        principal.require(name)
        response = pb.EnqueueBatchResponse()
        ready: list[Wanted] = []
        places: list[pb.EnqueueBatchResponse.Item] = []
        for item in checks.items(request.items):
            place = response.items.add()
            try:
                ready.append(await self._wanted(principal, name, item))
            except BellhopError as error:
                place.error.CopyFrom(answers.error(refused(error)))
            else:
                places.append(place)
        made = await self.intake.create_all(ready, source="grpc")
        for place, one in zip(places, made, strict=True):
            if isinstance(one, Malformed):
                place.error.CopyFrom(answers.error(refused(one)))
            else:
                place.job_id = str(one.job_id)
                place.created = one.created
        return response

    async def _wanted(
        self, principal: Principal, name: str, asked: pb.EnqueueRequest | pb.EnqueueItem
    ) -> Wanted:
        request, payload = checks.job(name, asked)
        return await self.door.wanted_with(principal, request, payload)
