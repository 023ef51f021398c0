"""What happened to jobs, as figures: each transition once, whichever service made it.

Counted by who announces, from what it reads anyway: on the way of a job it costs
nothing.  Lag is from when a job was due, never from when it was created: what was asked
for later is not late.
"""

from collections import Counter as Tally
from collections.abc import Sequence
from typing import Final

import msgspec
from prometheus_client import Counter

from libs.common.lifecycle import Transition
from libs.common.metrics import Distribution
from libs.common.store.journal import Entry

_SECONDS: Final = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
    *(60, 300, 1800, 7200, 86_400),
)
_TRANSITIONS: Final = Counter(
    "bellhop_job_transitions_total", "What happened to jobs.", ["transition"]
)
TRANSITIONS: Final = {one: _TRANSITIONS.labels(transition=one) for one in Transition}
DELIVERY_LAG: Final = Distribution(
    "bellhop_delivery_lag_seconds",
    "From when a delivery is due (a retry anew) to when it is claimed.",
    buckets=_SECONDS,
)
WORK_LAG: Final = Distribution(
    "bellhop_work_lag_seconds",
    "From when a worker's job is due to when a worker has it.",
    buckets=_SECONDS,
)
END_TO_END: Final = Distribution(
    "bellhop_end_to_end_latency_seconds",
    "From when a job was created to when it completed, with all it had to wait for.",
    buckets=_SECONDS,
)


class _Waited(msgspec.Struct):
    waited_ms: float = 0.0


_WAITED: Final = msgspec.json.Decoder(_Waited)


def count(entries: Sequence[Entry]) -> None:
    """Count what happened."""
    for name, times in Tally(entry.transition for entry in entries).items():
        TRANSITIONS[Transition(name)].inc(times)
    for entry in entries:
        if entry.transition == "started" and entry.details is not None:
            lag = DELIVERY_LAG if entry.push else WORK_LAG
            lag.observe(_WAITED.decode(entry.details).waited_ms / 1000)
        elif entry.transition == "completed":
            # The high bits of a job's id say when it was made (RFC 9562, 5.7).
            created = (entry.job_id.int >> 80) / 1000
            END_TO_END.observe(max(entry.at.timestamp() - created, 0.0))
