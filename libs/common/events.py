"""Rows onto events: what the bus says of a transition, or of a notice (pure).

Whoever reads the tables again says the same words as the announcer did.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from libs.common.messages import NULL, Event, JobChanged, ResourceChanged
from libs.common.positions import position
from libs.common.store.announcing import Occurrence, Transitioned
from libs.common.store.journal import Position
from libs.common.store.notices import Notice


def words_of(occurrences: Iterable[Occurrence], *, after: Position) -> Iterator[Event]:
    """Yield the event of each, in their order, each with what stands before it."""
    previous = position(after.xid, after.seq)
    for occurrence in occurrences:
        word = _word(occurrence, previous)
        previous = word.position
        yield word


def _word(occurrence: Occurrence, after: str) -> Event:
    if isinstance(occurrence, Transitioned):
        return _job_changed(occurrence, after)
    return _resource_changed(occurrence, after)


def _job_changed(transitioned: Transitioned, after: str) -> JobChanged:
    entry = transitioned.entry
    return JobChanged(
        id=str(entry.seq),
        position=position(entry.xid, entry.seq),
        after=after,
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


def _resource_changed(notice: Notice, after: str) -> ResourceChanged:
    resource, _, _ = notice.event.partition(".")
    named = _NAMED.decode(notice.data)
    id_ = named.queue_name if resource == "queue" else getattr(named, f"{resource}_id")
    return ResourceChanged(
        id=str(notice.seq),
        position=position(notice.xid, notice.seq),
        after=after,
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
