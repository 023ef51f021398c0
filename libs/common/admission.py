"""Who may start jobs of a queue with a limit, and how many: exact, wherever they run.

A claim refuses lanes whose queue has a limit.  Whoever is refused claims again within
`admission`: a transaction that first locks the queues, then reads what room there is,
lets the claim take that much, and notes what it took.  Ingest and the dispatcher do it
the same way, so a limit holds over all of them.  Queues without a limit pay nothing.
"""

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from libs.common.db import Conn
from libs.common.store import limits
from libs.common.store.limits import Room

#: Waiting a moment longer than for the next start lets a few gather.
_GATHER_SECONDS: Final = 0.02


@dataclass(slots=True)
class Admission:
    """How many jobs may be claimed of which lane now.

    Whoever claims asks for no more than *quotas*, names the lanes in *queue_of* as
    admitted, and notes the jobs that were `started`.
    """

    quotas: dict[int, int]
    #: Lanes whose queue is locked.  The others have no limit, or none any more.
    queue_of: dict[int, UUID]
    #: Lanes whose queue turned out to have none.
    unlimited: set[int]
    #: How many jobs were started, by queue and by lane.
    taken: Counter[UUID] = field(default_factory=Counter)
    given: Counter[int] = field(default_factory=Counter)
    #: Lanes that may have more, and in how many seconds: at their queue's next start,
    #: or soon, because another lane left its part over.  Known when the block has
    #: ended.  Who waits for a place is told when one is free.
    again: dict[int, float] = field(default_factory=dict)

    def started(self, lane_ids: Iterable[int]) -> None:
        """Note jobs that were claimed, one lane id a job."""
        for lane_id in lane_ids:
            if lane_id in self.queue_of:
                self.taken[self.queue_of[lane_id]] += 1
                self.given[lane_id] += 1


@asynccontextmanager
async def admission(
    conn: Conn, *, asked: Mapping[int, int]
) -> AsyncIterator[Admission]:
    """Admit up to ``asked[lane]`` jobs of each lane, for the block to claim them.

    It is one transaction: what the block claimed is committed when it ends.
    """
    async with conn.transaction():
        locked = await limits.lock_queues(conn, lanes=asked)
        rooms = await limits.read_rooms(conn, lanes=asked, locked=locked)
        granted = _granted(asked, rooms)
        admitted = Admission(
            quotas={lane_id: jobs for lane_id, jobs in granted.items() if jobs},
            queue_of={room.lane_id: room.queue_id for room in rooms},
            unlimited=asked.keys()
            - {room.lane_id for room in rooms if _room(room) is not None},
        )
        yield admitted
        next_start = await limits.spend(conn, started=admitted.taken)
    for queue_id, of_queue in _by_queue(rooms).items():
        wait = _until_more(of_queue[0], admitted.taken[queue_id], next_start)
        if wait is None:
            continue
        for room in of_queue:
            granted_all = granted[room.lane_id] == asked[room.lane_id]
            if (
                not granted_all
                and admitted.given[room.lane_id] == granted[room.lane_id]
            ):
                admitted.again[room.lane_id] = max(wait, _GATHER_SECONDS)


def _until_more(
    room: Room, taken: int, next_start: Mapping[UUID, float]
) -> float | None:
    """Return in how many seconds a queue may have more to give, if time tells."""
    if room.starts == taken:
        # All that the rate allows was taken.
        return next_start.get(room.queue_id, room.next_start_seconds)
    left = _room(room)
    return None if left is None or left <= taken else 0.0


def _granted(asked: Mapping[int, int], rooms: Sequence[Room]) -> dict[int, int]:
    """Share out the room of each queue: nobody has less than an equal part needs."""
    granted = dict(asked)
    for of_queue in _by_queue(rooms).values():
        left = _room(of_queue[0])
        if left is None:
            continue
        modest_first = sorted(of_queue, key=lambda room: asked[room.lane_id])
        for lanes_left, room in zip(
            range(len(modest_first), 0, -1), modest_first, strict=True
        ):
            # Rounded up, so that one place among many lanes is not nobody's.
            part = min(asked[room.lane_id], -(-left // lanes_left))
            granted[room.lane_id] = part
            left -= part
    return granted


def _by_queue(rooms: Sequence[Room]) -> dict[UUID, list[Room]]:
    found: dict[UUID, list[Room]] = {}
    for room in rooms:
        found.setdefault(room.queue_id, []).append(room)
    return found


def _room(room: Room) -> int | None:
    limits_ = [room.starts, room.places]
    return min((limit for limit in limits_ if limit is not None), default=None)
