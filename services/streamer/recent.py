"""What happened last, kept for who comes back soon.

The newest events of every organization, as they came from the bus, up to a number of
bytes in all; the oldest go first.  What it has is complete behind its `floor`.
"""

from bisect import bisect_right
from collections import deque
from typing import Final, NamedTuple

Position = tuple[int, int]


class _Kept(NamedTuple):
    position: Position
    data: bytes


class Recent:
    """The newest events; forgets the oldest when they are more than *bytes_max*."""

    def __init__(self, *, bytes_max: int) -> None:
        #: Everything behind this position is here; None while nothing was heard.
        self.floor: Position | None = None
        self._bytes_max: Final = bytes_max
        self._bytes = 0
        #: In the order in which they came: whose they are.
        self._order: deque[str] = deque()
        self._by_organization: dict[str, deque[_Kept]] = {}

    def begin(self, floor: Position) -> None:
        """Forget everything; what is added from now on is complete behind *floor*."""
        self.floor = floor
        self._bytes = 0
        self._order.clear()
        self._by_organization.clear()

    def add(self, organization_id: str, position: Position, data: bytes) -> None:
        """Keep one event, the newest of all."""
        self._by_organization.setdefault(organization_id, deque()).append(
            _Kept(position, data)
        )
        self._order.append(organization_id)
        self._bytes += len(data)
        while self._bytes > self._bytes_max:
            self._forget_one()

    def after(
        self, organization_id: str, position: Position, *, at_most: int
    ) -> list[bytes] | None:
        """Return events of one organization behind *position*, the oldest first.

        None when they are not all here.
        """
        if self.floor is None or position < self.floor:
            return None
        kept = self._by_organization.get(organization_id)
        if not kept or kept[-1].position <= position:
            return []
        first = bisect_right(kept, position, key=lambda one: one.position)
        return [kept[n].data for n in range(first, min(first + at_most, len(kept)))]

    def _forget_one(self) -> None:
        organization_id = self._order.popleft()
        kept = self._by_organization[organization_id]
        gone = kept.popleft()
        self._bytes -= len(gone.data)
        self.floor = gone.position
        if not kept:
            del self._by_organization[organization_id]
