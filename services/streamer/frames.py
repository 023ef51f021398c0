"""What a watcher is told of a transition, in the contract's words (pure).

The bus speaks of transitions (``lifecycle``), the contract of `Kind`s of frame
(contract 3.1) and of statuses (contract 4.1).  `TOLD` and `STATUSES` are the whole
translation.  A frame is ``{"type": …, "data": {…, "timestamp": …}}``, and carries the
event's id, so that a client knows how far it has seen.

A frame is encoded once, for however many watchers take it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

import msgspec

from libs.common.lifecycle import Place, Status, Transition
from libs.common.messages import JobChanged

CONNECTED: Final = b": connected\n\n"
PING: Final = b": ping\n\n"


class Kind(StrEnum):
    """The kinds of frame; `NAMES` has what filters and named frames call them."""

    JOB_CREATED = "JobCreated"
    JOB_STATUS_CHANGE = "JobStatusChange"
    JOB_COMPLETED = "JobCompleted"
    JOB_FAILED = "JobFailed"
    SYSTEM_HEALTH = "SystemHealth"
    ERROR = "Error"


NAMES: Final[Mapping[Kind, str]] = MappingProxyType(
    {
        Kind.JOB_CREATED: "job.created",
        Kind.JOB_STATUS_CHANGE: "job.status",
        Kind.JOB_COMPLETED: "job.completed",
        Kind.JOB_FAILED: "job.failed",
        Kind.SYSTEM_HEALTH: "system.health",
        Kind.ERROR: "error",
    }
)

_CHANGE: Final = (Kind.JOB_STATUS_CHANGE,)
_FAILURE: Final = (Kind.JOB_STATUS_CHANGE, Kind.JOB_FAILED)

#: transition → the frames it becomes, in this order.
TOLD: Final[Mapping[Transition, tuple[Kind, ...]]] = MappingProxyType(
    {
        Transition.CREATED: (Kind.JOB_CREATED,),
        Transition.DUE: _CHANGE,
        Transition.HELD: (),
        Transition.BLOCKED: _CHANGE,
        Transition.UNBLOCKED: _CHANGE,
        # The contract has no word for a job that is no more, or that is what it was.
        Transition.REPRIORITIZED: (),
        Transition.STARTED: _CHANGE,
        Transition.COMPLETED: (Kind.JOB_STATUS_CHANGE, Kind.JOB_COMPLETED),
        Transition.RETRYING: _FAILURE,
        Transition.DEADLETTERED: _FAILURE,
        Transition.RELEASED: _CHANGE,
        Transition.RECOVERED: _CHANGE,
        Transition.QUARANTINED: _FAILURE,
        Transition.CANCELLED: _CHANGE,
        Transition.EXPIRED: _CHANGE,
        Transition.REQUEUED: _CHANGE,
        Transition.PURGED: (),
    }
)

#: transition → (old, new).  A status of None depends on where the job stood, or stands:
#: the transition's details tell, see `_old_status` and `_new_status`.
STATUSES: Final[Mapping[Transition, tuple[Status | None, Status | None]]] = (
    MappingProxyType(
        {
            Transition.DUE: (None, Status.PENDING),
            Transition.BLOCKED: (None, Status.PENDING),
            Transition.UNBLOCKED: (Status.PENDING, None),
            Transition.STARTED: (Status.PENDING, Status.PROCESSING),
            Transition.COMPLETED: (Status.PROCESSING, Status.COMPLETED),
            Transition.RETRYING: (Status.PROCESSING, Status.PENDING),
            Transition.DEADLETTERED: (Status.PROCESSING, Status.DEADLETTER),
            Transition.RELEASED: (Status.PROCESSING, Status.PENDING),
            Transition.RECOVERED: (Status.PROCESSING, Status.PENDING),
            Transition.QUARANTINED: (Status.PROCESSING, Status.DEADLETTER),
            Transition.CANCELLED: (None, Status.CANCELLED),
            Transition.EXPIRED: (None, Status.EXPIRED),
            Transition.REQUEUED: (None, Status.PENDING),
        }
    )
)


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame, ready for the wire in both framings (decision D14)."""

    name: str
    unnamed: bytes
    named: bytes


def frames_of(changed: JobChanged) -> tuple[Frame, ...]:
    """Return what to tell of *changed*: nothing for a transition of tomorrow."""
    try:
        transition = changed.transition
    except ValueError:
        return ()
    details = _details_of(changed)
    return tuple(
        encode(kind, _data_of(kind, changed, transition, details), id_=changed.id)
        for kind in TOLD[transition]
    )


def system_health(*, database: bool, bus: bool) -> Frame:
    """Return how the house is; ``redis`` is what clients call the bus."""
    data = {"database": database, "redis": bus, "timestamp": _now()}
    return encode(Kind.SYSTEM_HEALTH, data)


def error(message: str) -> Frame:
    """Return the last frame of a stream that we end."""
    return encode(Kind.ERROR, {"message": message, "timestamp": _now()})


def encode(kind: Kind, data: dict[str, Any], *, id_: str | None = None) -> Frame:
    """Return the frame of *kind* with *data*; JSON holds no line break of its own."""
    name = NAMES[kind]
    body = msgspec.json.encode({"type": kind, "data": data})
    mark = b"" if id_ is None else b"id: %s\n" % id_.encode()
    unnamed = b"%sdata: %s\n\n" % (mark, body)
    return Frame(name, unnamed, b"event: %s\n%s" % (name.encode(), unnamed))


def _data_of(
    kind: Kind, changed: JobChanged, transition: Transition, details: dict[str, Any]
) -> dict[str, Any]:
    data: dict[str, Any] = {
        "job_id": changed.job_id,
        "queue_name": changed.queue_name,
    }
    match kind:
        case Kind.JOB_CREATED:
            data["priority"] = changed.priority
        case Kind.JOB_STATUS_CHANGE:
            old, new = STATUSES[transition]
            data["old_status"] = old or _old_status(changed, transition, details)
            data["new_status"] = new or _new_status(details)
            # A job may wait for another reason under the same status.
            data["transition"] = transition
        case Kind.JOB_COMPLETED:
            # Whole milliseconds: typed clients read an integer.
            data["duration_ms"] = round(details.get("duration_ms") or 0)
        case Kind.JOB_FAILED:
            data["error"] = details.get("error") or ""
            data["retry_count"] = details.get("retry_count") or 0
    data["timestamp"] = changed.time
    return data


def _old_status(
    changed: JobChanged, transition: Transition, details: dict[str, Any]
) -> Status:
    """Return the status of a job by where it stood, as far as the details tell."""
    place = Place.SCHEDULED if transition is Transition.DUE else details.get("place")
    if place == Place.LEASED:
        return Status.PROCESSING
    if transition is Transition.REQUEUED:
        if place != Place.FINISHED:
            return Status.DEADLETTER
        expired = details.get("ending") == Status.EXPIRED
        return Status.EXPIRED if expired else Status.CANCELLED
    # Only a job's first wait is called scheduled; a retry waits as pending.
    retried = details.get("retry_count", changed.attempt)
    if place == Place.SCHEDULED and not retried:
        return Status.SCHEDULED
    return Status.PENDING


def _new_status(details: dict[str, Any]) -> Status:
    """Return the status of a job that waits no more: its time may be yet to come."""
    return Status.SCHEDULED if details.get("run_at") else Status.PENDING


def _details_of(changed: JobChanged) -> dict[str, Any]:
    details = msgspec.json.decode(changed.details)
    return details if isinstance(details, dict) else {}


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")
