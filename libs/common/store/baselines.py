"""Baselines: how a queue, or an organization, stands at a point in the order of events.

Who knows that, and hears every event behind it, knows how it stands without looking
again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from libs.common import outgoing
from libs.common.db import Conn
from libs.common.lifecycle import Status
from libs.common.sql import load

SQL: Final = load(__package__, "baselines")


@dataclass(frozen=True, slots=True)
class Baseline:
    """How many jobs there are, by status; *completed* are those that ever did.

    Counted are the events before the transaction *horizon*, and of those from it on
    the ones *included*, by their sequence numbers.
    """

    counts: Mapping[Status, int]
    horizon: int
    included: frozenset[int]

    def counts_in(self, position: tuple[int, int]) -> bool:
        """Whether the event there (xid, seq) is counted already."""
        xid, seq = position
        return xid < self.horizon or seq in self.included


async def read_baseline(
    conn: Conn, *, organization_id: UUID, queue_name: str | None
) -> Baseline:
    """Return how a queue stands; one that has no jobs has none of any status.

    Without a name they are all jobs, but for those that tell of jobs.
    """
    [row] = await conn.fetch(
        SQL["read_baseline"], organization_id, queue_name, outgoing.QUEUE
    )
    counts = {
        Status.PENDING: row["ready_jobs"]
        + row["retrying_jobs"]
        + row["waiting_jobs"]
        + row["held_jobs"],
        Status.SCHEDULED: row["scheduled_jobs"],
        Status.PROCESSING: row["leased_jobs"],
        Status.COMPLETED: row["completed_jobs"],
        Status.DEADLETTER: row["dead_jobs"],
        Status.CANCELLED: row["cancelled_jobs"],
        Status.EXPIRED: row["expired_jobs"],
    }
    return Baseline(counts, int(row["horizon"]), frozenset(row["included"]))
