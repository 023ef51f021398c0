"""Who may start jobs where there is a limit, and how many: exact, wherever they run.

A claim refuses lanes whose queue has a limit, and lanes of endpoints, which all have
one.  Whoever is refused claims again within `admission`: a transaction that first locks
the gates that the lanes' jobs pass, then reads what room there is, lets the claim take
that much, and notes what it took.  Ingest and the dispatcher do it the same way, so a
limit holds over all of them.  Lanes without a limit pay nothing.
"""

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from libs.common.db import Conn
from libs.common.store import limits
from libs.common.store.limits import Gate, Room

#: Waiting a moment longer than for the next start lets a few gather.
_GATHER_SECONDS: Final = 0.02


@dataclass(slots=True)
class Admission:
    """How many jobs may be claimed of which lane now.

    Whoever claims asks for no more than *quotas*, names the lanes in *gates_of* as
    admitted, and notes the jobs that were `started`.
    """

    quotas: dict[int, int]
    #: The gates that are locked, by lane.  Other lanes have no limit, or none any more.
    gates_of: dict[int, list[Gate]]
    #: Lanes that turned out to have none.
    unlimited: set[int]
    #: How many jobs were started, by gate and by lane.
    taken: Counter[Gate] = field(default_factory=Counter)
    given: Counter[int] = field(default_factory=Counter)
    #: Lanes that may have more, and in how many seconds: when the last of their gates
    #: lets the next one pass, or soon, because another lane left its part over.  Known
    #: when the block has ended.  Who waits for a place is told when one is free.
    again: dict[int, float] = field(default_factory=dict)

    def started(self, lane_ids: Iterable[int]) -> None:
        """Note jobs that were claimed, one lane id a job."""
        for lane_id in lane_ids:
            if lane_id in self.gates_of:
                self.taken.update(self.gates_of[lane_id])
                self.given[lane_id] += 1


@asynccontextmanager
async def admission(
    conn: Conn, *, asked: Mapping[int, int]
) -> AsyncIterator[Admission]:
    """Admit up to ``asked[lane]`` jobs of each lane, for the block to claim them.

    It is one transaction: what the block claimed is committed when it ends.
    """
    async with conn.transaction():
        locked = await limits.lock_gates(conn, lanes=asked)
        rooms = await limits.read_rooms(conn, lanes=asked, locked=locked)
        granted = _granted(asked, rooms)
        admitted = Admission(
            quotas={lane_id: jobs for lane_id, jobs in granted.items() if jobs},
            gates_of=_gates_of(rooms),
            unlimited=asked.keys()
            - {room.lane_id for room in rooms if _left(room) is not None},
        )
        yield admitted
        next_start: dict[UUID, float] = {}
        if any(room.starts is not None for room in rooms):
            next_start = await limits.spend(conn, started=admitted.taken)
    waits = {
        gate: _until_more(at_gate[0], admitted.taken[gate], next_start)
        for gate, at_gate in _by_gate(rooms).items()
    }
    for lane_id, gates in admitted.gates_of.items():
        if granted[lane_id] == asked[lane_id]:
            continue
        wait = _longest(waits[gate] for gate in gates)
        if wait is not None and admitted.given[lane_id] == granted[lane_id]:
            admitted.again[lane_id] = max(wait, _GATHER_SECONDS)


def _until_more(
    room: Room, taken: int, next_start: Mapping[UUID, float]
) -> float | None:
    """Return in how many seconds a gate may let more pass; None: time cannot tell."""
    if room.shut_seconds > 0:
        return room.shut_seconds
    if room.starts == taken:
        # All that the rate allows was taken.
        return next_start.get(room.gate.id, room.next_start_seconds)
    left = _left(room)
    return None if left is not None and left <= taken else 0.0


def _longest(waits: Iterable[float | None]) -> float | None:
    longest = 0.0
    for wait in waits:
        if wait is None:
            return None
        longest = max(longest, wait)
    return longest


def _granted(asked: Mapping[int, int], rooms: Sequence[Room]) -> dict[int, int]:
    """Share out the room at each gate: nobody has less than an equal part needs."""
    granted = dict(asked)
    for at_gate in _by_gate(rooms).values():
        left = _left(at_gate[0])
        if left is None:
            continue
        modest_first = sorted(at_gate, key=lambda room: granted[room.lane_id])
        for lanes_left, room in zip(
            range(len(modest_first), 0, -1), modest_first, strict=True
        ):
            # Rounded up, so that one place among many lanes is not nobody's.
            part = min(granted[room.lane_id], -(-left // lanes_left))
            granted[room.lane_id] = part
            left -= part
    return granted


def _by_gate(rooms: Sequence[Room]) -> dict[Gate, list[Room]]:
    found: dict[Gate, list[Room]] = {}
    for room in rooms:
        found.setdefault(room.gate, []).append(room)
    return found


def _gates_of(rooms: Sequence[Room]) -> dict[int, list[Gate]]:
    found: dict[int, list[Gate]] = {}
    for room in rooms:
        found.setdefault(room.lane_id, []).append(room.gate)
    return found


def _left(room: Room) -> int | None:
    """Return how many jobs may pass, or None when there is no limit."""
    if room.shut_seconds > 0:
        return 0
    limits_ = [room.starts, room.places]
    return min((limit for limit in limits_ if limit is not None), default=None)
