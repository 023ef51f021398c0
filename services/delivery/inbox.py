"""Batches come in, attempts are made, verdicts go out.

The rule of the lease: an attempt never begins later than the lease's time after the
batch was sent, however long it was on its way or this process stood still: that is
read off the NATS server's clock.  Whether a renewal was committed nobody here can
know, so nobody counts on one; what is too late is dropped, and the lease in Postgres
decides.  What has begun is finished: it may be repeated elsewhere only if this process
dies.

The rule of fault: what goes wrong on this side (a secret that does not open, no file
descriptors left) does not count as an attempt; the job is handed back after a while.
"""

import asyncio
from functools import partial
from typing import Final

import structlog

from libs.common import streams, tracing
from libs.common.actors import spare
from libs.common.bus import Bus
from libs.common.errors import Unavailable
from libs.common.loops import pause
from libs.common.messages import (
    WORK,
    WORK_CONSUMER,
    AttemptDeliveries,
    Delivery,
    Verdict,
)
from libs.common.server_clock import ServerClock
from services.delivery.bodies import Bodies
from services.delivery.leases import Leases
from services.delivery.manners import Manner, Manners, key_of
from services.delivery.metrics import DURATION, ENDED, Outcome
from services.delivery.reports import Reports
from services.delivery.sender import Sender, unsent

log = structlog.get_logger()

#: A job that is handed back comes straight out again: not faster than this.
_HAND_BACK_SECONDS: Final = 1.0
#: What must be left of a lease for an attempt to begin: most end in less.
_LEFT_SECONDS_MIN: Final = 1.0


class Inbox:
    """Takes batches while there are free slots, and makes the attempts (an actor)."""

    def __init__(
        self,
        bus: Bus,
        *,
        sender: Sender,
        manners: Manners,
        bodies: Bodies,
        leases: Leases,
        reports: Reports,
        slots: int,
        stopping: asyncio.Event,
    ) -> None:
        self._bus = bus
        self._sender = sender
        self._manners = manners
        self._bodies = bodies
        self._leases = leases
        self._reports = reports
        self._slots = asyncio.Semaphore(slots)
        self._stopping = stopping
        self._clock = ServerClock(bus, WORK)
        self._loop = asyncio.get_running_loop()

    async def run(self) -> None:
        """Take batches until stopped; return when the last attempt has ended."""
        async with asyncio.TaskGroup() as attempts:
            await streams.pull(
                self._bus,
                WORK,
                WORK_CONSUMER,
                AttemptDeliveries,
                partial(self._begin, attempts),
                has_room=self._leases.room,
                stopping=self._stopping,
            )
            # Whoever waits for a slot goes through now, sees that we are stopping,
            # and is handed back.
            self._slots.release()

    async def _begin(
        self, attempts: asyncio.TaskGroup, batch: AttemptDeliveries
    ) -> None:
        await self._leases.accept(batch.dispatcher, batch.lease_id)
        start_by = await self._start_by(batch)
        manners: dict[str, Manner | None] = {}
        for job in batch.jobs:
            task = attempts.create_task(
                spare("attempt", partial(self._attempt, job, batch, manners, start_by))
            )
            self._leases.take(batch.dispatcher, batch.lease_id)
            # However the task ends, cancelled before its first step included, what
            # it carries is put down: a lease named for ever would never be released.
            task.add_done_callback(partial(self._ended, batch))

    async def _start_by(self, batch: AttemptDeliveries) -> float:
        """Return until when its attempts may begin, on the loop's clock."""
        left = batch.lease_seconds - _LEFT_SECONDS_MIN
        if batch.sent_at is None:
            # It may have waited as long as the stream lets it.
            return self._loop.time() + left - WORK.age_max.total_seconds()
        try:
            age = await self._clock.latest() - batch.sent_at
        except Unavailable as error:
            log.warning("batch.age_unknown", lease_id=batch.lease_id, cause=str(error))
            age = left
        return self._loop.time() + left - max(age, 0.0)

    def _ended(
        self, batch: AttemptDeliveries, task: asyncio.Task[Verdict | None]
    ) -> None:
        verdict = None if task.cancelled() else task.result()
        if verdict is None:
            self._leases.put_down(batch.dispatcher, batch.lease_id)
        else:
            self._reports.put(batch.dispatcher, verdict)

    async def _attempt(
        self,
        job: Delivery,
        batch: AttemptDeliveries,
        manners: dict[str, Manner | None],
        start_by: float,
    ) -> Verdict:
        """Make one attempt, or hand the job back when the lease may be gone.

        *manners* are those of the batch that are known already.
        """
        manner = self._manner(job, batch, manners)
        if manner is None:
            return await self._handed_back(job, batch)
        held = self._bodies.of(job, lease_id=batch.lease_id, start_by=start_by)
        async with held as body, self._slots:
            if self._stopping.is_set():
                return await self._handed_back(job, batch)
            if body is None or self._loop.time() >= start_by:
                log.warning("attempt.too_late", job_id=job.job_id, attempt=job.attempt)
                return await self._handed_back(job, batch)
            link = batch.traces.get(job.job_id) if batch.traces else None
            with tracing.attempting(job, link=link, parent=batch.trace):
                verdict = await self._sender.attempt(
                    job, body, manner, lease_id=batch.lease_id
                )
                if link is not None:
                    tracing.ended(verdict)
        if not verdict.sent:
            log.error("attempt.not_made", job_id=job.job_id, attempt=job.attempt)
            return await self._handed_back(job, batch)
        tell(job, verdict)
        return verdict

    def _manner(
        self,
        job: Delivery,
        batch: AttemptDeliveries,
        manners: dict[str, Manner | None],
    ) -> Manner | None:
        key = key_of(job)
        if key not in manners:
            manners[key] = self._manners.of_job(
                job,
                secrets=batch.secrets.get(job.organization_id, ()),
                receiver=batch.receivers.get(key),
            )
        return manners[key]

    async def _handed_back(self, job: Delivery, batch: AttemptDeliveries) -> Verdict:
        await pause(_HAND_BACK_SECONDS, self._stopping)
        ENDED[Outcome.HANDED_BACK].inc()
        return unsent(job, lease_id=batch.lease_id)


def tell(job: Delivery, verdict: Verdict) -> None:
    """Leave one line of an attempt, and count it."""
    DURATION.observe(verdict.duration_ms / 1000)
    if verdict.status is None:
        outcome = Outcome.FAILED
    elif 200 <= verdict.status < 300:  # noqa: PLR2004
        outcome = Outcome.DELIVERED
    else:
        outcome = Outcome.REFUSED
    ENDED[outcome].inc()
    write = log.debug if outcome is Outcome.DELIVERED else log.info
    write(
        "attempt.ended",
        job_id=job.job_id,
        endpoint_id=job.endpoint_id,
        attempt=job.attempt,
        outcome=outcome,
        status=verdict.status,
        error=verdict.error,
        duration_ms=verdict.duration_ms,
    )
