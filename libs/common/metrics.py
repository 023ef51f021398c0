"""The metrics that more than one service keeps, and how they are shown.

Names are ``bellhop_<noun>_<what>_<unit>``.  Labels are bounded lists of our own
words: never an organization, a queue, a URL or a job.
"""

import time
from bisect import bisect_left
from collections.abc import Iterable, Sequence

from prometheus_client import (
    REGISTRY,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

# When each counter began: as many series again, which nobody asks for.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Distribution(Collector):
    """A histogram without labels, and without the lock of `Histogram`.

    For what is looked at once a job: it is told by the event loop's thread alone, and
    costs a tenth.
    """

    def __init__(self, name: str, meaning: str, *, buckets: Sequence[float]) -> None:
        """Show itself as *name*; *buckets* are upper bounds that rise, in its unit."""
        self._name = name
        self._meaning = meaning
        self._bounds = tuple(buckets)
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum = 0.0
        REGISTRY.register(self)

    def observe(self, value: float) -> None:
        """Count one *value*."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def collect(self) -> Iterable[HistogramMetricFamily]:
        """Show how many were no larger than each bound, and the sum of all."""
        yield self.family(self._name)

    def family(self, name: str) -> HistogramMetricFamily:
        """Return the same, under *name*."""
        sofar = 0
        shown = []
        for bound, count in zip(
            (*map(str, self._bounds), "+Inf"), self._counts, strict=True
        ):
            sofar += count
            shown.append((bound, sofar))
        return HistogramMetricFamily(
            name, self._meaning, buckets=shown, sum_value=self._sum
        )


ACTOR_FAILURES = Counter(
    "bellhop_actor_failures_total",
    "Times an actor failed and was restarted.",
    ["actor"],
)
BATCH_SIZE = Histogram(
    "bellhop_batch_size_items",
    "Items that shared one statement.",
    ["batch"],
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024),
)
BUS_CONNECTED = Gauge("bellhop_bus_connected", "1 while connected to NATS.")
BUS_RECONNECTS = Counter("bellhop_bus_reconnects_total", "Reconnects to NATS.")
MESSAGES_UNREADABLE = Counter(
    "bellhop_messages_unreadable_total",
    "Messages from the bus that could not be read and were skipped.",
    ["word"],
)
MESSAGES_FAILED = Counter(
    "bellhop_messages_failed_total",
    "Messages from the bus that were read, and skipped because their handling failed.",
    ["word"],
)
POSTGRES_UNAVAILABLE = Counter(
    "bellhop_postgres_unavailable_total",
    "Times Postgres was away, or said to come again, when somebody needed it.",
)
BUILD = Gauge(
    "bellhop_build_info",
    "1; which release of the service this is.",
    ["version"],
)
CLOCK = Gauge(
    "bellhop_clock_timestamp_seconds",
    "What time it is for this process: to be compared with when it was asked.",
)
CLOCK.set_function(time.time)
