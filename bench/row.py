"""One row of the table: what was measured, and beside what."""

import time
from collections.abc import Sequence
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
    #: How often each row is measured: the run in the middle is the one that counts.
    runs: int = 1


@dataclass(slots=True, kw_only=True)
class Row:
    """One row of the table."""

    name: str
    #: How many there were of what the row counts.
    jobs: int
    unit: str = "jobs"
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
    #: Whether the p50 is what it is about, without a target.
    about_latency: bool = False
    #: How much memory the streamer had at most, which is to be little.
    memory_mb: float | None = None
    target_memory_mb: float | None = None
    ceilings: dict[str, Ceiling] = field(default_factory=dict)
    #: For a row about latency: the p50 of its bare parts.
    floor_ms: float | None = None
    #: How long after the row the last of its events was announced.
    events_late_seconds: float = 0.0
    more: dict[str, float] = field(default_factory=dict)
    #: What each of several runs came to, in their order: see `figure`.
    runs: list[float] = field(default_factory=list)

    @property
    def is_latency(self) -> bool:
        """Whether the p50 is what it is about, and not the rate."""
        return self.p50_ms is not None and (
            self.about_latency
            or self.floor_ms is not None
            or self.target_p50_ms is not None
        )

    @property
    def figure(self) -> float:
        """What the row is about: its p50 if it is about latency, or else its rate."""
        p50_ms = self.p50_ms if self.is_latency else None
        return self.rate if p50_ms is None else p50_ms

    @property
    def roofline(self) -> Ceiling | None:
        """The lowest of the ceilings."""
        return min(self.ceilings.values(), key=lambda one: one.rate, default=None)

    @property
    def rate(self) -> float:
        """How many a second."""
        return round(self.jobs / self.seconds, 1)

    @property
    def ratio(self) -> float | None:
        """How near we are to the lowest ceiling; for latency, how many floors high."""
        if self.floor_ms is not None:
            return round(self.more[REQUEST_P50] / self.floor_ms, 2)
        lowest = self.roofline
        return None if lowest is None else round(self.rate / lowest.rate, 2)


def middle(runs: Sequence[Row]) -> Row:
    """Return the run of a row that half of the others are better than."""
    row = sorted(runs, key=lambda one: one.figure)[len(runs) // 2]
    row.runs = [one.figure for one in runs]
    return row


async def close(house: House, row: Row, *, since: float | None = None) -> None:
    """Wait until the house is quiet again, and see that all is in its place."""
    since = time.monotonic() if since is None else since
    await house.settled()
    await house.announced()
    row.events_late_seconds = round(time.monotonic() - since, 2)
    await house.check_invariants()
