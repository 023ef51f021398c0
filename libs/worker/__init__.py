"""The worker kit: what a Python program needs to work on Bellhop's jobs, over gRPC.

::

    worker = Worker("http://127.0.0.1:50051", api_key)

    @worker.handler("mail", concurrency=8)
    async def send(job: Job) -> dict[str, Any]:
        return {"sent": await deliver(job.payload["to"])}

    worker.main()

It claims what there is room for, keeps the leases while handlers work, settles in
batches, and drains on SIGTERM.  A convenience: the API stays the contract, and nothing
here knows of Bellhop more than `proto/` does.  docs/workers.md has the rest.
"""

from libs.worker.connection import Refused, Unreachable
from libs.worker.jobs import Fatal, Job, Retry, current_job
from libs.worker.producer import Enqueued, NewJob, Producer
from libs.worker.worker import Worker

__all__ = [
    "Enqueued",
    "Fatal",
    "Job",
    "NewJob",
    "Producer",
    "Refused",
    "Retry",
    "Unreachable",
    "Worker",
    "current_job",
]
