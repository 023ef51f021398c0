"""A week is looked through, and what is over goes.

Where most of a week may go, what stays is copied beside it in small steps and changes
places with it in one moment (`swap_week`); the old week is dropped.  Where little may
go, that little is deleted in small steps.  Jobs that are not over, and dead letters,
stay with all that belongs to them.

While copies are made everything goes on.  Whatever moves a job of the week meanwhile
writes to the journal, so its copy is made again; the places change only when nothing
has moved since, and when everybody who reads sees the copies.  Who dies in the middle
leaves copies that the next one drops.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Final, Literal
from uuid import UUID

import structlog
from prometheus_client import Counter

from libs.common.db import Pool, borrow
from libs.common.errors import Unavailable
from libs.common.loops import pause
from libs.common.store import leaders, message_retention, retention
from libs.common.store.retention import Swap, Sweep, Week

log = structlog.get_logger()

WEEKS: Final = Counter(
    "bellhop_retention_weeks_total",
    "Weeks that were looked through, by what became of them.",
    ["of", "outcome"],
)
FORGOTTEN: Final = Counter(
    "bellhop_retention_rows_total",
    "Jobs and messages whose time to be kept was over.",
    ["of"],
)

DUTY: Final = "sweep"
TERM: Final = timedelta(seconds=60)
BATCH: Final = 500
#: Others have the database for as long as a step took, and no less than this.
_PAUSE_SECONDS: Final = 0.01
_SWAPS_MAX: Final = 30
#: Each time that the tables are asked for in vain, the house waits a fifth of a second.
_REFUSED_MAX: Final = 3
_SEEN_SECONDS_MAX: Final = 30.0

#: What became of a week: see `docs/retention.md`.
Outcome = Swap | Literal["trimmed", "kept", "unseen", "stopped"]
_DONE: Final = frozenset[Outcome]({"swapped", "dropped", "trimmed", "kept"})


class Sweeper:
    """One look through one week."""

    def __init__(self, pool: Pool, sweep: Sweep, stopping: asyncio.Event) -> None:
        self._pool = pool
        self._sweep: Final = sweep
        self._stopping = stopping
        self._loop = asyncio.get_running_loop()
        self._renewed_at = float("-inf")

    async def sweep(self, week: Week, *, days: int) -> bool:
        """Let go what is over of a week; remember that it was looked through.

        Return whether it was: else whatever was in the way is in the way of all weeks.
        """
        outcomes: list[Outcome] = []
        if week.has_messages:
            outcomes.append(await self._sweep_messages())
        if week.has_jobs:
            outcomes.append(await self._sweep_jobs())
        if not _DONE.issuperset(outcomes):
            return False
        await self._forget_edges()
        if self._stopping.is_set():
            return False
        async with borrow(self._pool) as conn:
            await retention.note_sweep(conn, monday=self._sweep.monday, days=days)
        return True

    async def _sweep_jobs(self) -> Outcome:
        jobs = over = past = 0
        async for job_ids in self._batches(retention.choose_ids):
            async with borrow(self._pool) as conn:
                some = await retention.count_past(
                    conn, sweep=self._sweep, job_ids=job_ids
                )
            jobs, over, past = jobs + len(job_ids), over + some[0], past + some[1]
        outcome: Outcome = "kept"
        if past or not jobs:
            async with borrow(self._pool) as conn:
                await retention.note_forgotten(conn, sweep=self._sweep)
        if 2 * past >= jobs:
            outcome = await self._swap_jobs()
        # A week whose jobs move faster than they are copied is rare, but must shrink.
        if outcome == "moved" or (outcome == "kept" and past):
            outcome = "trimmed"
            async for job_ids in self._batches(retention.choose_ids):
                async with borrow(self._pool) as conn:
                    await retention.forget_past(
                        conn, sweep=self._sweep, job_ids=job_ids
                    )
        return self._told("jobs", outcome, whole=jobs, over=over)

    async def _sweep_messages(self) -> Outcome:
        messages = past = 0
        async for ids in self._batches(message_retention.choose_messages):
            async with borrow(self._pool) as conn:
                past += await message_retention.count_past_messages(
                    conn, sweep=self._sweep, message_ids=ids
                )
            messages += len(ids)
        outcome: Outcome = "kept"
        if 2 * past >= messages:
            outcome = await self._swap_messages()
        if outcome == "moved" or (outcome == "kept" and past):
            outcome = "trimmed"
            async for ids in self._batches(message_retention.choose_messages):
                async with borrow(self._pool) as conn:
                    await message_retention.forget_messages(
                        conn, sweep=self._sweep, message_ids=ids
                    )
        return self._told("messages", outcome, whole=messages, over=past)

    def _told(self, of: str, outcome: Outcome, *, whole: int, over: int) -> Outcome:
        """Say what became of it; what was not looked through to its end is stopped."""
        if self._stopping.is_set():
            return "stopped"
        WEEKS.labels(of, outcome).inc()
        if outcome in _DONE:
            FORGOTTEN.labels(of).inc(over)
        log.info(
            "retention.week_swept",
            week=self._sweep.monday.isoformat(),
            of=of,
            outcome=outcome,
            whole=whole,
            over=over,
        )
        return outcome

    # --- swaps ------------------------------------------------------------------------

    async def _swap_jobs(self) -> Outcome:
        """Copy what stays, and let the copies take the place of the week."""
        async with borrow(self._pool) as conn:
            mark, self._copied_by = await retention.begin_sweep(conn, sweep=self._sweep)
        # A dump that is under way would let nobody have the tables, either.
        if not await self._is_seen():
            return "unseen"
        async for job_ids in self._batches(retention.choose_ids):
            await self._gather(job_ids)

        async def attempt() -> Swap | None:
            nonlocal mark
            async with borrow(self._pool) as conn:
                mark, moved = await retention.choose_moved(
                    conn, monday=self._sweep.monday, mark=mark
                )
            await self._gather(moved)
            if not await self._is_seen():
                return None
            async with borrow(self._pool) as conn:
                return await retention.swap_week(conn, sweep=self._sweep, mark=mark)

        return await self._insist(attempt)

    async def _swap_messages(self) -> Outcome:
        """The same of messages."""
        async with borrow(self._pool) as conn:
            self._copied_by = await message_retention.begin_sweep(
                conn, sweep=self._sweep
            )
        if not await self._is_seen():
            return "unseen"
        async for ids in self._batches(message_retention.choose_messages):
            await self._gather_messages(ids)

        async def attempt() -> Swap | None:
            async with borrow(self._pool) as conn:
                missing = await message_retention.choose_missing(
                    conn, monday=self._sweep.monday
                )
            await self._gather_messages(missing)
            if not await self._is_seen():
                return None
            async with borrow(self._pool) as conn:
                return await message_retention.swap_messages(conn, sweep=self._sweep)

        return await self._insist(attempt)

    async def _insist(self, attempt: Callable[[], Awaitable[Swap | None]]) -> Outcome:
        """Try again while jobs move, and a few times while somebody is in the way."""
        swap: Swap = "moved"
        refused = 0
        for _ in range(_SWAPS_MAX):
            if self._stopping.is_set():
                return "stopped"
            await self._stay_elected()
            tried = await attempt()
            if tried is None:
                return "unseen"
            swap = tried
            refused += swap == "refused"
            if swap != "moved" and (swap != "refused" or refused == _REFUSED_MAX):
                break
            # Whoever is in the way, a dump or a vacuum, may soon be done.
            await pause(random.uniform(0.0, float(refused)), self._stopping)  # noqa: S311
        return swap

    async def _gather(self, job_ids: Sequence[UUID]) -> None:
        """Copy what stays of these jobs."""
        for first in range(0, len(job_ids), BATCH):
            async with borrow(self._pool) as conn:
                self._copied_by = await retention.gather(
                    conn, sweep=self._sweep, job_ids=job_ids[first : first + BATCH]
                )

    async def _gather_messages(self, message_ids: Sequence[UUID]) -> None:
        """Copy what stays of these messages."""
        for first in range(0, len(message_ids), BATCH):
            async with borrow(self._pool) as conn:
                self._copied_by = await message_retention.gather_messages(
                    conn,
                    sweep=self._sweep,
                    message_ids=message_ids[first : first + BATCH],
                )

    #: The last transaction that wrote copies.
    _copied_by = "0"

    async def _is_seen(self) -> bool:
        """Wait until everybody who reads sees the copies, not for ever."""
        until = self._loop.time() + _SEEN_SECONDS_MAX
        while self._loop.time() < until and not self._stopping.is_set():
            async with borrow(self._pool) as conn:
                if await retention.is_seen_by_all(conn, xid=self._copied_by):
                    return True
            await pause(0.05, self._stopping)
        return False

    # --- steps ------------------------------------------------------------------------

    async def _batches(
        self, choose: Callable[..., Awaitable[list[UUID]]]
    ) -> AsyncIterator[list[UUID]]:
        """Walk once through a week; others have their turn in between."""
        after = UUID(int=0)
        while not self._stopping.is_set():
            began_at = self._loop.time()
            if began_at > self._renewed_at + TERM.total_seconds() / 4:
                await self._stay_elected()
            async with borrow(self._pool) as conn:
                ids = await choose(
                    conn, monday=self._sweep.monday, after=after, limit=BATCH
                )
            if not ids:
                return
            yield ids
            after = ids[-1]
            took = self._loop.time() - began_at
            await pause(max(_PAUSE_SECONDS, took), self._stopping)

    async def _stay_elected(self) -> None:
        """Keep the duty; raise `Unavailable` if another has it."""
        async with borrow(self._pool) as conn:
            term = await leaders.elect(
                conn, duty=DUTY, holder=self._sweep.sweeper, lasting=TERM
            )
        if term is None:
            raise Unavailable("another scheduler sweeps")
        self._renewed_at = self._loop.time()

    async def _forget_edges(self) -> None:
        """Delete what those who went had beside them, bit by bit."""
        for forget in (retention.forget_edges, retention.forget_completions):
            after: UUID | None = UUID(int=0)
            while after is not None and not self._stopping.is_set():
                async with borrow(self._pool) as conn:
                    after = await forget(
                        conn, monday=self._sweep.monday, after=after, limit=BATCH
                    )
