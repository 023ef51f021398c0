"""What the delivery service counts."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from prometheus_client import REGISTRY, Counter, Gauge
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from libs.common.metrics import Distribution


class Outcome(StrEnum):
    """How an attempt can end, for whoever looks at the service."""

    DELIVERED = "delivered"  # 2xx
    REFUSED = "refused"  # any other status
    FAILED = "failed"  # no answer
    HANDED_BACK = "handed_back"  # not made: draining, or this pod's own trouble


_ATTEMPTS: Final = Counter(
    "bellhop_deliveries_total", "Attempts by how they ended.", ["outcome"]
)
ENDED: Final = {outcome: _ATTEMPTS.labels(outcome=outcome) for outcome in Outcome}
DURATION: Final = Distribution(
    "bellhop_delivery_attempt_duration_seconds",
    "From the beginning of an attempt to the end of the answer.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30, 60),
)
IN_FLIGHT: Final = Gauge(
    "bellhop_delivery_in_flight",
    "Jobs this pod carries: waiting, under way, or with an uncommitted verdict.",
)
REPORTS_UNANSWERED: Final = Gauge(
    "bellhop_delivery_reports_unanswered", "Reports said and not yet answered."
)
REPORTS_REPEATED: Final = Counter(
    "bellhop_delivery_reports_repeated_total",
    "Times a report had to be said again because nobody answered.",
)


class Connections(Collector):
    """Connections that requests went out on: new ones, and those that were there.

    Counted by the event loop's thread alone, so without the lock of a `Counter`, which
    would cost a request more than all else that is counted of it.
    """

    def __init__(self) -> None:
        self.new = 0
        self.reused = 0

    def collect(self) -> Iterable[CounterMetricFamily]:
        """Show both numbers."""
        family = CounterMetricFamily(
            "bellhop_outbound_connections",
            "Connections that requests went out on, by whether they were there.",
            labels=["reused"],
        )
        family.add_metric(["false"], self.new)
        family.add_metric(["true"], self.reused)
        yield family


CONNECTIONS: Final = Connections()
REGISTRY.register(CONNECTIONS)


class Blocked(StrEnum):
    """Why nothing is carried to a place."""

    URL = "url"  # it is none of ours to begin with
    NAME = "name"  # it can only mean a machine of this house
    ADDRESS = "address"  # special, or denied by the operator
    PORT = "port"


_BLOCKED: Final = Counter(
    "bellhop_ssrf_blocked_total",
    "Connections that were refused because of where they would lead.",
    ["reason"],
)
BLOCKED: Final = {reason: _BLOCKED.labels(reason=reason) for reason in Blocked}
ALLOWED: Final = Counter(
    "bellhop_ssrf_allowed_total",
    "Connections to special addresses that the operator allows.",
)
