"""Which jobs a message becomes: one for each endpoint that asks for it (pure)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from msgspec import structs

from libs.common import tracing
from libs.common.deliveries import Addressee, Message, delivery
from libs.common.ids import new_id
from libs.common.plans import Plan
from libs.common.store.incoming import Delivery
from libs.common.store.jobs import NewJob
from libs.common.store.lanes import LaneName, endpoint_destination
from libs.common.store.messages import QUEUE, NewMessage
from services.ingest.remembered import Known
from services.ingest.subscribers import Subscriber, Subscriptions

#: Deliveries that share a transaction; one message's are never split.
_DELIVERIES_MAX: Final = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedMessage:
    """A checked message on its way in."""

    organization_id: UUID
    plan: Plan
    event_type: str
    #: The producer's bytes, and what they spell.
    payload: str
    value: Any
    ordering_key: str | None
    idempotency_key: str | None
    fingerprint: bytes | None
    #: The webhook that it came in as: it is logged with the message.
    delivery: Delivery | None = None
    #: How often it was delivered to us before.
    hops: int = 0
    #: The request that sends it, if that is traced.
    trace: str | None = field(default_factory=tracing.here)

    @property
    def key(self) -> tuple[UUID, str] | None:
        """What only one message may hold."""
        key = self.idempotency_key
        return None if key is None else (self.organization_id, key)


@dataclass(frozen=True, slots=True)
class Planned:
    """A message with the endpoints that it is for, as they were at *version*."""

    wanted: WantedMessage
    id: UUID
    version: int
    subscribers: list[Subscriber]


def plan_all(
    wanted: Mapping[int, WantedMessage], known: Mapping[UUID, Subscriptions]
) -> dict[int, Planned]:
    """Return messages with the endpoints that they are for, by their numbers.

    Those of organizations that are not known are left out.
    """
    planned = {}
    for number, one in wanted.items():
        theirs = known.get(one.organization_id)
        if theirs is not None:
            wanting = theirs.wanting(one.event_type, one.value)
            planned[number] = Planned(one, new_id(), theirs.version, wanting)
    return planned


def chunks(planned: Mapping[int, Planned]) -> Iterable[dict[int, Planned]]:
    """Yield messages with as many deliveries, in all, as one transaction may have."""
    chunk: dict[int, Planned] = {}
    deliveries = 0
    for number, one in planned.items():
        if chunk and deliveries + len(one.subscribers) > _DELIVERIES_MAX:
            yield chunk
            chunk, deliveries = {}, 0
        chunk[number] = one
        deliveries += len(one.subscribers)
    if chunk:
        yield chunk


def message_of(one: Planned) -> NewMessage:
    """Return the message itself."""
    wanted = one.wanted
    return NewMessage(
        id=one.id,
        organization_id=wanted.organization_id,
        version=one.version,
        event_type=wanted.event_type,
        payload=wanted.payload,
        ordering_key=wanted.ordering_key,
        idempotency_key=wanted.idempotency_key,
        fingerprint=wanted.fingerprint,
        hops=wanted.hops,
    )


def deliveries_of(one: Planned, known: Known) -> Iterable[NewJob]:
    """Yield the jobs that carry a message to its endpoints."""
    wanted = one.wanted
    for subscriber in one.subscribers:
        lane = _lane(wanted, subscriber)
        row = delivery(
            Message(
                id=one.id,
                organization_id=wanted.organization_id,
                event_type=wanted.event_type,
                ordering_key=wanted.ordering_key,
                hops=wanted.hops,
            ),
            Addressee(
                endpoint_id=subscriber.id,
                format=subscriber.format,
                ordered=subscriber.ordered,
                max_retries=subscriber.max_retries,
            ),
            lane_id=known.lanes[lane],
            timeout_seconds=known.defaults[lane[:2]].timeout_seconds,
        )
        traced = tracing.telling(wanted.trace)
        yield row if traced is None else structs.replace(row, made_by=traced)


def lanes_of(planned: Iterable[Planned]) -> set[LaneName]:
    """Return where the deliveries of messages will wait."""
    return {
        _lane(one.wanted, subscriber)
        for one in planned
        for subscriber in one.subscribers
    }


def _lane(wanted: WantedMessage, subscriber: Subscriber) -> LaneName:
    return LaneName(wanted.organization_id, QUEUE, endpoint_destination(subscriber.id))
