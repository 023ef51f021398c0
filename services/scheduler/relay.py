"""What outgoing webhooks are told of a transition, or of a notice (pure).

One transition may be several events, or none: a job that is given up has failed, and
is a dead letter.  The data of each event is the contract's (5.7).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from libs.common.lifecycle import Place, Status, Transition
from libs.common.store.journal import Entry
from libs.common.store.notices import Notice

#: Transitions that end a job, for good or until somebody takes it up again by hand.
ENDS: Final = frozenset(
    {
        Transition.COMPLETED,
        Transition.DEADLETTERED,
        Transition.QUARANTINED,
        Transition.CANCELLED,
        Transition.EXPIRED,
    }
)


@dataclass(frozen=True, slots=True)
class Happening:
    """An event to tell of; what *data* holds is JSON."""

    organization_id: UUID
    event: str
    at: datetime
    data: dict[str, Any]
    #: The job whose result is part of the data.
    result_of: UUID | None = None

    def with_result(self, result: str | None) -> dict[str, Any]:
        """Return the data, with the result (JSON) where it belongs."""
        if self.result_of is None:
            return self.data
        spelled = None if result is None else msgspec.Raw(result.encode())
        return {**self.data, "result": spelled}


class _Details(msgspec.Struct):
    """What the journal may tell of a transition."""

    place: str = Place.READY
    retry_count: int = 0
    run_at: str | None = None
    error: str | None = None
    reason: str | None = None
    #: What made the job.
    source: str | None = None
    schedule_id: str | None = None
    workflow_id: str | None = None


_DETAILS: Final = msgspec.json.Decoder(_Details)
_SILENT: Final = _Details()


def happenings(entry: Entry) -> list[Happening]:
    """Return what is told of a transition, in this order."""
    details = _DETAILS.decode(entry.details) if entry.details else _SILENT
    return [
        Happening(
            entry.organization_id,
            event,
            entry.at,
            {"job_id": str(entry.job_id), "queue_name": entry.queue_name, **data},
            entry.job_id if event == "job.completed" else None,
        )
        for event, data in _events(entry, details)
    ]


def happening(notice: Notice) -> Happening:
    """Return what is told of a notice."""
    return Happening(
        notice.organization_id,
        notice.event,
        notice.at,
        msgspec.json.decode(notice.data, type=dict[str, msgspec.Raw]),
    )


Events = list[tuple[str, dict[str, Any]]]


def _events(entry: Entry, details: _Details) -> Events:
    tell = _TELLERS.get(entry.transition)
    return [] if tell is None else tell(entry, details)


def _created(entry: Entry, details: _Details) -> Events:
    status = Status.SCHEDULED if details.run_at else Status.PENDING
    told = {
        "priority": 100 - entry.rank,
        "status": status,
        "source": details.source,
        "schedule_id": details.schedule_id,
        "workflow_id": details.workflow_id,
    }
    return [("job.created", {k: v for k, v in told.items() if v is not None})]


def _started(entry: Entry, _: _Details) -> Events:
    return [("job.started", {"worker_id": entry.actor})]


def _completed(*_: object) -> Events:
    return [("job.completed", {"status": Status.COMPLETED})]


def _given_up(entry: Entry, details: _Details) -> Events:
    told = {"status": Status.DEADLETTER, "error": details.error}
    reason = details.reason or entry.transition
    return [("job.failed", told), ("job.deadlettered", {**told, "reason": reason})]


def _retrying(_: Entry, details: _Details) -> Events:
    told = {
        "status": Status.PENDING,
        "retry_count": details.retry_count,
        "error": details.error,
        "scheduled_at": details.run_at,
        "source": "automatic",
    }
    return [("job.retried", told)]


def _requeued(*_: object) -> Events:
    # By hand: its retries begin anew.
    told = {"status": Status.PENDING, "retry_count": 0, "source": "manual"}
    return [("job.retried", told)]


def _cancelled(_: Entry, details: _Details) -> Events:
    return [("job.cancelled", _ended(Status.CANCELLED, details))]


def _expired(_: Entry, details: _Details) -> Events:
    return [("job.expired", _ended(Status.EXPIRED, details))]


def _ended(status: str, details: _Details) -> dict[str, Any]:
    later = details.place == Place.SCHEDULED and details.retry_count == 0
    told: dict[str, Any] = {
        "status": status,
        "old_status": Status.SCHEDULED if later else Status.PENDING,
    }
    if details.reason:
        told["reason"] = details.reason
    return told


#: What of a transition is told; of the others nothing is.
_TELLERS: Final[Mapping[str, Callable[[Entry, _Details], Events]]] = {
    Transition.CREATED: _created,
    Transition.STARTED: _started,
    Transition.COMPLETED: _completed,
    Transition.RETRYING: _retrying,
    Transition.REQUEUED: _requeued,
    Transition.DEADLETTERED: _given_up,
    Transition.QUARANTINED: _given_up,
    Transition.CANCELLED: _cancelled,
    Transition.EXPIRED: _expired,
}
