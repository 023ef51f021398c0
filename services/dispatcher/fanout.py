"""Claim ready push jobs fairly and hand them to delivery, as many as it can carry.

Claim first, send second.  If the message is lost, the lease runs out and the job comes
back; the other order could deliver a job that nobody holds.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import msgspec
import orjson
import structlog
from prometheus_client import Gauge

from libs.common import streams
from libs.common.aftermath import follow_up
from libs.common.bus import Bus, Undecided
from libs.common.db import Pool, borrow
from libs.common.errors import Unavailable
from libs.common.loops import Doorbell, on_bell
from libs.common.messages import (
    NULL,
    WORK,
    AttemptDeliveries,
    Delivery,
    LanesReady,
    OrganizationChanged,
)
from libs.common.store import claims, lanes, settlement, signing_secrets
from libs.common.store.claims import Claimed
from libs.common.store.settlement import Settled
from libs.common.store.signing_secrets import SealedSecret
from services.dispatcher.claiming import Claiming
from services.dispatcher.ledger import Ledger
from services.dispatcher.settings import Settings

log = structlog.get_logger()

HANDED_OUT: Final = Gauge(
    "bellhop_dispatcher_batches_out", "Batches handed out and not settled."
)

#: Bodies that share a message, together.
_BODIES_BYTES_MAX: Final = 2 * 1024 * 1024
#: What a message needs beside its bodies, at the most: 64 jobs with all their headers.
_ENVELOPE_BYTES: Final = 768 * 1024
_SCAN_LANES_MAX: Final = 2000
_SECRETS_SECONDS: Final = 30.0
_BLOCKED_SECONDS: Final = 1.0


class Fanout:
    """One actor: looks who is next, claims, sends."""

    def __init__(
        self, settings: Settings, pool: Pool, bus: Bus, ledger: Ledger, bell: Doorbell
    ) -> None:
        self._settings = settings
        self._pool = pool
        self._bus = bus
        self._ledger = ledger
        self._bell = bell
        self._claiming = Claiming(settings, pool, ledger, again=self._note)
        self._scanned_at = float("-inf")
        self._scan_after = 0
        self._blocked_until = float("-inf")
        self._told: set[int] = set()
        self._secrets: dict[UUID, tuple[list[SealedSecret], float]] = {}
        self._connections = 0

    async def run(self, stopping: asyncio.Event) -> None:
        """Hand out until stopped."""
        await on_bell(
            self._turn,
            bell=self._bell,
            poll_seconds=self._settings.poll_seconds,
            stopping=stopping,
        )

    async def listen_lanes(self, stopping: asyncio.Event) -> None:
        """Hear of lanes with ready jobs, until stopped."""
        await self._bus.hear(LanesReady, self.told, stopping=stopping)

    async def listen_organizations(self, stopping: asyncio.Event) -> None:
        """Hear of organizations whose secrets or queues changed, until stopped."""

        def forget(word: OrganizationChanged) -> None:
            self._secrets.pop(UUID(word.organization_id), None)
            # A queue may go on, or have a wider limit: look at once.
            self._scanned_at = float("-inf")
            self._bell.ring()

        await self._bus.hear(OrganizationChanged, forget, stopping=stopping)

    def told(self, word: LanesReady) -> None:
        """Note lanes that are said to have ready jobs."""
        self._note(word.lanes)

    def _note(self, lanes: Iterable[int]) -> None:
        self._told.update(lanes)
        self._bell.ring()

    async def _turn(self) -> bool:
        now = asyncio.get_running_loop().time()
        if not self._bus.connected or now < self._blocked_until:
            # The jobs wait where they are safe, and burn no attempt.
            return False
        await self._look()
        quotas = self._ledger.quotas(now=now, most=self._settings.claim_jobs_max)
        if not quotas:
            return False
        claimed = await self._claiming.claim(quotas)
        if not await self._send_all(claimed):
            # NATS is there and takes nothing: to claim again at once would only fill
            # the journal with jobs that come and go.
            self._blocked_until = asyncio.get_running_loop().time() + _BLOCKED_SECONDS
            return False
        return bool(claimed)

    async def _look(self) -> None:
        """Learn which lanes have ready jobs: those told of, and now and then all."""
        now = asyncio.get_running_loop().time()
        told, self._told = self._told, set()
        unknown = told - self._ledger.lanes.keys()
        scan = now - self._scanned_at >= self._settings.poll_seconds
        self._ledger.see(self._ledger.lanes[id_] for id_ in told - unknown)
        if not (unknown or scan):
            return
        async with borrow(self._pool) as conn:
            if unknown:
                self._ledger.see(await lanes.read_lanes(conn, ids=sorted(unknown)))
            if scan:
                found = await claims.ready_lanes(
                    conn, after=self._scan_after, limit=_SCAN_LANES_MAX
                )
                self._ledger.see(found.lanes)
                # What one look does not reach, the next one begins with.
                self._scan_after = found.after
                self._scanned_at = now

    async def _settle_expired(self, claimed: Sequence[Claimed]) -> None:
        """End the jobs whose time to run has passed."""
        expired = [
            Settled(job_id=job.job_id, lease_id=job.lease_id, how="expired")
            for job in claimed
            if job.expired
        ]
        if not expired:
            return
        async with borrow(self._pool) as conn:
            closed = await settlement.settle(
                conn, attempts=expired, actor=self._ledger.dispatcher
            )
        for job in closed:
            self._ledger.close(job.lease_id, job.lane_id)
        await follow_up(
            self._pool,
            self._bus,
            lanes={job.lane_id for job in closed if job.limited},
            awaited=any(job.awaited for job in closed),
        )

    async def _send_all(self, claimed: Sequence[Claimed]) -> bool:
        """Send each lease's jobs in one message; return whether NATS took them all."""
        now = asyncio.get_running_loop().time()
        batches: dict[UUID, list[Claimed]] = {}
        for job in claimed:
            batches.setdefault(job.lease_id, []).append(job)
        for lease_id, jobs in batches.items():
            self._ledger.hand_out(lease_id, [job.lane_id for job in jobs], now=now)
        HANDED_OUT.set(len(self._ledger.handed_out))
        try:
            await self._settle_expired(claimed)
            secrets = await self._sealed({job.organization_id for job in claimed})
        except Unavailable:
            for jobs in batches.values():
                await self._take_back(jobs)
            raise
        sent = await asyncio.gather(
            *(
                self._send(lease_id, live, secrets)
                for lease_id, jobs in batches.items()
                if (live := [job for job in jobs if not job.expired])
            )
        )
        return all(sent)

    async def _send(
        self,
        lease_id: UUID,
        jobs: Sequence[Claimed],
        secrets: dict[UUID, list[bytes]],
    ) -> bool:
        room = min(_BODIES_BYTES_MAX, self._bus.payload_bytes_max - _ENVELOPE_BYTES)
        word = AttemptDeliveries(
            lease_id=str(lease_id),
            dispatcher=self._ledger.dispatcher,
            lease_seconds=self._settings.lease_seconds,
            secrets={
                str(organization_id): secrets[organization_id]
                for organization_id in {job.organization_id for job in jobs}
            },
            jobs=list(_deliveries(jobs, room=room)),
        )
        try:
            await streams.send(
                self._bus, WORK, word.subject, word.encode(), id_=word.lease_id
            )
        except Undecided as error:
            # A pod may have it.  If none does, the lease runs out.
            log.warning("batch.undecided", lease_id=word.lease_id, cause=str(error))
        except Unavailable as error:
            log.warning("batch.not_sent", lease_id=word.lease_id, cause=str(error))
            await self._take_back(jobs)
            return False
        return True

    async def _take_back(self, jobs: Sequence[Claimed]) -> None:
        """Release jobs that surely no pod has: the attempt did not happen."""
        try:
            async with borrow(self._pool) as conn:
                closed = await settlement.settle(
                    conn,
                    attempts=[
                        Settled(
                            job_id=job.job_id, lease_id=job.lease_id, how="released"
                        )
                        for job in jobs
                    ],
                    actor=self._ledger.dispatcher,
                )
        except Unavailable as error:
            # The lease runs out instead.
            log.warning("batch.not_released", cause=str(error))
            return
        for job in closed:
            self._ledger.close(job.lease_id, job.lane_id)

    async def _sealed(
        self, organization_ids: Iterable[UUID]
    ) -> dict[UUID, list[bytes]]:
        """Return the sealed secrets that sign for these organizations."""
        wanted = set(organization_ids)
        now = time.monotonic()
        if self._connections != self._bus.connections:
            # The word that a secret changed may have been lost.
            self._secrets.clear()
            self._connections = self._bus.connections
        known = {
            id_: self._secrets[id_]
            for id_ in wanted & self._secrets.keys()
            if now - self._secrets[id_][1] <= _SECRETS_SECONDS
        }
        if stale := wanted - known.keys():
            async with borrow(self._pool) as conn:
                found = await signing_secrets.current_secrets(
                    conn, organization_ids=stale
                )
            fresh = {id_: (secrets, now) for id_, secrets in found.items()}
            self._secrets |= fresh
            known |= fresh
        today = datetime.now(UTC)
        return {
            id_: [
                secret.sealed
                for secret in secrets
                if secret.expires_at is None or secret.expires_at > today
            ]
            for id_, (secrets, _) in known.items()
        }


def _deliveries(jobs: Iterable[Claimed], *, room: int) -> Iterable[Delivery]:
    """Return what a pod needs of each job; bodies while there is *room* (bytes)."""
    for job in jobs:
        if (
            job.target_url is None
            or job.target_method is None
            or job.target_timeout_seconds is None
        ):
            continue
        body = job.payload
        if body is not None and job.payload_bytes <= room:
            room -= job.payload_bytes
            raw = msgspec.Raw(body.encode())
        else:
            raw = NULL
        yield Delivery(
            job_id=str(job.job_id),
            organization_id=str(job.organization_id),
            attempt=job.attempt,
            url=job.target_url,
            method=job.target_method,
            headers=orjson.loads(job.target_headers) if job.target_headers else {},
            timeout_seconds=job.target_timeout_seconds,
            body_bytes=job.payload_bytes,
            body=raw,
        )
