"""What happened, as points in time: counts and averages for plots (pure)."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from libs.common.db import Row
from libs.common.lifecycle import Transition
from services.ingest.answers.dashboard import Point

#: What makes a job open, and what ends it.
_OPENING: Final = (Transition.CREATED, Transition.REQUEUED)
_DYING: Final = (Transition.DEADLETTERED, Transition.QUARANTINED)
_CLOSING: Final = (
    Transition.COMPLETED,
    Transition.CANCELLED,
    Transition.EXPIRED,
    *_DYING,
)


def points(
    buckets: Sequence[datetime], rows: Sequence[Row], *, open_jobs: int
) -> list[Point]:
    """Return a point for each of *buckets*, which are in order and without gaps.

    *open_jobs* are open now: how many were so before follows from what happened.
    """
    told = {(row["bucket"], Transition(row["transition"])): row for row in rows}
    found: list[Point] = []
    for bucket in reversed(buckets):

        def jobs(*transitions: Transition, bucket: datetime = bucket) -> int:
            present = [
                told[at] for each in transitions if (at := (bucket, each)) in told
            ]
            return sum(row["jobs"] for row in present)

        found.append(
            {
                "at": bucket,
                "created": jobs(Transition.CREATED),
                "completed": jobs(Transition.COMPLETED),
                "failed": jobs(*_DYING),
                "retried": jobs(Transition.RETRYING),
                "open": max(0, open_jobs),
                "avg_processing_time_ms": _average(
                    told.get((bucket, Transition.COMPLETED)), "duration_ms"
                ),
                "avg_wait_time_ms": _average(
                    told.get((bucket, Transition.STARTED)), "wait_ms"
                ),
            }
        )
        open_jobs -= jobs(*_OPENING) - jobs(*_CLOSING)
    return found[::-1]


def _average(row: Row | None, column: str) -> float | None:
    if row is None or row[column] is None or not row["jobs"]:
        return None
    average: float = round(row[column] / row["jobs"], 3)
    return average
