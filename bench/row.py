"""One row of the table: what was measured, and beside what."""

import time
from dataclasses import dataclass, field
from typing import Final

from bench.ceilings import Ceiling
from bench.cpu import Seconds
from bench.house import House

#: The whole way of a webhook, beside the part of it after it was accepted.
REQUEST_P50: Final = "request_to_arrival_p50_ms"
REQUEST_P99: Final = "request_to_arrival_p99_ms"


@dataclass(frozen=True, slots=True)
class Options:
    """How long to measure."""

    jobs: int
    seconds: float


@dataclass(slots=True, kw_only=True)
class Row:
    """One row of the table."""

    name: str
    jobs: int
    seconds: float
    cpu_seconds: Seconds
    #: How many cores other programs kept busy meanwhile.
    strangers: float
    p50_ms: float | None = None
    p99_ms: float | None = None
    #: Of jobs per second, or of the ratio, which are to be higher.
    target: float | None = None
    target_ratio: float | None = None
    #: Of the p50, which is to be lower.
    target_p50_ms: float | None = None
    ceilings: dict[str, Ceiling] = field(default_factory=dict)
    #: For a row about latency: the p50 of its bare parts.
    floor_ms: float | None = None
    #: How long after the row the last of its events was announced.
    events_late_seconds: float = 0.0
    more: dict[str, float] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """How many jobs a second."""
        return round(self.jobs / self.seconds, 1)

    @property
    def ratio(self) -> float | None:
        """How near we are to the lowest ceiling; for latency, how many floors high."""
        if self.floor_ms is not None:
            return round(self.more[REQUEST_P50] / self.floor_ms, 2)
        if not self.ceilings:
            return None
        lowest = min(ceiling.rate for ceiling in self.ceilings.values())
        return round(self.rate / lowest, 2)


async def close(house: House, row: Row, *, since: float | None = None) -> None:
    """Wait until the house is quiet again, and see that all is in its place."""
    since = time.monotonic() if since is None else since
    await house.settled()
    await house.announced()
    row.events_late_seconds = round(time.monotonic() - since, 2)
    await house.check_invariants()
