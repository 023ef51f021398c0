"""Verdicts on their way home.

A verdict is kept until somebody has answered that it is committed.  Verdicts of the
same moment share a report to the dispatcher that handed their leases out; when that
one does not answer, any other will do, for the leases in Postgres decide.  Reports
are said again for ever, with backoff: a verdict that is lost is a webhook sent twice.
"""

import asyncio
import random
import time
from collections import Counter, deque
from dataclasses import dataclass
from itertools import count
from typing import Final

import msgspec
import structlog

from libs.common.bus import Bus, NobodyListens, Undecided
from libs.common.errors import Unavailable
from libs.common.messages import AttemptsEnded, Verdict
from services.delivery.leases import Leases
from services.delivery.metrics import REPORTS_REPEATED, REPORTS_UNANSWERED

log = structlog.get_logger()

#: Verdicts that come within this time share a report.
_GATHER_SECONDS: Final = 0.002
#: Reports to one dispatcher that wait for their answer at once; meanwhile the next
#: ones gather.
_LANES: Final = 4
_VERDICTS_MAX: Final = 256
_ANSWER_SECONDS: Final = 5.0
_AGAIN_SECONDS: Final = 0.05
_AGAIN_SECONDS_MAX: Final = 1.0
#: What a verdict weighs in JSON without its answer, and a report without verdicts.
_VERDICT_BYTES: Final = 512
_REPORT_BYTES: Final = 1024
#: A report is no larger than this, however much the bus would carry.
_REPORT_BYTES_MAX: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Ended:
    """A verdict, and when it was reached (monotonic)."""

    at: float
    verdict: Verdict


@dataclass(eq=False, frozen=True, slots=True)
class Report:
    """Verdicts that are said together."""

    dispatcher: str
    ended: list[Ended]


class Reports:
    """Carries verdicts home (an actor with a mailbox)."""

    def __init__(self, bus: Bus, leases: Leases, *, pod: str) -> None:
        self._bus = bus
        self._leases = leases
        self._pod = pod
        self._waiting: dict[str, deque[Ended]] = {}
        self._unanswered: set[Report] = set()
        self._bell = asyncio.Event()
        self._closed = False
        REPORTS_UNANSWERED.set_function(lambda: len(self._unanswered))

    def put(self, dispatcher: str, verdict: Verdict) -> None:
        """Take a verdict; its job is put down when it is committed."""
        ended = Ended(time.monotonic(), verdict)
        self._waiting.setdefault(dispatcher, deque()).append(ended)
        self._bell.set()

    def close(self) -> None:
        """Take nothing more: the actor returns when everything is answered."""
        self._closed = True
        self._bell.set()

    async def run(self) -> None:
        """Report until closed and everything is answered."""
        self._recover()
        async with asyncio.TaskGroup() as group:
            while self._waiting or self._unanswered or not self._closed:
                await self._bell.wait()
                self._bell.clear()
                await asyncio.sleep(_GATHER_SECONDS)
                for report in self._compose():
                    self._unanswered.add(report)
                    group.create_task(self._carry(report))

    def _recover(self) -> None:
        """Take up what an earlier run of this actor left behind."""
        for report in self._unanswered:
            waiting = self._waiting.setdefault(report.dispatcher, deque())
            waiting.extendleft(reversed(report.ended))
        self._unanswered.clear()
        self._bell.set()

    def _compose(self) -> list[Report]:
        """Make reports of what waits, as far as there are lanes."""
        busy = Counter(report.dispatcher for report in self._unanswered)
        bytes_max = min(self._bus.payload_bytes_max, _REPORT_BYTES_MAX) - _REPORT_BYTES
        reports = []
        for dispatcher, waiting in list(self._waiting.items()):
            for _ in range(_LANES - busy[dispatcher]):
                reports.append(Report(dispatcher, _take(waiting, bytes_max=bytes_max)))
                if not waiting:
                    del self._waiting[dispatcher]
                    break
        return reports

    async def _carry(self, report: Report) -> None:
        await self._until_answered(report)
        for ended in report.ended:
            self._leases.put_down(report.dispatcher, ended.verdict.lease_id)
        self._unanswered.discard(report)
        self._bell.set()

    async def _until_answered(self, report: Report) -> None:
        subject = AttemptsEnded.subject_of(report.dispatcher)
        for failures in count(1):
            try:
                await self._bus.ask(
                    subject, self._word(report).encode(), seconds=_ANSWER_SECONDS
                )
            except (NobodyListens, Undecided) as error:
                cause = str(error)
                subject = AttemptsEnded.anybody
            except Unavailable as error:
                cause = str(error)
            else:
                return
            REPORTS_REPEATED.inc()
            log.warning(
                "report.unanswered",
                dispatcher=report.dispatcher,
                verdicts=len(report.ended),
                failures=failures,
                cause=cause,
            )
            if failures > 1:
                await asyncio.sleep(_pause_seconds(failures))

    def _word(self, report: Report) -> AttemptsEnded:
        now = time.monotonic()
        return AttemptsEnded(
            pod=self._pod,
            verdicts=[
                msgspec.structs.replace(
                    ended.verdict, ended_ms_ago=round((now - ended.at) * 1000, 3)
                )
                for ended in report.ended
            ],
        )


def _take(waiting: deque[Ended], *, bytes_max: int) -> list[Ended]:
    """Take what fits into one message, and at least one verdict."""
    taken = [waiting.popleft()]
    size = _weight(taken[0].verdict)
    while waiting and len(taken) < _VERDICTS_MAX:
        size += _weight(waiting[0].verdict)
        if size > bytes_max:
            break
        taken.append(waiting.popleft())
    return taken


def _weight(verdict: Verdict) -> int:
    """Return how many bytes *verdict* takes in JSON at most."""
    chars = len(verdict.error or "") + len(verdict.retry_after or "")
    for name, value in (verdict.headers or {}).items():
        chars += len(name) + len(value) + 2
    # Base64, and at most four bytes of UTF-8 a character.
    return _VERDICT_BYTES + len(verdict.body) * 4 // 3 + chars * 4


def _pause_seconds(failures: int) -> float:
    longest = min(_AGAIN_SECONDS * 2.0**failures, _AGAIN_SECONDS_MAX)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311
