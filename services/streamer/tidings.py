"""What a watcher is told of an event, in the contract's words (pure).

The bus speaks of transitions (``lifecycle``), the contract of `Kind`s of frame
(contract 3.1) and of statuses (contract 4.1).  `TOLD` and `STATUSES` are the whole
translation; what is no transition is told under its own name.
"""

from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final

import msgspec

from libs.common.lifecycle import Place, Status, Transition
from libs.common.messages import Event, JobChanged, ResourceChanged
from libs.common.positions import read_position
from services.streamer.frames import NAMES, Frame, Kind

#: What a key that is limited to queues never sees (contract 3.2).
_NOT_FOR_SCOPED: Final = frozenset({"worker.heartbeat", "worker.deregistered"})

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


#: Statuses of a job that nothing more is expected of (contract 3.3).
ENDS: Final = frozenset(
    {
        Status.COMPLETED,
        Status.FAILED,
        Status.DEADLETTER,
        Status.CANCELLED,
        Status.EXPIRED,
    }
)
_ENDINGS: Final = frozenset(
    f"job.{transition}" for transition, (_, new) in STATUSES.items() if new in ENDS
)


class Tiding:
    """An event as watchers are told of it: to whom it matters, and its frames."""

    def __init__(self, event: Event) -> None:
        self.event: Final = event
        self.organization_id: Final = event.organization_id
        self.queue_name: Final = event.queue_name
        self.job_id: Final = event.job_id if isinstance(event, JobChanged) else None
        #: Where it stands; None for what was said before events had a place.
        self.position: Final = read_position(event.position) if event.position else None

    @property
    def ends_job(self) -> bool:
        """Whether a job has come to an end with it (contract 3.3)."""
        return self.event.type in _ENDINGS

    @property
    def open_to_scoped(self) -> bool:
        """Whether a key that is limited to queues may see it (contract 3.2)."""
        return self.event.type not in _NOT_FOR_SCOPED

    @cached_property
    def statuses(self) -> tuple[Status | None, Status | None] | None:
        """From which status to which its job has come; None if nothing of a job.

        A job has no status before it is created and after it is purged.
        """
        event = self.event
        if not isinstance(event, JobChanged):
            return None
        try:
            transition = event.transition
        except ValueError:
            return None
        return _statuses(event, transition, _object(event.details))

    @cached_property
    def tags(self) -> frozenset[str]:
        """What its job may be asked for by."""
        event = self.event
        return event.tag_names if isinstance(event, JobChanged) else frozenset()

    @cached_property
    def frames(self) -> tuple[Frame, ...]:
        """What is told, in this order; nothing for a transition of tomorrow.

        A client that has the last one has the event; one that has another has so many
        frames of it (`marks.Mark`).
        """
        told = _told(self.event)
        position = self.event.position or None
        return tuple(
            Frame(
                kind,
                name,
                data,
                position
                if position is None or number == len(told)
                else f"{position}.{number}",
            )
            for number, (kind, name, data) in enumerate(told, start=1)
        )


def _told(event: Event) -> list[tuple[str, str, Any]]:
    if isinstance(event, ResourceChanged):
        data = {**_object(event.data), "timestamp": event.time}
        return [(_kind_of(event.type), event.type, data)]
    try:
        transition = event.transition
    except ValueError:
        return []
    details = _object(event.details)
    return [
        (kind, NAMES[kind], _data_of(kind, event, transition, details))
        for kind in TOLD[transition]
    ]


def _kind_of(type_: str) -> str:
    """Return ``worker.registered`` as ``WorkerRegistered``."""
    return "".join(word.capitalize() for word in type_.replace("_", ".").split("."))


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
            data["old_status"], data["new_status"] = _statuses(
                changed, transition, details
            ) or (None, None)
            # A job may wait for another reason under the same status.
            data["transition"] = transition
        case Kind.JOB_COMPLETED:
            # Whole milliseconds: typed clients read an integer.
            spent = details.get("duration_ms")
            data["duration_ms"] = round(spent) if isinstance(spent, int | float) else 0
        case Kind.JOB_FAILED:
            data["error"] = details.get("error") or ""
            data["retry_count"] = details.get("retry_count") or 0
    data["timestamp"] = changed.time
    return data


def _statuses(
    changed: JobChanged, transition: Transition, details: dict[str, Any]
) -> tuple[Status | None, Status | None] | None:
    """Return (old, new), or None where a job keeps its status."""
    match transition:
        case Transition.CREATED:
            return None, _new_status(details)
        case Transition.PURGED:
            return Status.DEADLETTER, None
    if transition not in STATUSES:
        return None
    old, new = STATUSES[transition]
    return (
        old or _old_status(changed, transition, details),
        new or _new_status(details),
    )


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


def _object(raw: msgspec.Raw) -> dict[str, Any]:
    """Return an object, or an empty one for anything else, also for what is no text."""
    try:
        decoded = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return decoded if isinstance(decoded, dict) else {}
