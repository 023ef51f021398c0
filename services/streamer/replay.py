"""Catching up: what a watcher missed, and then what happens, without a seam.

What is not long ago stands in the feed's memory; what is older is read from the tables,
a page at a time, no faster than the client takes it.  A watcher joins the feed at the
very position up to which it was told, so nothing is missed and nothing told twice.
Positions mean the same at every streamer.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from libs.common.db import Conn, Pool, borrow
from libs.common.events import words_of
from libs.common.ids import parse_id
from libs.common.store import missed
from libs.common.store.journal import Position
from services.streamer import frames, marks
from services.streamer.feed import Feed
from services.streamer.frames import Frame
from services.streamer.marks import Mark
from services.streamer.tidings import ENDS, Tiding
from services.streamer.watcher import Watcher

#: How many events are read at once for one watcher.
_PAGE: Final = 200
#: Transactions may begin in another order than they are numbered.
_SLACK: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class JobView:
    """What is told first of a job, how far that goes, and whether that was all."""

    told: list[Frame]
    position: tuple[int, int]
    has_ended: bool


class Replay:
    """Reads what was missed; one a process."""

    def __init__(self, pool: Pool, feed: Feed, *, days_max: float) -> None:
        self._pool = pool
        self._feed = feed
        self._kept: Final = timedelta(days=days_max)

    async def missed(
        self, watcher: Watcher, since: Mark | datetime
    ) -> AsyncIterator[list[Frame]]:
        """Give what happened since, a page at a time; then the watcher has joined.

        What is not kept any more is told as such.  Raises `Unavailable`.
        """
        not_before: datetime | None = None
        if isinstance(since, datetime):
            not_before, asked = since, since.isoformat()
            kept_since = datetime.now(UTC) - self._kept
            found = await self._position_at(max(since, kept_since) - _SLACK)
            too_old = since < kept_since
            mark = Mark(found)
        else:
            mark, asked = since, marks.spell(since.position) or ""
            too_old = await self._is_too_old(mark)
        if too_old:
            self._feed.join(watcher)
            yield [frames.events_lost(asked)]
            return
        position, skip = mark.position, mark.frames
        while watcher.live_after is None:
            tidings = None
            # Told in part, from the tables, and yet to be heard: else it would come
            # whole.
            if not skip or position < (self._feed.heard or position):
                tidings = self._feed.since(watcher, position, at_most=_PAGE)
            if tidings is None:
                tidings, position = await self._read(watcher, position)
            elif tidings:
                position = tidings[-1].position or position
            told: list[Frame] = []
            for tiding in tidings:
                if not_before is None or _time_of(tiding) >= not_before:
                    told += watcher.told(tiding, skip=skip)
                skip = 0
            # What was told in part may be erased.
            skip = 0
            yield told

    async def view_job(
        self, watcher: Watcher, job_id: str, mark: Mark | None
    ) -> "JobView | None":
        """Return how a job stands, or what it went through behind *mark*.

        None when the watcher may see no such job.  Raises `Unavailable`.
        """
        parsed = parse_id(job_id)
        if parsed is None:
            return None
        organization_id = watcher.principal.organization_id
        async with borrow(self._pool) as conn:
            # First: what can still be committed before this, the job has not done.
            horizon = _read_back(await missed.read_horizon(conn))
            standing = await missed.read_standing(
                conn, organization_id=organization_id, job_id=parsed
            )
            if standing is None or not watcher.principal.may(standing.queue_name):
                return None
            last = _read_back(standing.position)
            if mark is None or mark.position > last:
                told = watcher.wanted(
                    frames.standing(
                        job_id=job_id,
                        queue_name=standing.queue_name,
                        status=standing.status,
                        at=standing.at,
                        mark=marks.spell(last),
                    )
                )
            else:
                told = await self._of_job(conn, watcher, parsed, mark, last)
        return JobView(told, max(horizon, last), standing.status in ENDS)

    async def _of_job(
        self,
        conn: Conn,
        watcher: Watcher,
        job_id: UUID,
        mark: Mark,
        upto: tuple[int, int],
    ) -> list[Frame]:
        after, skip = mark.position, mark.frames
        told: list[Frame] = []
        while after < upto:
            found = await missed.read_of_job(
                conn,
                organization_id=watcher.principal.organization_id,
                job_id=job_id,
                after=_stored(after),
                horizon=Position(str(upto[0] + 1), 0),
                limit=_PAGE,
            )
            for word in words_of(found, after=_stored(after)):
                told += watcher.told(Tiding(word), skip=skip)
                skip = 0
            after = _read_back(found[-1].position) if len(found) == _PAGE else upto
        return told

    async def _read(
        self, watcher: Watcher, position: tuple[int, int]
    ) -> tuple[list[Tiding], tuple[int, int]]:
        organization_id = watcher.principal.organization_id
        async with borrow(self._pool) as conn:
            horizon = await missed.read_horizon(conn)
            page = await missed.read_page(
                conn,
                organization_id=organization_id,
                after=_stored(position),
                horizon=horizon,
                limit=_PAGE,
            )
            upto = page.upto
            if not page.found and upto != horizon:
                # Others kept the house busy: on to where there may be something.
                onward = await missed.read_onward(
                    conn, organization_id=organization_id, after=upto
                )
                upto = onward or upto
        words = words_of(page.found, after=_stored(position))
        return [Tiding(word) for word in words], _read_back(upto)

    async def _is_too_old(self, mark: Mark) -> bool:
        """Whether what happened behind *mark* may be forgotten, or is yet to come."""
        if self._feed.remembers(mark.position):
            return False
        async with borrow(self._pool) as conn:
            horizon = await missed.read_horizon(conn)
            if mark.position > _read_back(horizon):
                # Of another database, or of one that was restored.
                return True
            xid = str(mark.position[0])
            if await missed.is_forgotten(conn, xid=xid):
                return True
            first = await missed.read_first(conn, xid=xid)
        return first is not None and first[1] < datetime.now(UTC) - self._kept

    async def _position_at(self, moment: datetime) -> tuple[int, int]:
        """Return a position with nothing behind it that happened before *moment*."""
        async with borrow(self._pool) as conn:
            horizon = _read_back(await missed.read_horizon(conn))[0]
            low = 0
            high = horizon
            while low < high:
                middle = (low + high) // 2
                first = await missed.read_first(conn, xid=str(middle))
                if first is None or first[1] >= moment:
                    high = middle
                else:
                    low = max(middle, int(first[0].xid)) + 1
        return (low, 0)


def _time_of(tiding: Tiding) -> datetime:
    return datetime.fromisoformat(tiding.event.time)


def _stored(position: tuple[int, int]) -> Position:
    return Position(str(position[0]), position[1])


def _read_back(position: Position) -> tuple[int, int]:
    return int(position.xid), position.seq
