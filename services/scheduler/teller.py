"""The journal to outgoing and completion webhooks: each event once, whoever dies.

One scheduler, elected for this alone, reads the journal in (xid, seq) order, up to the
oldest transaction that is still open, as the announcer does but with a mark of its own:
many deliveries for one tenant delay nobody's events.  The transaction that creates them
moves the mark.  It is short, as nothing that begins after it can be announced before it
ends, and it moves the mark last, as the announcer's is in the same row.  NATS is not
needed.
"""

import asyncio
from datetime import timedelta
from typing import Final

from libs.common.bus import Bus
from libs.common.db import Conn, Pool, borrow
from libs.common.loops import Doorbell, on_bell
from libs.common.messages import OrganizationChanged
from libs.common.store import leaders, telling
from libs.common.store.journal import Entry, Position
from libs.common.store.telling import Audience
from services.scheduler import outgoing
from services.scheduler.duties import LEADER, give_back
from services.scheduler.outgoing import TOLD, Overtaken, Told
from services.scheduler.relay import ENDS

_DUTY: Final = "tell"
_LEADING: Final = LEADER.labels(duty=_DUTY)
_TERM: Final = timedelta(seconds=5)
_RENEW_SECONDS: Final = 1.0
_BATCH: Final = 500
_GATHER_SECONDS: Final = 0.02


class Teller:
    """One actor: reads on, tells, remembers."""

    def __init__(
        self,
        pool: Pool,
        bus: Bus,
        bell: Doorbell,
        *,
        holder: str,
        poll_seconds: float,
    ) -> None:
        self._pool = pool
        self._bus = bus
        self._bell = bell
        self._holder: Final = holder
        self._poll_seconds: Final = poll_seconds
        self._elected_at = float("-inf")

    async def run(self, stopping: asyncio.Event) -> None:
        """Tell until stopped, whenever it is this one's turn."""
        await on_bell(
            self._turn,
            bell=self._bell,
            poll_seconds=self._poll_seconds,
            stopping=stopping,
        )
        await give_back(self._pool, duty=_DUTY, holder=self._holder)

    async def _turn(self) -> bool:
        if not await self._is_elected():
            _LEADING.set(0)
            return False
        _LEADING.set(1)
        # Let some gather, and let others commit what waits for us.
        await asyncio.sleep(_GATHER_SECONDS)
        async with borrow(self._pool) as conn:
            told = await tell_next(conn)
        if told is None:
            return False
        if told.created:
            TOLD.inc(told.created)
            await self._bus.ring_lanes((lane_id, True) for lane_id in told.lanes)
            await self._bus.ring_journal()
        for organization_id in told.disabled:
            await self._bus.ring(
                OrganizationChanged(organization_id=str(organization_id))
            )
        return told.more

    async def _is_elected(self) -> bool:
        """Take or keep the duty; asks Postgres only now and then."""
        now = asyncio.get_running_loop().time()
        if now - self._elected_at < _RENEW_SECONDS:
            return True
        async with borrow(self._pool) as conn:
            term = await leaders.elect(
                conn, duty=_DUTY, holder=self._holder, lasting=_TERM
            )
        self._elected_at = float("-inf") if term is None else now
        return term is not None


async def tell_next(conn: Conn) -> Told | None:
    """Tell some more of the journal, once; return None when there was no more of it."""
    before = await telling.read_told(conn)
    entries, looked_at = await telling.read_untold(
        conn, after=before, limit=_BATCH, ends=ENDS
    )
    if not entries:
        return None
    # Read after the journal: who is there before something happens is told.
    audience = await outgoing.audience_of(conn, entries)
    try:
        async with conn.transaction():
            told = await _tell(conn, before, entries, audience)
    except Overtaken:
        # Somebody else told some of it.  We go on from what is remembered.
        return Told(more=True)
    told.more = told.happenings < len(entries) or looked_at == _BATCH
    return told


async def _tell(
    conn: Conn, before: Position, entries: list[Entry], audience: Audience
) -> Told:
    told = await outgoing.tell(
        conn, (outgoing.letters_of([entry], audience) for entry in entries)
    )
    done = entries[: told.happenings]
    outcomes = outgoing.outcomes_of(done)
    told.disabled = await outgoing.note_outcomes(conn, outcomes)
    moved = await telling.note_told(
        conn,
        before=before,
        upto=done[-1].position,
        alone=not (told.created or outcomes),
    )
    if not moved:
        raise Overtaken
    return told
