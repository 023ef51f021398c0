"""Fields of requests, checked as REST does; proto3's zero is "not said" (D22)."""

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from math import isfinite
from typing import Any, Final, TypeVar
from uuid import UUID

from google.protobuf.struct_pb2 import Struct
from pydantic import TypeAdapter, ValidationError

from libs.common.backoff import DELAY_SECONDS_MAX
from libs.common.errors import Fault, Malformed, NotFound
from libs.common.ids import parse_id
from libs.common.pb import spooled_pb2 as pb
from services.ingest.grpc.structs import to_json, to_moment
from services.ingest.requests.checking import checked, malformed
from services.ingest.requests.fields import QueueName
from services.ingest.requests.jobs import CreateJob

BATCH_MAX: Final = 1000
CLAIM_MAX: Final = 100
WAIT_SECONDS_MAX: Final = 30.0
LEASE_SECONDS: Final = 300
_LEASE_SECONDS_MIN: Final = 5
_LEASE_SECONDS_MAX: Final = 3600
_WORKER_ID_MAX: Final = 255
_ERROR_MAX: Final = 4096
_CUT: Final = "... [truncated]"
_HOSTNAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")

_QUEUE_NAME: Final[TypeAdapter[str]] = TypeAdapter(QueueName)

Item = TypeVar("Item")


def queue_name(given: str) -> str:
    """Return the name of a queue; raises `Malformed`."""
    try:
        return _QUEUE_NAME.validate_python(given)
    except ValidationError as error:
        raise malformed(error, within="queue_name") from error


def worker_id(given: str) -> str:
    """Return who works; raises `Malformed`."""
    if not given:
        raise Malformed(Fault("worker_id", "Worker ID is required", "missing"))
    if len(given) > _WORKER_ID_MAX or "\x00" in given:
        raise Malformed(
            Fault("worker_id", "Worker ID must be at most 255 characters, no NUL")
        )
    return given


def require_job_id(given: str) -> None:
    """Raise `Malformed` for none."""
    if not given:
        raise Malformed(Fault("job_id", "Job ID is required", "missing"))


def job_id(given: str) -> UUID:
    """Return a job's id; raises `Malformed` for none, `NotFound` for what is no id."""
    require_job_id(given)
    found = parse_id(given)
    if found is None:
        raise NotFound("Job not found")
    return found


def lease(given: int) -> timedelta:
    """Return for how long to lease."""
    seconds = given if given > 0 else LEASE_SECONDS
    return timedelta(seconds=max(_LEASE_SECONDS_MIN, min(seconds, _LEASE_SECONDS_MAX)))


def wait_seconds(given: float) -> float:
    """Return how long to wait for a job."""
    return max(0.0, min(given, WAIT_SECONDS_MAX)) if isfinite(given) else 0.0


def retry_after_seconds(given: float) -> float:
    """Return how long a job that failed is to wait at least."""
    return max(0.0, min(given, DELAY_SECONDS_MAX)) if isfinite(given) else 0.0


def result(given: Struct) -> str:
    """Return what a job came to, as JSON; raises `Malformed`."""
    return to_json(given, field="result")[1].decode()


def error(given: str) -> str:
    """Return what went wrong with a job, cut to what is kept."""
    if len(given) > _ERROR_MAX:
        given = given[: _ERROR_MAX - len(_CUT)] + _CUT
    return given.replace("\x00", "\N{REPLACEMENT CHARACTER}") or "no error was given"


def hostname(given: str) -> str:
    """Return where somebody works; raises `Malformed` (contract 2.3)."""
    if not _HOSTNAME.fullmatch(given):
        raise Malformed(
            Fault(
                "hostname",
                "Hostname can only contain alphanumeric characters, dots, dashes and "
                "underscores, and not start with a dot or dash",
                "pattern",
            )
        )
    return given


def items(given: Sequence[Item]) -> Sequence[Item]:
    """Return a batch's items; raises `Malformed` for too many, or none."""
    if not 1 <= len(given) <= BATCH_MAX:
        raise Malformed(Fault("items", f"must be 1 to {BATCH_MAX}", "length"))
    return given


def job(
    name: str, asked: pb.EnqueueRequest | pb.EnqueueItem
) -> tuple[CreateJob, bytes]:
    """Return a job to create and its payload as JSON; raises `Malformed`."""
    payload, spelled = to_json(asked.payload, field="payload")
    data: dict[str, Any] = {"queue_name": name, "payload": payload}
    if asked.priority:
        data["priority"] = asked.priority
    if asked.max_retries > 0:
        data["max_retries"] = asked.max_retries
    if asked.timeout_seconds > 0:
        data["timeout_seconds"] = asked.timeout_seconds
    if asked.HasField("scheduled_at"):
        data["scheduled_at"] = to_moment(asked.scheduled_at, field="scheduled_at")
    if asked.idempotency_key:
        data["idempotency_key"] = asked.idempotency_key
    if asked.concurrency_key:
        data["concurrency_key"] = asked.concurrency_key
    if asked.ordering_key:
        data["ordering_key"] = asked.ordering_key
    if asked.HasField("target"):
        data["target"] = _target(asked.target)
    if asked.tags:
        data["tags"] = texts(asked.tags)
    return checked(CreateJob, data), spelled


def _target(given: pb.Target) -> dict[str, Any]:
    data: dict[str, Any] = {
        name: value
        for name, value in (
            ("url", given.url),
            ("endpoint_id", given.endpoint_id),
            ("method", given.method),
            ("headers", texts(given.headers)),
            ("timeout_seconds", given.timeout_seconds),
        )
        if value
    }
    return data


def texts(given: Mapping[str, str]) -> dict[str, str]:
    """Return a map as a plain object."""
    return dict(given.items())
