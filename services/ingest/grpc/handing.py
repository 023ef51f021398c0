"""Jobs on their way into a worker's hands: what is not sent is given back.

A lease is taken before it is known whether its job can be sent.  What does not fit the
answer, and everything when the answer comes to nothing, becomes ready again and is
charged no retry.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from uuid import UUID

from libs.common.errors import Transient
from libs.common.pb import spooled_pb2 as pb
from libs.common.store.claims import ClaimedWork
from services.ingest.claims import Claim
from services.ingest.grpc import answers
from services.ingest.grpc.sizes import FRAME_BYTES, JOB_BYTES_MAX
from services.ingest.settlement import Ended, Settlement


@dataclass(frozen=True, slots=True)
class Handing:
    """Hands claimed jobs over, and takes back what could not be."""

    settlement: Settlement

    async def as_many_as_fit(
        self, claim: Claim, works: Sequence[ClaimedWork]
    ) -> list[pb.Job]:
        """Return the first of *works*, as many as one answer can carry."""
        async with self.guard(unsent(claim, works)):
            jobs: list[pb.Job] = []
            room = JOB_BYTES_MAX
            for work in works:
                job = answers.claimed(claim, work)
                room -= job.ByteSize() + FRAME_BYTES
                if jobs and room < 0:
                    break
                jobs.append(job)
            await self._give_back(unsent(claim, works[len(jobs) :]))
        return jobs

    @asynccontextmanager
    async def guard(self, jobs: Sequence[Ended]) -> AsyncIterator[None]:
        """Give *jobs* back when the block, which sends them, raises or is cancelled."""
        sent = False
        try:
            yield
            sent = True
        finally:
            if not sent:
                await self._give_back(jobs)

    async def _give_back(self, jobs: Sequence[Ended]) -> None:
        """Make jobs ready again that nobody got; what fails here the leases mend."""
        with suppress(Transient):
            await self.settlement.give_back(jobs)


def unsent(claim: Claim, works: Sequence[ClaimedWork]) -> list[Ended]:
    """Return claimed jobs as what is to be given back."""
    return [
        Ended(
            organization_id=claim.organization_id,
            queues=None,
            job_id=work.job_id,
            worker_id=claim.worker_id,
            lease_id=str(work.lease_id),
        )
        for work in works
    ]


def unsent_message(job: pb.Job) -> list[Ended]:
    """Return the same of a job that is a message already; of an empty one, nothing."""
    if not job.id:
        return []
    return [
        Ended(
            organization_id=UUID(job.organization_id),
            queues=None,
            job_id=UUID(job.id),
            worker_id=job.assigned_worker_id,
            lease_id=job.lease_id,
        )
    ]
