"""What came in, counted: by the door it took, and by what became of it."""

from functools import cache
from typing import Final, Literal

from prometheus_client import Counter

from libs.common.errors import BellhopError, Transient
from libs.common.metrics import Distribution

#: How a job or a message came in.
Source = Literal["rest", "grpc", "nats", "webhook"]
#: ``created``; ``known``: its idempotency key was; ``refused``: a parent that is none,
#: no room in the plan; ``unavailable``: Postgres was away, it may be repeated.
Result = Literal["created", "known", "refused", "unavailable"]

ACCEPTED: Final = Counter(
    "bellhop_events_accepted_total",
    "Jobs and messages that came in, sound as such, by what became of them.",
    ["source", "result"],
)
DURATION: Final = Distribution(
    "bellhop_ingest_duration_seconds",
    "How long it took to commit what came in together, once for all of it.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 30),
)


@cache
def counter(source: Source, result: Result) -> Counter:
    """Return the counter of both: looking for its labels takes long."""
    return ACCEPTED.labels(source=source, result=result)


def note_refused(source: Source, error: BellhopError, *, items: int = 1) -> None:
    """Count *items* of which nothing was taken in, by what was raised."""
    result: Result = "unavailable" if isinstance(error, Transient) else "refused"
    counter(source, result).inc(items)
