"""Notices to outgoing webhooks: what happened beside the transitions of jobs.

Any number of schedulers may do it: the deliveries are created by whoever remembers
first how far the notices were told, in the same transaction.  NATS is not needed.
"""

import asyncio
from typing import Final

from libs.common.bus import Bus
from libs.common.db import Conn, Pool, borrow
from libs.common.loops import Doorbell, on_bell
from libs.common.store import notices, telling
from libs.common.store.journal import Position
from libs.common.store.notices import Notice
from libs.common.store.telling import Audience
from services.scheduler import outgoing
from services.scheduler.outgoing import TOLD, Overtaken, Told

_BATCH: Final = 500
_POLL_SECONDS: Final = 0.5
#: Every commit rings: look only so often.
_GATHER_SECONDS: Final = 0.1


class Notices:
    """One actor: reads on, tells, remembers."""

    def __init__(self, pool: Pool, bus: Bus, bell: Doorbell) -> None:
        self._pool = pool
        self._bus = bus
        self._bell = bell

    async def run(self, stopping: asyncio.Event) -> None:
        """Tell until stopped."""
        await on_bell(
            self._turn, bell=self._bell, poll_seconds=_POLL_SECONDS, stopping=stopping
        )

    async def _turn(self) -> bool:
        async with borrow(self._pool) as conn:
            told = await tell_next(conn)
        if told is not None and told.created:
            TOLD.inc(told.created)
            await self._bus.ring_lanes((lane_id, True) for lane_id in told.lanes)
            await self._bus.ring_journal()
        await asyncio.sleep(_GATHER_SECONDS)
        return told is not None


async def tell_next(conn: Conn) -> Told | None:
    """Tell some more notices, once; return None when there were no more."""
    before = await notices.read_told(conn)
    found = await notices.read_untold(conn, after=before, limit=_BATCH)
    if not found:
        return None
    audience = await telling.find_audience(
        conn,
        organization_ids={notice.organization_id for notice in found},
        ended=(),
    )
    try:
        async with conn.transaction():
            return await _tell(conn, before, found, audience)
    except Overtaken:
        return Told(more=True)


async def _tell(
    conn: Conn, before: Position, found: list[Notice], audience: Audience
) -> Told:
    told = await outgoing.tell(
        conn, (outgoing.letters_of_notices([notice], audience) for notice in found)
    )
    upto = found[told.happenings - 1].position
    # Last: the announcer's mark is in the same row.
    if not await notices.note_told(conn, before=before, upto=upto):
        raise Overtaken
    return told
