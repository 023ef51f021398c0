"""Questions about jobs and queues."""

from dataclasses import dataclass
from datetime import UTC, datetime

from libs.common.access import Principal
from libs.common.db import Pool, borrow
from libs.common.ids import parse_id
from libs.common.pb import spooled_pb2 as pb
from libs.common.store import jobs, tallies
from libs.common.store.tallies import Figures
from services.ingest.grpc import answers, checks


@dataclass(frozen=True, slots=True)
class Asking:
    """GetJob, GetQueueStats."""

    pool: Pool

    async def get_job(
        self, request: pb.GetJobRequest, principal: Principal
    ) -> pb.GetJobResponse:
        """Return a job, or nothing when there is none to be seen (D3)."""
        checks.require_job_id(request.job_id)
        found = parse_id(request.job_id)
        if found is None:
            return pb.GetJobResponse()
        async with borrow(self.pool) as conn:
            row = await jobs.read_job(
                conn, organization_id=principal.organization_id, job_id=found
            )
        if row is None or not principal.may(row["queue_name"]):
            return pb.GetJobResponse()
        return pb.GetJobResponse(job=answers.job(row))

    async def get_queue_stats(
        self, request: pb.GetQueueStatsRequest, principal: Principal
    ) -> pb.GetQueueStatsResponse:
        """Return how many jobs of a queue are where."""
        name = checks.queue_name(request.queue_name)
        principal.require(name)
        async with borrow(self.pool) as conn:
            standing = await tallies.of_queues(
                conn, organization_id=principal.organization_id, queue_names=[name]
            )
        figures = standing.get(name, Figures())
        return pb.GetQueueStatsResponse(
            queue_name=name,
            pending=figures.pending,
            scheduled=figures.scheduled_jobs,
            processing=figures.leased_jobs,
            completed=figures.completed_jobs,
            deadletter=figures.dead_jobs,
            total=figures.total,
            max_age_ms=figures.oldest_ready_ms(datetime.now(UTC)),
        )
