"""Events as the stream says them: subject, headers (CloudEvents), JSON (pure)."""

from typing import Final

import msgspec

from libs.common.messages import NULL, Event, JobChanged, ResourceChanged, position
from libs.common.store.announcing import Occurrence, Transitioned
from libs.common.store.notices import Notice
from libs.common.streams import Message

_SOURCE: Final = "bellhop"


def message(occurrence: Occurrence) -> Message:
    """Return an event as it is said."""
    if isinstance(occurrence, Transitioned):
        job = _job_changed(occurrence)
        return _message(job, about=job.job_id)
    resource = _resource_changed(occurrence)
    return _message(resource, about=resource.resource_id)


def _message(word: Event, *, about: str) -> Message:
    headers = {
        "Nats-Msg-Id": word.id,
        "ce-specversion": "1.0",
        "ce-id": word.id,
        "ce-source": _SOURCE,
        "ce-type": word.type,
        "ce-time": word.time,
        "ce-subject": about,
    }
    return Message(word.subject_of_this(), headers, word.encode())


def _job_changed(transitioned: Transitioned) -> JobChanged:
    entry = transitioned.entry
    return JobChanged(
        id=str(entry.seq),
        position=position(entry.xid, entry.seq),
        type=f"job.{entry.transition}",
        time=entry.at.isoformat(),
        organization_id=str(entry.organization_id),
        queue_name=entry.queue_name,
        job_id=str(entry.job_id),
        job_type=transitioned.job_type,
        tags=_raw(transitioned.tags),
        attempt=entry.attempt,
        priority=100 - entry.rank,
        actor=entry.actor,
        details=_raw(entry.details),
    )


class _Named(msgspec.Struct):
    """How the data of a notice names what it is about."""

    queue_name: str | None = None
    worker_id: str | None = None
    schedule_id: str | None = None
    workflow_id: str | None = None
    endpoint_id: str | None = None


_NAMED: Final = msgspec.json.Decoder(_Named)


def _resource_changed(notice: Notice) -> ResourceChanged:
    resource, _, _ = notice.event.partition(".")
    named = _NAMED.decode(notice.data)
    id_ = named.queue_name if resource == "queue" else getattr(named, f"{resource}_id")
    return ResourceChanged(
        id=str(notice.seq),
        position=position(notice.xid, notice.seq),
        type=notice.event,
        time=notice.at.isoformat(),
        organization_id=str(notice.organization_id),
        resource=resource,
        resource_id=id_ or "",
        queue_name=named.queue_name,
        data=_raw(notice.data),
    )


def _raw(json: str | None) -> msgspec.Raw:
    return NULL if json is None else msgspec.Raw(json.encode())
