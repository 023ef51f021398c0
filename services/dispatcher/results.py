"""Verdicts into Postgres: many in one statement, and only then an answer to the pod."""

import asyncio
import random
from collections import Counter as Tally
from collections.abc import Sequence
from typing import Final, NamedTuple

import structlog
from prometheus_client import Counter

from libs.common.aftermath import follow_up
from libs.common.bus import Bus, Question, read, sparing
from libs.common.db import Pool, borrow, read_id
from libs.common.errors import Transient
from libs.common.loops import Doorbell, pause
from libs.common.messages import AttemptsEnded, Verdict
from libs.common.store import settlement
from services.dispatcher.judgement import is_delivered, judge
from services.dispatcher.ledger import Ledger
from services.dispatcher.settling import Settling

log = structlog.get_logger()

SETTLED: Final = Counter("bellhop_jobs_settled_total", "Attempts settled.", ["how"])
STALE: Final = Counter("bellhop_verdicts_stale_total", "Verdicts whose lease was gone.")
_AGAIN_SECONDS: Final = 0.2


class Report(NamedTuple):
    """Verdicts, and who waits to hear that they are committed."""

    question: Question
    verdicts: list[Verdict]


class Results:
    """One actor with a mailbox of reports; settles what is there, again and again."""

    def __init__(
        self, pool: Pool, bus: Bus, ledger: Ledger, bell: Doorbell, *, batch_max: int
    ) -> None:
        self._pool = pool
        self._bus = bus
        self._ledger = ledger
        self._bell = bell
        self._batch_max: Final = batch_max
        self._settling = Settling(pool, bus, actor=ledger.dispatcher)
        self._mailbox: asyncio.Queue[Question] = asyncio.Queue()

    async def listen_own(self, stopping: asyncio.Event) -> None:
        """Hear the reports on what we handed out, until stopped."""
        subject = AttemptsEnded.subject_of(self._ledger.dispatcher)
        await self._bus.answer(subject, self._mailbox.put_nowait, stopping=stopping)

    async def listen_any(self, stopping: asyncio.Event) -> None:
        """Hear reports whose own dispatcher does not answer, until stopped."""
        await self._bus.answer(
            AttemptsEnded.anybody,
            self._mailbox.put_nowait,
            group="dispatchers",
            stopping=stopping,
        )

    async def run(self, stopping: asyncio.Event) -> None:
        """Settle until stopped and the mailbox is empty."""
        while not (stopping.is_set() and self._mailbox.empty()):
            try:
                first = await asyncio.wait_for(self._mailbox.get(), 0.2)
            except TimeoutError:
                continue
            reports = self._gather(first)
            if not await self._settle_all(reports, stopping):
                return
            for report in reports:
                await report.question.answer()

    def _gather(self, first: Question) -> list[Report]:
        """Return the reports that are there, up to a batch."""
        reports: list[Report] = []
        verdicts = 0
        question: Question | None = first
        while question is not None:
            word = read(AttemptsEnded, question.data)
            # What cannot be read is answered too: to hear it again would not help.
            told = [] if word is None else list(filter(_names_a_lease, word.verdicts))
            reports.append(Report(question, told))
            verdicts += len(told)
            full = verdicts >= self._batch_max or self._mailbox.empty()
            question = None if full else self._mailbox.get_nowait()
        return reports

    async def _settle_all(
        self, reports: Sequence[Report], stopping: asyncio.Event
    ) -> bool:
        """Settle together, or each by itself if that fails; false when giving up.

        What fails by itself is skipped: its leases run out, and its neighbours' do not.
        """
        with sparing(AttemptsEnded.__name__):
            verdicts = [verdict for report in reports for verdict in report.verdicts]
            return await self._settle_persistently(verdicts, stopping)
        if len(reports) == 1:
            return True
        settled = [await self._settle_all([report], stopping) for report in reports]
        return all(settled)

    async def _settle_persistently(
        self, verdicts: Sequence[Verdict], stopping: asyncio.Event
    ) -> bool:
        """Settle, however often Postgres goes away; give up only when stopping."""
        while True:
            try:
                await self._settle(verdicts)
            except Transient as error:
                log.warning("results.postponed", cause=str(error), jobs=len(verdicts))
                if stopping.is_set():
                    # No answer: the pod says it again, to another dispatcher.
                    return False
                await pause(_AGAIN_SECONDS, stopping)
            else:
                return True

    async def _settle(self, verdicts: Sequence[Verdict]) -> None:
        failed = [
            (read_id(verdict.job_id), read_id(verdict.lease_id), None)
            for verdict in verdicts
            if verdict.sent and not is_delivered(verdict)
        ]
        policies = {}
        if failed:
            async with borrow(self._pool) as conn:
                policies = await settlement.read_policies(conn, leases=failed)
        # Heard twice in one batch, it is settled once.  A job may stand there under two
        # leases, one of them lost: which one lives is for Postgres to say.
        judged = {
            (settled.job_id, settled.lease_id): (verdict, settled)
            for verdict in verdicts
            if (
                settled := judge(
                    verdict,
                    policies.get(read_id(verdict.job_id)) if policies else None,
                    luck=random.random(),  # noqa: S311 - jitter, no secret
                )
            )
        }
        closed = await self._settling.settle(list(judged.values()))
        for job in closed:
            self._ledger.close(job.lease_id, job.lane_id)
        for how, jobs in Tally(job.how for job in closed).items():
            SETTLED.labels(how).inc(jobs)
        STALE.inc(len(verdicts) - len(closed))
        self._ledger.ready |= {
            job.lane_id
            for job in closed
            if job.how == "released" and job.lane_id in self._ledger.lanes
        }
        if closed:
            self._bell.ring()
            await follow_up(
                self._pool,
                self._bus,
                lanes={job.lane_id for job in closed if job.limited},
                released={job.released for job in closed},
                left_line=any(job.left_line for job in closed),
            )


def _names_a_lease(verdict: Verdict) -> bool:
    """Return whether the ids are ids; what names nothing settles nothing."""
    try:
        read_id(verdict.job_id)
        read_id(verdict.lease_id)
    except ValueError:
        return False
    return True
