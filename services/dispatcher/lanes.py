"""Who gets how much of what is free: fair between organizations, then lanes (pure).

What is shared is attempts in flight, because that is what a receiver that hangs holds
on to.  The next slots go to the organization that has the fewest in flight for its
weight, and in it to the lane that has the fewest.  However much is free, a lane never
holds more than half of all slots, nor an organization more than three quarters: whoever
comes next finds room at once.  While anything waits that is tried for the first time,
what is tried again never holds more than half of the slots, nor gets more than half of
what is free: a storm of retries cannot stop what is new.
"""

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

_LANE_SHARE: Final = 0.5
_ORGANIZATION_SHARE: Final = 0.75
_RETRIES_SHARE: Final = 0.5
#: Slots are given out in pieces of this size: a claim of a few jobs costs as much as
#: one of a single job.
_PIECE: Final = 16


@dataclass(frozen=True, slots=True)
class Waiting:
    """A lane with ready jobs, and what it has in flight."""

    lane_id: int
    organization_id: UUID
    in_flight: int
    #: Whether its jobs are tried again.
    retries: bool = False
    #: Its organization's.
    weight: int = 1


def share(
    lanes: Iterable[Waiting],
    *,
    slots: int,
    free: int,
    in_flight: Mapping[UUID, int],
    most: int,
    retrying: int = 0,
) -> dict[int, int]:
    """Return how many jobs to claim from which lane.

    *slots* is all there are, *free* those not taken, *in_flight* what each
    organization holds, *most* the largest sum wanted, *retrying* what is in flight of
    all lanes of retries.
    """
    left = min(free, most)
    lane_cap = max(1, int(slots * _LANE_SHARE))
    organization_cap = max(1, int(slots * _ORGANIZATION_SHARE))
    line, is_new = _in_line(lanes)
    retries_left = left
    if is_new:
        room = max(1, int(slots * _RETRIES_SHARE)) - retrying
        retries_left = min(room, -(-left // 2))
    queue = [
        (in_flight.get(id_, 0) / weight, in_flight.get(id_, 0), id_)
        for id_, (weight, _) in line.items()
    ]
    heapq.heapify(queue)
    quotas: dict[int, int] = {}
    while left > 0 and queue:
        _, held, organization_id = heapq.heappop(queue)
        weight, heap = line[organization_id]
        lane_held, retries, lane_id = heapq.heappop(heap)
        piece = min(_PIECE, left, lane_cap - lane_held, organization_cap - held)
        if retries:
            piece = min(piece, retries_left)
        if piece > 0:
            quotas[lane_id] = quotas.get(lane_id, 0) + piece
            left -= piece
            retries_left -= piece * retries
            held += piece
            heapq.heappush(heap, (lane_held + piece, retries, lane_id))
        if heap and held < organization_cap:
            heapq.heappush(queue, (held / weight, held, organization_id))
    return quotas


def _in_line(
    lanes: Iterable[Waiting],
) -> tuple[dict[UUID, tuple[int, list[tuple[int, bool, int]]]], bool]:
    """Return each organization's weight and heap of lanes, and whether any is new."""
    line: dict[UUID, tuple[int, list[tuple[int, bool, int]]]] = {}
    is_new = False
    for lane in lanes:
        _, heap = line.setdefault(lane.organization_id, (lane.weight, []))
        # Of two with the same, what is new comes first.
        heap.append((lane.in_flight, lane.retries, lane.lane_id))
        is_new |= not lane.retries
    for _, heap in line.values():
        heapq.heapify(heap)
    return line, is_new
