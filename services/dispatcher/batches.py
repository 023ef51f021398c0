"""What a pod is told of a batch: requests, receivers, secrets (pure)."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import msgspec
import orjson

from libs.common.messages import NULL, AttemptDeliveries, Delivery, Receiver, SealedKey
from libs.common.store.claims import Claimed
from libs.common.store.completions import Signing
from libs.common.store.receivers import Configured

#: Bodies that share a message, together.
_BODIES_BYTES_MAX: Final = 2 * 1024 * 1024
#: What a message needs beside its bodies, at the most: 64 jobs with all their headers.
_ENVELOPE_BYTES: Final = 768 * 1024
_TIMEOUT_SECONDS: Final = 15.0


def batch(
    jobs: Sequence[Claimed],
    *,
    dispatcher: str,
    lease_seconds: float,
    sent_at: float,
    secrets: Mapping[UUID, list[bytes]],
    endpoints: Mapping[UUID, Configured],
    completions: Mapping[UUID, Signing],
    message_bytes_max: int,
) -> AttemptDeliveries:
    """Return the message that carries *jobs*, which are all under one lease.

    *secrets* are those of organizations whose jobs go to a URL, *endpoints* those that
    the others go to, *completions* what signs those jobs that tell the end of another.
    """
    receivers = {
        str(id_): endpoints[id_].receiver(now=datetime.now(UTC))
        for id_ in {job.endpoint_id for job in jobs if job.endpoint_id is not None}
    }
    receivers |= {
        str(end.completion_of): _receiver_of_end(end)
        for job in jobs
        if (end := completions.get(job.job_id)) is not None
    }
    room = message_bytes_max - _ENVELOPE_BYTES - _bytes_of(receivers)
    return AttemptDeliveries(
        lease_id=str(jobs[0].lease_id),
        dispatcher=dispatcher,
        lease_seconds=lease_seconds,
        sent_at=sent_at,
        secrets={
            str(id_): secrets[id_]
            for id_ in {job.organization_id for job in jobs if job.endpoint_id is None}
        },
        receivers=receivers,
        jobs=list(
            _deliveries(
                jobs,
                endpoints=endpoints,
                completions=completions,
                room=min(_BODIES_BYTES_MAX, room),
            )
        ),
    )


def _receiver_of_end(end: Signing) -> Receiver:
    """Return how the end of a job is told: as outgoing webhooks tell (contract 5.7)."""
    keys = (
        [] if end.sealed is None else [SealedKey(scheme="contract", sealed=end.sealed)]
    )
    return Receiver(style="contract", keys=keys)


def _receiver_id(job: Claimed, completions: Mapping[UUID, Signing]) -> str | None:
    """Return under which id a job's receiver is in the batch."""
    end = completions.get(job.job_id)
    id_ = job.endpoint_id if end is None else end.completion_of
    return None if id_ is None else str(id_)


def _bytes_of(receivers: Mapping[str, Receiver]) -> int:
    return len(msgspec.json.encode(receivers)) if receivers else 0


def _deliveries(
    jobs: Iterable[Claimed],
    *,
    endpoints: Mapping[UUID, Configured],
    completions: Mapping[UUID, Signing],
    room: int,
) -> Iterable[Delivery]:
    """Return what a pod needs of each job; bodies while there is *room* (bytes)."""
    for job in jobs:
        body = job.payload
        if body is not None and job.payload_bytes <= room:
            room -= job.payload_bytes
            raw = msgspec.Raw(body.encode())
        else:
            raw = NULL
        url, method, timeout_seconds = _request(job, endpoints)
        yield Delivery(
            job_id=str(job.job_id),
            webhook_id=job.webhook_id,
            endpoint_id=_receiver_id(job, completions),
            url_version=(
                endpoints[job.endpoint_id].url_version
                if job.endpoint_id is not None
                else 0
            ),
            organization_id=str(job.organization_id),
            attempt=job.attempt,
            url=url,
            method=method,
            headers=orjson.loads(job.target_headers) if job.target_headers else {},
            timeout_seconds=timeout_seconds,
            body_bytes=job.payload_bytes,
            body=raw,
            body_digest=job.payload_digest or "",
        )


def _request(
    job: Claimed, endpoints: Mapping[UUID, Configured]
) -> tuple[str, str, float]:
    """Return URL, method and time-out (seconds)."""
    if job.endpoint_id is not None:
        endpoint = endpoints[job.endpoint_id]
        return endpoint.url, "POST", endpoint.timeout_seconds
    # All or none, says the schema.  Without a target it is an attempt that fails.
    return (
        job.target_url or "",
        job.target_method or "POST",
        job.target_timeout_seconds or _TIMEOUT_SECONDS,
    )
