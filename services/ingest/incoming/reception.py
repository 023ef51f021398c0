"""What was believed becomes a job or a message, and a line in the log of what came in.

A delivery that creates something is logged by the same commit: either both are there or
neither is, and then nobody was told that it came.  A repeat is logged, as a duplicate,
before it is answered; when that fails it is not answered either, and comes again.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal
from uuid import UUID

import orjson

from libs.common.batcher import Batcher
from libs.common.db import Pool, borrow
from libs.common.errors import PayloadOverPlan
from libs.common.ids import new_id
from libs.common.store import incoming, jobs, messages
from libs.common.store.incoming import Delivery, Entry
from libs.common.store.lanes import LaneName
from services.ingest.incoming.sources import Recipient
from services.ingest.intake import Intake
from services.ingest.messages import MessageIntake
from services.ingest.planning import WantedMessage
from services.ingest.requests.jobs import CreateJob
from services.ingest.settings import PAYLOAD_BYTES_MAX
from services.ingest.wanted import Wanted

_BATCH_MAX: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """A webhook that was believed, and what to make of it."""

    recipient: Recipient
    delivery: Delivery
    #: JSON, byte for byte.
    payload: bytes
    #: Where the job goes; None is to make a message of it.
    queue_name: str | None
    #: The job's ``job_type``, or the message's ``event_type``.
    kind: str | None
    tags: Mapping[str, str]
    #: What only one job, or message, holds; None when every webhook is a new one.
    idempotency_key: str | None
    priority: int = 0
    #: Whether an earlier one may have become the other of the two.
    switched: bool = False
    #: How often what is in it came to us before.
    hops: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What became of it; a duplicate is what an earlier one has become."""

    status: Literal["created", "duplicate"]
    job_id: UUID | None = None
    #: Of the job.
    queue_name: str | None = None
    message_id: UUID | None = None


class Reception:
    """Takes webhooks in; one a process."""

    def __init__(
        self, pool: Pool, *, job_intake: Intake, message_intake: MessageIntake
    ) -> None:
        self._pool = pool
        self._jobs = job_intake
        self._messages = message_intake
        self._repeats: Batcher[Entry, str | None] = Batcher(
            "incoming_repeats", self._flush, batch_max=_BATCH_MAX, lanes=1
        )

    async def take(self, webhook: Webhook) -> Taken:
        """Return when the webhook, or the one that it repeats, is taken and logged.

        Raises `PayloadOverPlan` and what the intakes raise.
        """
        _require_room(webhook)
        if webhook.switched:
            earlier = await self._earlier(webhook)
            if earlier is not None:
                return earlier
        if webhook.queue_name is None:
            sent = await self._messages.send(_message(webhook), source="webhook")
            if not sent.created:
                return await self._repeated(webhook, message_id=sent.message_id)
            return Taken(status="created", message_id=sent.message_id)
        created = await self._jobs.create(
            _job(webhook, webhook.queue_name), source="webhook"
        )
        if not created.created:
            return await self._repeated(webhook, job_id=created.job_id)
        return Taken(
            status="created", job_id=created.job_id, queue_name=webhook.queue_name
        )

    async def drain(self) -> None:
        """Return when nothing is under way."""
        await self._repeats.drain()

    async def _earlier(self, webhook: Webhook) -> Taken | None:
        """Return what an earlier one became, if it is not what this one would."""
        if webhook.idempotency_key is None:
            return None
        organization_id = webhook.recipient.principal.organization_id
        keys = [(organization_id, webhook.idempotency_key)]
        async with borrow(self._pool) as conn:
            if webhook.queue_name is None:
                for job in (await jobs.find_by_keys(conn, keys=keys)).values():
                    return await self._repeated(webhook, job_id=job.job_id)
            else:
                found = await messages.find_by_keys(conn, keys=keys)
                for message in found.values():
                    return await self._repeated(webhook, message_id=message.message_id)
        return None

    async def _repeated(
        self,
        webhook: Webhook,
        *,
        job_id: UUID | None = None,
        message_id: UUID | None = None,
    ) -> Taken:
        """Log a repeat of what became this job, or this message."""
        queue_name = await self._repeats.put(
            Entry(
                id=new_id(),
                organization_id=webhook.recipient.principal.organization_id,
                delivery=webhook.delivery,
                # Of a job that is gone this is the best we know.
                queue_name=None if job_id is None else webhook.queue_name or "",
                job_id=job_id,
                message_id=message_id,
            )
        )
        return Taken(
            status="duplicate",
            job_id=job_id,
            queue_name=queue_name,
            message_id=message_id,
        )

    async def _flush(self, entries: Sequence[Entry]) -> list[str | None]:
        async with borrow(self._pool) as conn:
            queues = await incoming.note_repeated(conn, entries=entries)
        return [queues[entry.id] for entry in entries]


def _job(webhook: Webhook, queue_name: str) -> Wanted:
    principal = webhook.recipient.principal
    return Wanted(
        organization_id=principal.organization_id,
        plan=principal.plan,
        request=CreateJob(
            queue_name=queue_name,
            # The bytes are what counts.
            payload=None,
            priority=webhook.priority,
            tags=dict(webhook.tags),
            idempotency_key=webhook.idempotency_key,
        ),
        payload=webhook.payload.decode(),
        lane=LaneName(principal.organization_id, queue_name, ""),
        push=None,
        job_type=webhook.kind,
        fingerprint=None,
        parent_id=None,
        delivery=webhook.delivery,
    )


def _message(webhook: Webhook) -> WantedMessage:
    principal = webhook.recipient.principal
    return WantedMessage(
        organization_id=principal.organization_id,
        plan=principal.plan,
        event_type=webhook.kind or webhook.delivery.provider,
        payload=webhook.payload.decode(),
        value=orjson.loads(webhook.payload),
        ordering_key=None,
        idempotency_key=webhook.idempotency_key,
        fingerprint=hashlib.sha256(webhook.payload).digest(),
        delivery=webhook.delivery,
        hops=webhook.hops + 1,
    )


def _require_room(webhook: Webhook) -> None:
    """Raise `PayloadOverPlan`; a job may be as large as the largest body.

    A message, which is carried to others, may be as large as any other message.
    """
    plan, size = webhook.recipient.principal.plan, len(webhook.payload)
    limit = plan.limits.max_payload_size_bytes
    if webhook.queue_name is None:
        limit = min(limit, PAYLOAD_BYTES_MAX)
    if size > limit:
        raise PayloadOverPlan(current=size, limit=limit, plan=plan.tier)
