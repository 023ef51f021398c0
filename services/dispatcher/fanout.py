"""Claim ready push jobs fairly and hand them to delivery, as many as it can carry.

Claim first, send second.  If the message is lost, the lease runs out and the job comes
back; the other order could deliver a job that nobody holds.
"""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

import msgspec
import structlog
from prometheus_client import Gauge

from libs.common import streams, tracing
from libs.common.aftermath import follow_up
from libs.common.bus import Bus, Undecided
from libs.common.db import Pool, borrow
from libs.common.errors import Unavailable
from libs.common.floors import Floors
from libs.common.loops import Doorbell, on_bell
from libs.common.messages import (
    WORK,
    AttemptDeliveries,
    LanesReady,
    OrganizationChanged,
)
from libs.common.outgoing import COMPLETION
from libs.common.server_clock import ServerClock
from libs.common.store import claims, journal, lanes, leases, settlement
from libs.common.store.claims import Claimed
from libs.common.store.completions import Signing
from libs.common.store.receivers import Configured
from libs.common.store.settlement import Settled
from services.dispatcher.batches import batch
from services.dispatcher.claiming import Claiming
from services.dispatcher.configuration import Configuration
from services.dispatcher.ledger import Ledger
from services.dispatcher.settings import Settings

log = structlog.get_logger()

HANDED_OUT: Final = Gauge(
    "bellhop_dispatcher_batches_out", "Batches handed out and not settled."
)

_SCAN_LANES_MAX: Final = 2000
_BLOCKED_SECONDS: Final = 1.0
#: A lease that was claimed so long ago is renewed before it is sent.
_OLD_SECONDS: Final = 1.0
_UNSIGNED: Final = "the job whose end this tells was purged, and its secret with it"


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
        self._floors = Floors(pool)
        self._claiming = Claiming(
            settings, pool, ledger, self._floors, again=self._note
        )
        self._scanned_at = float("-inf")
        self._scan_after = 0
        self._blocked_until = float("-inf")
        self._told: set[int] = set()
        self._configuration = Configuration(pool, bus)
        self._clock = ServerClock(bus, WORK)

    async def run(self, stopping: asyncio.Event) -> None:
        """Hand out until stopped."""
        await on_bell(
            self._turn,
            bell=self._bell,
            poll_seconds=self._settings.poll_seconds,
            stopping=stopping,
        )

    async def look_for_floors(self, stopping: asyncio.Event) -> None:
        """Look where the lanes begin that much is claimed from, until stopped."""
        await self._floors.look(stopping)

    async def listen_lanes(self, stopping: asyncio.Event) -> None:
        """Hear of lanes with ready jobs, until stopped."""
        await self._bus.hear(LanesReady, self.told, stopping=stopping)

    async def listen_organizations(self, stopping: asyncio.Event) -> None:
        """Hear of organizations whose configuration changed, until stopped."""

        def forget(word: OrganizationChanged) -> None:
            self._configuration.forget(UUID(word.organization_id))
            self._claiming.forget(UUID(word.organization_id))
            # A queue or an endpoint may go on, or have a wider limit: look at once.
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
        # Postgres counts a lease from when it begins to claim.
        began = asyncio.get_running_loop().time()
        claimed = await self._claiming.claim(quotas)
        if not await self._send_all(claimed, began=began):
            # NATS is there and takes nothing: to claim again at once would only fill
            # the journal with jobs that come and go.
            self._blocked_until = asyncio.get_running_loop().time() + _BLOCKED_SECONDS
            return False
        # Who gave less than asked is left alone now; others may not have been asked.
        return bool(claimed) or bool(self._ledger.ready)

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
                self._ledger.see(
                    lane for lane in found.lanes if not self._claiming.waits(lane.id)
                )
                # What one look does not reach, the next one begins with.
                self._scan_after = found.after
                self._scanned_at = now

    async def _settle_at_once(
        self, expired: Iterable[Claimed], unsigned: Iterable[Claimed]
    ) -> None:
        """End the jobs whose time has passed, and those that nothing can sign."""
        attempts = [
            Settled(job_id=job.job_id, lease_id=job.lease_id, how="expired")
            for job in expired
        ]
        attempts += [
            Settled(
                job_id=job.job_id,
                lease_id=job.lease_id,
                how="deadlettered",
                death="given_up",
                error=_UNSIGNED,
            )
            for job in unsigned
        ]
        if not attempts:
            return
        async with borrow(self._pool) as conn:
            closed = await settlement.settle(
                conn, attempts=attempts, actor=self._ledger.dispatcher
            )
        for job in closed:
            self._ledger.close(job.lease_id, job.lane_id)
        await follow_up(
            self._pool,
            self._bus,
            lanes={job.lane_id for job in closed if job.limited},
            released={job.released for job in closed},
            left_line=any(job.left_line for job in closed),
        )

    async def _send_all(self, claimed: Sequence[Claimed], *, began: float) -> bool:
        """Send each lease's jobs in one message; return whether NATS took them all.

        The leases live from when the claim *began*.
        """
        batches: dict[UUID, list[Claimed]] = {}
        for job in claimed:
            batches.setdefault(job.lease_id, []).append(job)
        for lease_id, jobs in batches.items():
            self._ledger.hand_out(lease_id, [job.lane_id for job in jobs], now=began)
        HANDED_OUT.set(len(self._ledger.handed_out))
        try:
            ends = {job.job_id for job in claimed if self._tells_an_end(job)}
            completions = await self._configuration.completions(ends)
            expired = [job for job in claimed if job.expired]
            # What signs them was purged, with the job whose end they tell.
            unsigned = [
                job
                for job in claimed
                if job.job_id in ends - completions.keys() and not job.expired
            ]
            await self._settle_at_once(expired, unsigned)
            endpoints = await self._configuration.endpoints(claimed)
            secrets = await self._configuration.secrets(
                {job.organization_id for job in claimed if job.endpoint_id is None}
            )
        except Unavailable:
            for jobs in batches.values():
                await self._take_back(jobs)
            raise
        batches.clear()
        over = {job.job_id for job in (*expired, *unsigned)}
        gone: list[Claimed] = []
        for job in claimed:
            if job.job_id in over:
                continue
            if job.endpoint_id is None or job.endpoint_id in endpoints:
                batches.setdefault(job.lease_id, []).append(job)
            else:
                gone.append(job)
        # Their endpoint was deleted since: somebody else sees to them.
        await self._take_back(gone)
        began = await self._make_up_for_lost_time(batches, began=began)
        sent = await asyncio.gather(
            *(
                self._send(jobs, secrets, endpoints, completions, began=began)
                for jobs in batches.values()
            )
        )
        return all(sent)

    async def _make_up_for_lost_time(
        self, batches: dict[UUID, list[Claimed]], *, began: float
    ) -> float:
        """Renew leases that are no longer young; return from when they live now.

        Where Postgres stood still meanwhile, or this process did, too little is left of
        them for the way to a pod.  Batches whose lease is gone are left out.
        """
        loop = asyncio.get_running_loop()
        if not batches or loop.time() - began < _OLD_SECONDS:
            return began
        began = loop.time()
        async with borrow(self._pool) as conn:
            kept = await leases.renew(
                conn,
                lease_ids=batches.keys(),
                lease=timedelta(seconds=self._settings.lease_seconds),
            )
        log.warning("batches.delayed", leases=len(batches), kept=len(kept))
        for lease_id in kept:
            self._ledger.keep_alive(lease_id, now=began)
        for lease_id in batches.keys() - kept:
            for job in batches.pop(lease_id):
                self._ledger.close(lease_id, job.lane_id)
        return began

    def _tells_an_end(self, job: Claimed) -> bool:
        """Whether it is a completion webhook: their lanes are called so."""
        return self._ledger.lanes[job.lane_id].destination.startswith(COMPLETION)

    async def _send(
        self,
        jobs: Sequence[Claimed],
        secrets: dict[UUID, list[bytes]],
        endpoints: dict[UUID, Configured],
        completions: dict[UUID, Signing],
        *,
        began: float,
    ) -> bool:
        lease_id = str(jobs[0].lease_id)
        traces = await self._traces(jobs) if tracing.is_on() else {}
        try:
            sent_at = await self._clock.earliest()
            spent = asyncio.get_running_loop().time() - began
            word = batch(
                jobs,
                dispatcher=self._ledger.dispatcher,
                lease_seconds=max(self._settings.lease_seconds - spent, 0.0),
                sent_at=sent_at,
                secrets=secrets,
                endpoints=endpoints,
                completions=completions,
                message_bytes_max=self._bus.payload_bytes_max,
            )
            await self._say(word, traces)
        except Undecided as error:
            # A pod may have it.  If none does, the lease runs out.
            log.warning("batch.undecided", lease_id=lease_id, cause=str(error))
        except Unavailable as error:
            log.warning("batch.not_sent", lease_id=lease_id, cause=str(error))
            await self._take_back(jobs)
            return False
        return True

    async def _say(self, word: AttemptDeliveries, traces: dict[str, str]) -> None:
        with tracing.sending(word.subject, traces.values()):
            if traces:
                word = msgspec.structs.replace(
                    word, traces=traces, trace=tracing.here()
                )
            await streams.send(
                self._bus, WORK, word.subject, word.encode(), id_=word.lease_id
            )

    async def _traces(self, jobs: Sequence[Claimed]) -> dict[str, str]:
        """Return what created the jobs that are traced, none when Postgres is away."""
        try:
            async with borrow(self._pool) as conn:
                return await journal.find_traces(
                    conn, job_ids=[job.job_id for job in jobs]
                )
        except Unavailable:
            return {}

    async def _take_back(self, jobs: Sequence[Claimed]) -> None:
        """Release jobs that surely no pod has: the attempt did not happen."""
        if not jobs:
            return
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
