"""What goes wrong, as gRPC says it: a status and its details (contract 2.3).

The details are words that clients go by.  ``ProcessJobs`` and the batches say the same
in-band, with a code of their own.
"""

import asyncio
import math
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, NoReturn, TypeVar

import grpc
import structlog
from prometheus_client import Counter, Histogram

from libs.common import tracing
from libs.common.errors import (
    BellhopError,
    Conflict,
    Fault,
    Forbidden,
    LeaseExpired,
    Malformed,
    NotFound,
    QuotaExceeded,
    RateLimited,
    Rejected,
    TooLarge,
    Transient,
    Unauthorized,
    Unavailable,
)

log = structlog.get_logger()

CALLS: Final = Counter(
    "bellhop_grpc_calls_total", "gRPC calls that ended.", ["method", "code"]
)
DURATION: Final = Histogram(
    "bellhop_grpc_call_duration_seconds",
    "From the whole request to the end of the call; streams are not counted here.",
    ["method"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 30),
)

T = TypeVar("T")
Context = grpc.aio.ServicerContext[Any, Any]
Status = grpc.StatusCode


class AlreadyExists(Conflict):
    """The name is taken by somebody else."""


class Draining(Unavailable):
    """This process is about to stop: another one, or this one again, will serve."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error in gRPC's words; *code* is what is said in-band."""

    status: grpc.StatusCode
    code: str
    message: str
    retry_after_seconds: int | None = None


#: Of a whole class of errors: status, code in-band; the first that fits.
_KINDS: Final[tuple[tuple[type[BellhopError], grpc.StatusCode, str], ...]] = (
    (Malformed, Status.INVALID_ARGUMENT, "INVALID_ARGUMENT"),
    (Unauthorized, Status.UNAUTHENTICATED, "UNAUTHENTICATED"),
    (Forbidden, Status.PERMISSION_DENIED, "PERMISSION_DENIED"),
    (NotFound, Status.NOT_FOUND, "NOT_FOUND"),
    (LeaseExpired, Status.FAILED_PRECONDITION, "LEASE_EXPIRED"),
    (AlreadyExists, Status.ALREADY_EXISTS, "ALREADY_EXISTS"),
    (Conflict, Status.FAILED_PRECONDITION, "CONFLICT"),
    (TooLarge, Status.RESOURCE_EXHAUSTED, "PAYLOAD_TOO_LARGE"),
    (QuotaExceeded, Status.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED"),
    (RateLimited, Status.RESOURCE_EXHAUSTED, "RATE_LIMIT_EXCEEDED"),
    (Rejected, Status.FAILED_PRECONDITION, "REJECTED"),
    (Transient, Status.UNAVAILABLE, "UNAVAILABLE"),
)
_CRASHED: Final = Refusal(
    Status.INTERNAL, "INTERNAL", "An internal error occurred; it was logged"
)


def refused(error: BellhopError) -> Refusal:
    """Return *error* in gRPC's words."""
    status, code = next(
        (status, code) for kind, status, code in _KINDS if isinstance(error, kind)
    )
    retry_after = None
    if isinstance(error, RateLimited):
        retry_after = max(1, math.ceil(error.retry_after_seconds))
    return Refusal(status, code, _words(error), retry_after)


async def attempted(method: str, work: Awaitable[T]) -> T | Refusal:
    """Return what *work* returns, or why it could not; a bug ends here, logged."""
    try:
        return await work
    except BellhopError as error:
        return refused(error)
    except Exception:
        # A bug must not take the neighbours along: here a call ends.
        log.exception("call.crashed", method=method)
        return _CRASHED


async def answered(
    method: str, context: Context, work: Awaitable[T], *, timed: bool
) -> T:
    """Return what *work* returns; what goes wrong ends the call with its status.

    Counts the call; a call that its client gave up is counted as ``CANCELLED``.
    """
    started = time.perf_counter()
    try:
        with tracing.serving(method, _headers(context)):
            answer = await attempted(method, work)
    except asyncio.CancelledError:
        CALLS.labels(method, Status.CANCELLED.name).inc()
        raise
    if timed:
        _duration_of(method).observe(time.perf_counter() - started)
    if isinstance(answer, Refusal):
        CALLS.labels(method, answer.status.name).inc()
        await _end(context, answer)
    _successes_of(method).inc()
    return answer


def _headers(context: Context) -> dict[str, str]:
    if not tracing.is_on():
        return {}
    metadata = context.invocation_metadata() or ()
    return {key: text for key, text in metadata if isinstance(text, str)}


# Finding one of many takes as long as counting on it: once a method is enough.


@cache
def _duration_of(method: str) -> Histogram:
    return DURATION.labels(method)


@cache
def _successes_of(method: str) -> Counter:
    return CALLS.labels(method, Status.OK.name)


async def _end(context: Context, refusal: Refusal) -> NoReturn:
    """End the call; how long to wait is told where clients look for it."""
    trailer: tuple[tuple[str, str], ...] = ()
    if refusal.retry_after_seconds is not None:
        trailer = (("retry-after", str(refusal.retry_after_seconds)),)
    await context.abort(refusal.status, refusal.message, trailer)
    raise AssertionError("an aborted call does not go on")


def _words(error: BellhopError) -> str:
    match error:
        case Malformed():
            return "; ".join(_names_its_field(fault) for fault in error.faults)
        case NotFound():
            return "Job not found or not authorized"
        case LeaseExpired() if "does not match" not in str(error):
            return "Lease expired"
        case Draining():
            return "The server is shutting down"
        case Transient():
            return "Temporarily unavailable, please try again"
        case _:
            return str(error)


def _names_its_field(fault: Fault) -> str:
    """Return the message, after the field unless it says "Queue name" by itself."""
    spoken = fault.field.replace("_", " ")
    named = spoken in fault.message.lower()
    return fault.message if named else f"{fault.field}: {fault.message}"
