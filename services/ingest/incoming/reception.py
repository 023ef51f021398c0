"""What was believed becomes a job, and a line in the log of what came in.

A delivery that creates a job is logged by the same commit: either both are there or
neither is, and then nobody was told that it came.  A repeat is logged, as a duplicate,
before it is answered; when that fails it is not answered either, and comes again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal
from uuid import UUID

from libs.common.batcher import Batcher
from libs.common.db import Pool, borrow
from libs.common.errors import PayloadOverPlan
from libs.common.ids import new_id
from libs.common.plans import Plan
from libs.common.store import incoming
from libs.common.store.incoming import Delivery, Entry
from libs.common.store.lanes import LaneName
from services.ingest.incoming.sources import Recipient
from services.ingest.intake import Intake
from services.ingest.requests.jobs import CreateJob
from services.ingest.wanted import Wanted

_BATCH_MAX: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """A webhook that was believed, and what to make of it."""

    recipient: Recipient
    delivery: Delivery
    #: JSON, byte for byte.
    payload: bytes
    queue_name: str
    job_type: str | None
    tags: Mapping[str, str]
    #: What only one job holds; None when every webhook is a new one.
    idempotency_key: str | None
    priority: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What became of it; a duplicate is what an earlier one has become."""

    job_id: UUID
    queue_name: str
    status: Literal["created", "duplicate"]


class Reception:
    """Takes webhooks in; one a process."""

    def __init__(self, pool: Pool, intake: Intake) -> None:
        self._pool = pool
        self._intake = intake
        self._repeats: Batcher[Entry, str | None] = Batcher(
            "incoming_repeats", self._flush, batch_max=_BATCH_MAX, lanes=1
        )

    async def take(self, webhook: Webhook) -> Taken:
        """Return when the webhook, or the one that it repeats, is a job and logged.

        Raises `PayloadOverPlan` and what `Intake.create` raises.
        """
        principal = webhook.recipient.principal
        _require_room(principal.plan, len(webhook.payload))
        created = await self._intake.create(_wanted(webhook))
        if created.created:
            return Taken(
                job_id=created.job_id,
                queue_name=webhook.queue_name,
                status="created",
            )
        queue_name = await self._repeats.put(
            Entry(
                id=new_id(),
                organization_id=principal.organization_id,
                delivery=webhook.delivery,
                queue_name=webhook.queue_name,
                job_id=created.job_id,
            )
        )
        return Taken(
            job_id=created.job_id,
            queue_name=queue_name or webhook.queue_name,
            status="duplicate",
        )

    async def drain(self) -> None:
        """Return when nothing is under way."""
        await self._repeats.drain()

    async def _flush(self, entries: Sequence[Entry]) -> list[str | None]:
        async with borrow(self._pool) as conn:
            queues = await incoming.note_repeated(conn, entries=entries)
        return [queues[entry.id] for entry in entries]


def _wanted(webhook: Webhook) -> Wanted:
    principal = webhook.recipient.principal
    return Wanted(
        organization_id=principal.organization_id,
        plan=principal.plan,
        request=CreateJob(
            queue_name=webhook.queue_name,
            # The bytes are what counts.
            payload=None,
            priority=webhook.priority,
            tags=dict(webhook.tags),
            idempotency_key=webhook.idempotency_key,
        ),
        payload=webhook.payload.decode(),
        lane=LaneName(principal.organization_id, webhook.queue_name, ""),
        push=None,
        job_type=webhook.job_type,
        fingerprint=None,
        parent_id=None,
        delivery=webhook.delivery,
    )


def _require_room(plan: Plan, payload_bytes: int) -> None:
    """Raise `PayloadOverPlan`; the largest plan takes whatever a body may be."""
    limit = plan.limits.max_payload_size_bytes
    if payload_bytes > limit:
        raise PayloadOverPlan(current=payload_bytes, limit=limit, plan=plan.tier)
