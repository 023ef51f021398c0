"""Leases kept alive while pods hold them, and recovered when nobody does.

A lease runs out when no pod mentions it.  But silence proves a death only to somebody
who could hear: after an outage of NATS or Postgres, or of this very process, everyone
gets a moment of grace to report first; and what runs out while Postgres itself stands
still is not looked at before everyone had that moment.  What a pod was heard to hold is
spared, whoever forgot to renew it.  Whether it could hear a
dispatcher asks the server every second: who gets no answer is cut off, whatever the
connection says.  So an attempt is repeated only when a process died inside it
(promise 3).
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import structlog
from prometheus_client import Counter

from libs.common.aftermath import follow_up
from libs.common.bus import Bus, Question, read, sparing
from libs.common.db import Pool, borrow
from libs.common.errors import Transient
from libs.common.loops import Doorbell, every
from libs.common.messages import (
    BodyWanted,
    DispatcherAlive,
    LeasesHeld,
)
from libs.common.store import jobs, leases
from services.dispatcher.ledger import Ledger

log = structlog.get_logger()

RECOVERED: Final = Counter(
    "bellhop_jobs_recovered_total", "Jobs taken from processes that died.", ["fate"]
)
_ALIVE_SECONDS: Final = 1.0
_TURN_SECONDS: Final = 0.25
_GRACE: Final = timedelta(seconds=3)
#: Whoever was away for so long heard nothing meanwhile.
_AWAY_SECONDS: Final = 1.5
#: Whom the server has not answered for so long hears nobody.
_DEAF_SECONDS: Final = 2.5
_RECOVER_LEASES_MAX: Final = 200
_CHUNK_BYTES_MAX: Final = 512 * 1024


class Upkeep:
    """One actor: renews, recovers; and hears what the pods hold."""

    def __init__(
        self,
        pool: Pool,
        bus: Bus,
        ledger: Ledger,
        bell: Doorbell,
        *,
        lease_seconds: float,
    ) -> None:
        self._pool = pool
        self._bus = bus
        self._ledger = ledger
        self._bell = bell
        self._lease_seconds: Final = lease_seconds
        self._held: set[UUID] = set()
        self._heard_since = float("-inf")
        self._answered_at = float("-inf")
        self._graced_at = float("-inf")
        self._connections = 0
        self._bodies: asyncio.Queue[Question] = asyncio.Queue()

    async def run(self, stopping: asyncio.Event) -> None:
        """Renew and recover until stopped."""
        await every(_TURN_SECONDS, self._turn, stopping=stopping)

    async def listen_pods(self, stopping: asyncio.Event) -> None:
        """Hear what the pods hold, until stopped."""

        def heard(word: LeasesHeld) -> None:
            now = asyncio.get_running_loop().time()
            self._held.update(self._ledger.hear_pod(word, now=now))
            self._bell.ring()

        await self._bus.hear(LeasesHeld, heard, stopping=stopping)

    async def listen_dispatchers(self, stopping: asyncio.Event) -> None:
        """Hear which dispatchers are up, until stopped."""

        def heard(word: DispatcherAlive) -> None:
            self._ledger.hear_dispatcher(word, now=asyncio.get_running_loop().time())

        await self._bus.hear(DispatcherAlive, heard, stopping=stopping)

    async def be_heard(self, stopping: asyncio.Event) -> None:
        """Say every second that we are up, and see that we hear, until stopped."""
        await every(_ALIVE_SECONDS, self._be_heard, stopping=stopping)

    async def _be_heard(self) -> None:
        await self._bus.ring(DispatcherAlive(dispatcher=self._ledger.dispatcher))
        if await self._bus.answers(seconds=_ALIVE_SECONDS):
            self._answered_at = asyncio.get_running_loop().time()

    async def _turn(self) -> None:
        now = asyncio.get_running_loop().time()
        away = now - self._heard_since > _AWAY_SECONDS
        deaf = now - self._answered_at > _DEAF_SECONDS
        if deaf or not self._bus.connected:
            return
        if away or self._connections != self._bus.connections:
            await self._grant_grace()
            self._connections = self._bus.connections
            self._graced_at = now
        async with borrow(self._pool) as conn:
            as_of = await leases.read_clock(conn)
        await self._renew(now)
        if asyncio.get_running_loop().time() - now > _AWAY_SECONDS:
            # Postgres stood still: the next turn begins with grace.
            return
        await self._recover(as_of)
        if now - self._graced_at > self._lease_seconds:
            self._ledger.forget_silent(now=now, seconds=self._lease_seconds + 2)
        # Only a turn that went well counts: what failed may have been an outage.
        self._heard_since = asyncio.get_running_loop().time()

    async def _grant_grace(self) -> None:
        async with borrow(self._pool) as conn:
            near = await leases.grant_grace(conn, grace=_GRACE)
        log.info("leases.grace_granted", leases=near, seconds=_GRACE.total_seconds())

    async def _renew(self, now: float) -> None:
        """Renew what pods hold, when a good part of the lease is gone."""
        due = {
            lease_id
            for lease_id in self._held
            if (handed := self._ledger.handed_out.get(lease_id)) is None
            or now - handed.alive_at > self._lease_seconds / 3
        }
        held, self._held = self._held, set()
        unnoted = self._ledger.unnoted()
        if not due and not unnoted:
            return
        try:
            async with borrow(self._pool) as conn:
                await leases.note_taken_up(conn, lease_ids={*unnoted, *due})
                kept = await leases.renew(
                    conn,
                    lease_ids=due,
                    lease=timedelta(seconds=self._lease_seconds),
                )
        except Transient:
            self._held |= held
            raise
        for lease_id in unnoted:
            self._ledger.note(lease_id)
        for lease_id in kept:
            self._ledger.keep_alive(lease_id, now=now)

    async def _recover(self, as_of: datetime) -> None:
        more = True
        while more:
            spared = self._ledger.held(now=asyncio.get_running_loop().time())
            async with borrow(self._pool) as conn:
                recovered, more = await leases.recover(
                    conn, limit=_RECOVER_LEASES_MAX, as_of=as_of, spared=spared
                )
            if recovered:
                await self._tell_recovered(recovered)

    async def _tell_recovered(self, recovered: Sequence[leases.Recovered]) -> None:
        for job in recovered:
            self._ledger.close(job.lease_id, job.lane_id)
            RECOVERED.labels("dead" if job.dead else "ready").inc()
        log.warning("jobs.recovered", jobs=len(recovered))
        self._ledger.ready |= {
            job.lane_id
            for job in recovered
            if not job.dead and job.lane_id in self._ledger.lanes
        }
        self._bell.ring()
        await follow_up(
            self._pool,
            self._bus,
            lanes={job.lane_id for job in recovered},
            released={job.released for job in recovered},
            left_line=any(job.dead for job in recovered),
        )

    # --- bodies too large for a message --------------------------------------------

    async def listen_bodies(self, stopping: asyncio.Event) -> None:
        """Hear who wants a body, until stopped."""
        await self._bus.answer(
            BodyWanted.subject,
            self._bodies.put_nowait,
            group="dispatchers",
            stopping=stopping,
        )

    async def serve_bodies(self, stopping: asyncio.Event) -> None:
        """Give out pieces of bodies until stopped."""
        while not stopping.is_set():
            try:
                question = await asyncio.wait_for(self._bodies.get(), 0.2)
            except TimeoutError:
                continue
            with sparing(BodyWanted.__name__):
                await self._give(question)

    async def _give(self, question: Question) -> None:
        wanted = read(BodyWanted, question.data)
        if wanted is None:
            return
        try:
            piece = await self._piece(wanted)
        except Transient as error:
            # No answer: the pod asks again.
            log.warning("body.not_given", job_id=wanted.job_id, cause=str(error))
        else:
            await question.answer(piece)

    async def _piece(self, wanted: BodyWanted) -> bytes:
        async with borrow(self._pool) as conn:
            piece = await jobs.read_body(
                conn,
                job_id=UUID(wanted.job_id),
                lease_id=UUID(wanted.lease_id),
                offset=wanted.offset,
                length=min(wanted.length, _CHUNK_BYTES_MAX),
                digest=wanted.digest or None,
            )
        return piece or b""
