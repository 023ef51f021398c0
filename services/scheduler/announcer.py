"""What happened onto the event stream: complete, and in order.

One scheduler reads the journal and the notices in (xid, seq) order, up to the oldest
transaction that is still open, and pours what it finds into the stream.  What it reads
is final: nothing can be committed before that point any more.  It remembers how far it
came only after the stream has it, so whoever dies in between leaves it to the next one
to say again; the message id keeps a second copy out.  Two announcers at once, for a
moment, say the same things in the same order.

Who moves the mark also counts what was announced, in the same statement: each once,
whoever dies.  Webhooks are told by somebody else (`services.scheduler.teller`).
"""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

from prometheus_client import Counter

from libs.common import streams, tracing
from libs.common.bus import Bus
from libs.common.cloud_events import message
from libs.common.db import Pool, borrow
from libs.common.events import words_of
from libs.common.loops import Doorbell, on_bell
from libs.common.messages import EVENTS
from libs.common.store import announcing, journal, leaders, tallies
from libs.common.store.announcing import Occurrence, Transitioned
from libs.common.store.journal import Entry, Position
from services.scheduler import flow
from services.scheduler.duties import LEADER, give_back
from services.scheduler.tallies import summed

ANNOUNCED: Final = Counter("bellhop_events_announced_total", "Events announced.")

_DUTY: Final = "announce"
_EVENTS: Final = "bellhop.events"
_LEADING: Final = LEADER.labels(duty=_DUTY)
_TERM: Final = timedelta(seconds=5)
_RENEW_SECONDS: Final = 1.0
#: A turn costs as much for one event as for fifty, so some gather before it; more where
#: many come, and none where more are there than one turn can take.
_GATHER_SECONDS: Final = 0.005
_GATHER_MANY_SECONDS: Final = 0.04
_MANY: Final = 25


class Announcer:
    """One actor: reads on, says it, remembers."""

    def __init__(
        self,
        pool: Pool,
        bus: Bus,
        bell: Doorbell,
        *,
        holder: str,
        batch_max: int,
        poll_seconds: float,
    ) -> None:
        self._pool = pool
        self._bus = bus
        self._bell = bell
        self._holder: Final = holder
        self._batch_max: Final = batch_max
        self._poll_seconds: Final = poll_seconds
        self._elected_at = float("-inf")
        self._position: Position | None = None
        self._found_last = 0

    async def run(self, stopping: asyncio.Event) -> None:
        """Announce until stopped, whenever it is this one's turn."""
        await on_bell(
            self._turn,
            bell=self._bell,
            poll_seconds=self._poll_seconds,
            stopping=stopping,
        )
        if self._position is not None:
            await give_back(self._pool, duty=_DUTY, holder=self._holder)

    async def _turn(self) -> bool:
        if not self._bus.connected or not await self._is_elected():
            _LEADING.set(0)
            return False
        _LEADING.set(1)
        # Whoever rang goes on meanwhile.
        await asyncio.sleep(self._gather_seconds())
        async with borrow(self._pool) as conn:
            if self._position is None:
                self._position = await journal.read_announced(conn)
            found = await announcing.read_unannounced(
                conn, after=self._position, limit=self._batch_max
            )
        self._found_last = len(found)
        if not found:
            return False
        words = words_of(found, after=self._position)
        with tracing.sending(_EVENTS, _traces(found) if tracing.is_on() else ()):
            await streams.pour(self._bus, EVENTS, [message(word) for word in words])
        # Not moved: somebody else announced it too, or our last word was heard after
        # all.  Then it was counted, and we go on from what is remembered.
        entries = [one.entry for one in found if isinstance(one, Transitioned)]
        moved = await self._remember(self._position, found, entries)
        self._position = found[-1].position if moved else None
        ANNOUNCED.inc(len(found))
        if moved:
            flow.count(entries)
        # What was committed meanwhile has rung.
        return len(found) == self._batch_max or not moved

    def _gather_seconds(self) -> float:
        if self._found_last == self._batch_max:
            return 0
        return _GATHER_MANY_SECONDS if self._found_last >= _MANY else _GATHER_SECONDS

    async def _remember(
        self, before: Position, found: Sequence[Occurrence], entries: Sequence[Entry]
    ) -> bool:
        """Move the mark and count; return whether it was ours to do."""
        counted, credited = summed(entries)
        async with borrow(self._pool) as conn:
            return await tallies.count_announced(
                conn,
                before=before,
                upto=found[-1].position,
                tallies=counted,
                credits_=credited,
                happened=[(_whose(one), one.position.xid) for one in found],
            )

    async def _is_elected(self) -> bool:
        """Take or keep the duty; asks Postgres only now and then."""
        now = asyncio.get_running_loop().time()
        if self._position is not None and now - self._elected_at < _RENEW_SECONDS:
            return True
        async with borrow(self._pool) as conn:
            term = await leaders.elect(
                conn, duty=_DUTY, holder=self._holder, lasting=_TERM
            )
        if term is None:
            # Somebody else went on from where we were.
            self._position = None
            return False
        if now - self._elected_at > _TERM.total_seconds():
            self._position = None
        self._elected_at = now
        return True


def _traces(found: Sequence[Occurrence]) -> list[str]:
    """Return what created the jobs whose creation is announced, if it is traced."""
    return [
        trace
        for one in found
        if isinstance(one, Transitioned)
        and one.entry.transition == "created"
        and (trace := tracing.told_of(one.entry.details)) is not None
    ]


def _whose(occurrence: Occurrence) -> UUID:
    if isinstance(occurrence, Transitioned):
        return occurrence.entry.organization_id
    return occurrence.organization_id
