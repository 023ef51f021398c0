"""How an attempt ended, as Bellhop is told."""

import logging
from collections.abc import Mapping
from typing import Any, Final

from libs.common.pb import spooled_pb2 as pb
from libs.worker.jobs import Job
from libs.worker.structs import struct_of

log = logging.getLogger("bellhop.worker")

_RESULT_BYTES_MAX: Final = 1024 * 1024
_ERROR_CHARACTERS_MAX: Final = 4096

Completion = pb.CompleteBatchRequest.Item
Failure = pb.FailBatchRequest.Item
Ending = Completion | Failure


def completed(job: Job, result: Mapping[str, Any] | None) -> Ending:
    """Return a success, or the failure that a *result* is which cannot be told."""
    ending = Completion(job_id=job.id, lease_id=job.lease_id)
    if result is None:
        return ending
    try:
        ending.result.CopyFrom(
            struct_of(result, field="result", bytes_max=_RESULT_BYTES_MAX)
        )
    except (TypeError, ValueError, RecursionError) as error:
        return refused(job, str(error))
    return ending


def failed(
    job: Job, error: str, *, retry: bool = True, retry_after_seconds: float = 0.0
) -> Failure:
    """Return a failure; with *retry* it is tried again, no sooner than it says."""
    return Failure(
        job_id=job.id,
        lease_id=job.lease_id,
        error=error[:_ERROR_CHARACTERS_MAX],
        retry=retry,
        retry_after_seconds=retry_after_seconds,
    )


def refused(job: Job, why: str) -> Failure:
    """Return the failure of a job whose result nobody takes.

    It was worked on, and would be for nothing again: it becomes a dead letter at once.
    """
    log.error("job %s: result refused: %s", job.id, why)
    return failed(job, f"result refused: {why}", retry=False)
