"""A delivery: the job that carries a message to an endpoint (pure)."""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

import orjson

from libs.common.envelopes import headers_of
from libs.common.headers import HOPS
from libs.common.ids import new_id
from libs.common.store.jobs import NewJob
from libs.common.store.lines import Line
from libs.common.store.messages import QUEUE

#: The rank of priority 0.
_RANK: Final = 100
#: What a worker would be told; nobody counts it of a webhook.
TIMEOUT_SECONDS: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What is delivered, but for its payload: that is read when it is sent."""

    id: UUID
    organization_id: UUID
    event_type: str
    ordering_key: str | None
    #: How often it was delivered to us before.
    hops: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Addressee:
    """Whom it is delivered to, and as what (`libs.common.envelopes`)."""

    endpoint_id: UUID
    format: str
    ordered: bool
    max_retries: int


def delivery(
    message: Message,
    addressee: Addressee,
    *,
    lane_id: int,
    timeout_seconds: int = TIMEOUT_SECONDS,
) -> NewJob:
    """Return the job; every one of the same message has the same ``webhook-id``."""
    headers = headers_of(
        addressee.format,
        message_id=message.id,
        organization_id=message.organization_id,
        event_type=message.event_type,
        ordering_key=message.ordering_key,
    )
    if message.hops:
        headers[HOPS] = str(message.hops)
    return NewJob(
        id=new_id(),
        organization_id=message.organization_id,
        queue_name=QUEUE,
        lane_id=lane_id,
        payload=None,
        rank=_RANK,
        max_retries=addressee.max_retries,
        timeout_seconds=timeout_seconds,
        job_type=message.event_type[:255],
        endpoint_id=addressee.endpoint_id,
        headers=orjson.dumps(headers).decode() if headers else None,
        message_id=message.id,
        enveloped=addressee.format == "envelope",
        webhook_id=str(message.id),
        line=_line(message, addressee),
    )


def _line(message: Message, addressee: Addressee) -> Line | None:
    """Return whom a delivery takes turns with: those of its key, else all or nobody."""
    if message.ordering_key is None and not addressee.ordered:
        return None
    return Line.of_endpoint(addressee.endpoint_id, message.ordering_key or "")
