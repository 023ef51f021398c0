"""leased → finished, scheduled, dead, ready: how an attempt ended, in batches."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal
from uuid import UUID

from libs.common.db import Conn
from libs.common.sql import load

SQL: Final = load(__package__, "settlement")

How = Literal["completed", "retrying", "deadlettered", "released", "expired"]
Death = Literal["attempts_exhausted", "gone"]


@dataclass(frozen=True, slots=True)
class Policy:
    """What decides whether and when a job is tried again; *retry* is JSON or None."""

    retry_count: int
    max_retries: int
    retry: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """How one attempt ended, and what becomes of its job.

    ``retrying`` needs *delay_seconds*, ``deadlettered`` needs *death* and *error*.
    *response_headers* is JSON or None.
    """

    job_id: UUID
    lease_id: UUID
    how: How
    delay_seconds: float | None = None
    death: Death | None = None
    status_code: int | None = None
    error: str | None = None
    duration_ms: float = 0.0
    ended_ms_ago: float = 0.0
    response_headers: str | None = None
    response_body: bytes | None = None


@dataclass(frozen=True, slots=True)
class Closed:
    """A job that was settled: it left this lane's leased jobs."""

    job_id: UUID
    lease_id: UUID
    lane_id: int
    how: How


async def read_policies(
    conn: Conn, *, leases: Sequence[tuple[UUID, UUID]]
) -> dict[UUID, Policy]:
    """Return the policies of the jobs that are leased by these (job, lease)s."""
    rows = await conn.fetch(
        SQL["read_policies"], [job for job, _ in leases], [lease for _, lease in leases]
    )
    return {
        row["job_id"]: Policy(row["retry_count"], row["max_retries"], row["retry"])
        for row in rows
    }


async def settle(
    conn: Conn, *, attempts: Sequence[Settled], actor: str
) -> list[Closed]:
    """Settle *attempts* in one statement; return the jobs whose lease was live.

    Running it again changes nothing: the leases are gone.
    """
    # Two dispatchers that hear the same verdicts meet in one order.
    ordered = sorted(attempts, key=lambda attempt: attempt.job_id)
    rows = await conn.fetch(
        SQL["settle"],
        [attempt.job_id for attempt in ordered],
        [attempt.lease_id for attempt in ordered],
        [attempt.how for attempt in ordered],
        [attempt.delay_seconds for attempt in ordered],
        [attempt.death for attempt in ordered],
        [attempt.status_code for attempt in ordered],
        [attempt.error for attempt in ordered],
        [attempt.duration_ms for attempt in ordered],
        [attempt.ended_ms_ago for attempt in ordered],
        [attempt.response_headers for attempt in ordered],
        [attempt.response_body for attempt in ordered],
        actor,
    )
    return [Closed(*row) for row in rows]
