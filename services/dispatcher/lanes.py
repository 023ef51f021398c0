"""Who gets how much of what is free: fair between organizations, then lanes (pure).

What is shared is attempts in flight, because that is what a receiver that hangs holds
on to.  The next slots go to the organization that has the fewest in flight, and in it
to the lane that has the fewest.  However much is free, a lane never holds more than
half of all slots, nor an organization more than three quarters: whoever comes next
finds room at once.
"""

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

_LANE_SHARE: Final = 0.5
_ORGANIZATION_SHARE: Final = 0.75
#: Slots are given out in pieces of this size: a claim of a few jobs costs as much as
#: one of a single job.
_PIECE: Final = 16


@dataclass(frozen=True, slots=True)
class Waiting:
    """A lane with ready jobs, and what it has in flight."""

    lane_id: int
    organization_id: UUID
    in_flight: int


def share(
    lanes: Iterable[Waiting],
    *,
    slots: int,
    free: int,
    in_flight: Mapping[UUID, int],
    most: int,
) -> dict[int, int]:
    """Return how many jobs to claim from which lane.

    *slots* is all there are, *free* those not taken, *in_flight* what each
    organization holds, *most* the largest sum wanted.
    """
    left = min(free, most)
    lane_cap = max(1, int(slots * _LANE_SHARE))
    organization_cap = max(1, int(slots * _ORGANIZATION_SHARE))
    per_organization: dict[UUID, list[tuple[int, int]]] = {}
    for lane in lanes:
        per_organization.setdefault(lane.organization_id, []).append(
            (lane.in_flight, lane.lane_id)
        )
    for heap in per_organization.values():
        heapq.heapify(heap)
    queue = [(in_flight.get(id_, 0), id_) for id_ in per_organization]
    heapq.heapify(queue)
    quotas: dict[int, int] = {}
    while left > 0 and queue:
        held, organization_id = heapq.heappop(queue)
        heap = per_organization[organization_id]
        lane_held, lane_id = heapq.heappop(heap)
        piece = min(_PIECE, left, lane_cap - lane_held, organization_cap - held)
        if piece > 0:
            quotas[lane_id] = quotas.get(lane_id, 0) + piece
            left -= piece
            heapq.heappush(heap, (lane_held + piece, lane_id))
        if heap and held + piece < organization_cap:
            heapq.heappush(queue, (held + max(piece, 0), organization_id))
    return quotas
