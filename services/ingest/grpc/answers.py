"""Jobs as gRPC shows them."""

from enum import Enum, auto
from typing import Final

import orjson
from google.protobuf.struct_pb2 import Struct

from libs.common.db import Row
from libs.common.lifecycle import Status
from libs.common.pb import spooled_pb2 as pb
from libs.common.store.claims import ClaimedWork
from services.ingest.claims import Claim
from services.ingest.grpc.errors import Refusal
from services.ingest.grpc.sizes import JOB_BYTES_MAX
from services.ingest.grpc.structs import fill, stamp
from services.ingest.settlement import RESULT_BYTES_MAX

#: What gRPC calls a job's status; it has no word for expired.
_STATUSES: Final = {status: f"JOB_STATUS_{status.upper()}" for status in Status} | {
    Status.EXPIRED: "JOB_STATUS_CANCELLED"
}


class Fit(Enum):
    """How much of some JSON a `Struct` carries."""

    WHOLE = auto()
    #: All of it, but numbers beyond 2^53 may have become others.
    ROUNDED = auto()
    NOT = auto()


def claimed(claim: Claim, work: ClaimedWork) -> pb.Job:
    """Return a job that was just handed out."""
    job = pb.Job(
        id=str(work.job_id),
        organization_id=str(claim.organization_id),
        queue_name=work.queue_name,
        status=pb.JOB_STATUS_PROCESSING,
        retry_count=work.retry_count,
        max_retries=work.max_retries,
        priority=100 - work.rank,
        timeout_seconds=work.timeout_seconds,
        assigned_worker_id=claim.worker_id,
        idempotency_key=work.idempotency_key,
        lease_id=str(work.lease_id),
    )
    stamp(job.created_at, work.created_at)
    stamp(job.scheduled_at, work.scheduled_at)
    stamp(job.started_at, work.claimed_at)
    stamp(job.lease_expires_at, work.lease_expires_at)
    _put_payload(job, work.payload, room=_room(job))
    return job


def job(row: Row) -> pb.Job:
    """Return a job as it stands."""
    lease_id = row["lease_id"]
    found = pb.Job(
        id=str(row["id"]),
        organization_id=str(row["organization_id"]),
        queue_name=row["queue_name"],
        status=_STATUSES[row["status"]],
        retry_count=row["retry_count"],
        max_retries=row["max_retries"],
        last_error=row["last_error"],
        priority=100 - row["rank"],
        timeout_seconds=row["timeout_seconds"],
        assigned_worker_id=row["owner"],
        idempotency_key=row["idempotency_key"],
        lease_id=None if lease_id is None else str(lease_id),
    )
    stamp(found.created_at, row["created_at"])
    stamp(found.scheduled_at, row["run_at"])
    stamp(found.started_at, row["started_at"] or row["claimed_at"])
    stamp(found.completed_at, row["settled_at"])
    stamp(found.lease_expires_at, row["deadline"])
    # A message may be forgotten before its deliveries are.
    payload = row["payload"] or row["message_payload"] or "{}"
    result = row["result"]
    # Whatever the payload takes up, the result fits as JSON.
    kept = 0 if result is None else RESULT_BYTES_MAX
    _put_payload(found, payload, room=_room(found) - kept)
    if result is not None:
        _put_result(found, result, room=_room(found))
    return found


def error(refusal: Refusal) -> pb.ErrorResponse:
    """Return what is wrong with one of many."""
    return pb.ErrorResponse(code=refusal.code, message=refusal.message)


def _room(job: pb.Job) -> int:
    """Return how many bytes there are for what *job* does not hold yet."""
    return JOB_BYTES_MAX - job.ByteSize()


def _put_payload(job: pb.Job, spelled: str, *, room: int) -> None:
    """Put the payload where it fits; the `Struct` is always there."""
    fit = _fit(job.payload, spelled, room=room)
    if fit is Fit.NOT:
        job.payload.Clear()
        job.payload.SetInParent()
    if fit is not Fit.WHOLE:
        job.payload_json = spelled


def _put_result(job: pb.Job, spelled: str, *, room: int) -> None:
    """Put the result where it fits."""
    fit = _fit(job.result, spelled, room=room)
    if fit is Fit.NOT:
        job.ClearField("result")
    if fit is not Fit.WHOLE:
        job.result_json = spelled


def _fit(struct: Struct, spelled: str, *, room: int) -> Fit:
    """Put JSON into *struct*, and return how much of it can be sent there.

    What is to stand beside the JSON must leave room for it.
    """
    data = orjson.loads(spelled)
    if not isinstance(data, dict):
        return Fit.NOT
    try:
        exact = fill(struct, data)
    except RecursionError:
        return Fit.NOT
    if exact:
        return Fit.WHOLE if struct.ByteSize() <= room else Fit.NOT
    both = struct.ByteSize() + len(spelled.encode())
    return Fit.ROUNDED if both <= room else Fit.NOT
