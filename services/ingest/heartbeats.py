"""Workers keep their jobs: many renewals share one statement.

A lease that has run out is never renewed: somebody else may have the job by then.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from libs.common.batcher import Batcher
from libs.common.db import Pool, borrow
from libs.common.errors import BellhopError, Fault, Malformed, Rejected, Transient
from libs.common.store import leases, settlement
from libs.common.store.leases import Renewed
from libs.common.store.settlement import Question
from services.ingest.fencing import EXPIRED_RENEWING, Claimant, refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    """A worker wants to keep a job for *lease* from now.

    *queues* are those the caller may touch, None for all.  *lease_id* is as it was
    given.
    """

    organization_id: UUID
    queues: tuple[str, ...] | None
    job_id: UUID
    worker_id: str
    lease_id: str | None
    lease: timedelta

    @property
    def claimant(self) -> Claimant:
        """Who says so."""
        return Claimant(self.worker_id, self.lease_id)


class Heartbeats:
    """Renews, in batches; one a process."""

    def __init__(
        self, pool: Pool, *, batch_max: int, lanes: int, require_lease_id: bool = False
    ) -> None:
        self._pool = pool
        self._require_lease_id = require_lease_id
        self._batcher: Batcher[Renewal, datetime | BellhopError] = Batcher(
            "renew", self._flush, batch_max=batch_max, lanes=lanes
        )

    async def renew(self, renewal: Renewal) -> datetime:
        """Renew one lease; return when it runs out now.

        Raises `NotFound`, `Conflict` or `LeaseExpired` when it is not the worker's to
        renew, `Malformed`, `Unavailable`.
        """
        if self._require_lease_id and renewal.lease_id is None:
            raise Malformed(Fault("lease_id", "is required", "missing"))
        answer = await self._batcher.put(renewal)
        if isinstance(answer, BellhopError):
            raise answer
        return answer

    async def drain(self) -> None:
        """Return when nothing is under way."""
        await self._batcher.drain()

    async def _flush(self, batch: Sequence[Renewal]) -> list[datetime | BellhopError]:
        """Renew a batch; what cannot be stored spoils nobody else's."""
        try:
            return await self._renew(batch)
        except Transient as error:
            return [error for _ in batch]
        except Rejected as error:
            if len(batch) > 1:
                # The batcher tries them one by one.
                raise
            return [error]

    async def _renew(self, batch: Sequence[Renewal]) -> list[datetime | BellhopError]:
        sound = [index for index, each in enumerate(batch) if each.claimant.readable]
        async with borrow(self._pool) as conn:
            deadlines = await leases.renew_work(
                conn, renewals=[_renewed(batch[index]) for index in sound]
            )
        answers: dict[int, datetime | BellhopError] = {
            sound[place]: deadline for place, deadline in deadlines.items()
        }
        refused = [index for index in range(len(batch)) if index not in answers]
        if refused:
            errors = await self._refusals([batch[index] for index in refused])
            answers |= dict(zip(refused, errors, strict=True))
        return [answers[index] for index in range(len(batch))]

    async def _refusals(self, refused: Sequence[Renewal]) -> list[BellhopError]:
        async with borrow(self._pool) as conn:
            standings = await settlement.read_standing(
                conn,
                questions=[
                    Question(
                        job_id=each.job_id,
                        organization_id=each.organization_id,
                        queues=each.queues,
                        owner=each.worker_id,
                    )
                    for each in refused
                ],
            )
        return [
            refusal(each.claimant, standing, expired=EXPIRED_RENEWING)
            for each, standing in zip(refused, standings, strict=True)
        ]


def _renewed(renewal: Renewal) -> Renewed:
    return Renewed(
        job_id=renewal.job_id,
        lease_id=renewal.claimant.lease,
        owner=renewal.worker_id,
        organization_id=renewal.organization_id,
        queues=renewal.queues,
        lease=renewal.lease,
    )
