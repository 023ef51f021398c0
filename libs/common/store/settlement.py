"""leased → finished, scheduled, dead, ready: how an attempt ended, in batches."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, Literal
from uuid import UUID

import msgspec
import orjson

from libs.common.db import Conn
from libs.common.sql import column, load
from libs.common.store.dependencies import Released

SQL: Final = load(__package__, "settlement")

How = Literal["completed", "retrying", "deadlettered", "released", "expired"]
Death = Literal["attempts_exhausted", "gone", "given_up"]


@dataclass(frozen=True, slots=True)
class Policy:
    """What decides whether and when a job is tried again.

    *retry* is the job's policy, else its endpoint's, else its queue's (JSON, or None);
    *knobs* are the queue's simple settings for the same (JSON object; see
    `backoff.policy_of`).
    """

    retry_count: int
    max_retries: int
    retry: str | None
    knobs: str | None = None
    to_endpoint: bool = False


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """How one attempt ended, and what becomes of its job.

    A batch's job is named by its lease.  A worker's is named by *owner*, its
    *organization_id* and maybe its lease; *queues* are those the owner may touch, None
    for all.  ``retrying`` needs *delay_seconds*, ``deadlettered`` needs *death* and
    *error*.  *response_headers* and *result* are JSON or None.
    """

    job_id: UUID
    lease_id: UUID | None
    how: How
    owner: str | None = None
    organization_id: UUID | None = None
    queues: tuple[str, ...] | None = None
    delay_seconds: float | None = None
    death: Death | None = None
    status_code: int | None = None
    error: str | None = None
    duration_ms: float = 0.0
    ended_ms_ago: float = 0.0
    response_headers: str | None = None
    response_body: bytes | None = None
    result: str | None = None


class Closed(msgspec.Struct, frozen=True):
    """A job that was settled: it left this lane's leased jobs.

    *index* is its place among the attempts that were told.  *left_line*: it was its
    turn in a line, and is that of another now (`release_lines`).  *limited*: its queue
    or endpoint limits how many jobs are in work, so there may be room now
    (`find_room`).  *released* is what came of all that were settled with it.
    """

    index: int
    job_id: UUID
    lease_id: UUID
    lane_id: int
    how: How
    left_line: bool
    limited: bool
    released: Released


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Who asks where a job stands; *queues* are those they may see, None for all."""

    job_id: UUID
    organization_id: UUID
    queues: tuple[str, ...] | None
    owner: str


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a job stands: *lease_id*, *owner* and *live* only while it is leased.

    *live*: the lease has not run out.  *had*: who asks held the job at some time.
    """

    place: str
    status: str
    attempt: int
    lease_id: UUID | None
    owner: str | None
    live: bool
    had: bool


async def read_policies(
    conn: Conn, *, leases: Sequence[tuple[UUID, UUID | None, str | None]]
) -> dict[UUID, Policy]:
    """Return the policies of the jobs that are leased by these (job, lease, owner)s."""
    rows = await conn.fetch(
        SQL["read_policies"],
        [job for job, _, _ in leases],
        [lease for _, lease, _ in leases],
        [owner for _, _, owner in leases],
    )
    return {
        row["job_id"]: Policy(
            row["retry_count"],
            row["max_retries"],
            row["retry"],
            row["knobs"],
            row["to_endpoint"],
        )
        for row in rows
    }


async def settle(
    conn: Conn, *, attempts: Sequence[Settled], actor: str
) -> list[Closed]:
    """Settle *attempts* in one statement; return the jobs whose lease was live.

    Running it again changes nothing: the leases are gone.  *actor* is who tells of
    the batches' jobs; a worker's job is told of by its owner.
    """
    # Two that hear the same verdicts meet in one order.
    order = sorted(range(len(attempts)), key=lambda index: attempts[index].job_id)
    told = [attempts[index] for index in order]
    rows = await conn.fetch(
        SQL["settle"],
        [attempt.job_id for attempt in told],
        [attempt.lease_id for attempt in told],
        column(attempt.owner for attempt in told),
        column(attempt.organization_id for attempt in told),
        column(spelled(attempt.queues) for attempt in told),
        [attempt.how for attempt in told],
        column(attempt.delay_seconds for attempt in told),
        column(attempt.death for attempt in told),
        column(attempt.status_code for attempt in told),
        column(attempt.error for attempt in told),
        [attempt.duration_ms for attempt in told],
        [attempt.ended_ms_ago for attempt in told],
        column(attempt.response_headers for attempt in told),
        column(attempt.response_body for attempt in told),
        column(attempt.result for attempt in told),
        actor,
    )
    released = Released.read(rows[0]["released"] if rows else None)
    return [
        Closed(
            index=order[row["index"]],
            job_id=row["job_id"],
            lease_id=row["lease_id"],
            lane_id=row["lane_id"],
            how=row["transition"],
            left_line=row["left_line"],
            limited=row["limited"],
            released=released,
        )
        for row in rows
    ]


async def find_room(conn: Conn, *, lanes: Collection[int]) -> dict[int, bool]:
    """Return the lanes that may have room for ready jobs after these lanes' jobs ended.

    Each with whether it is one of push jobs.
    """
    rows = await conn.fetch(SQL["find_room"], sorted(lanes))
    return {row["id"]: row["push"] for row in rows}


async def read_standing(
    conn: Conn, *, questions: Sequence[Question]
) -> list[Standing | None]:
    """Return where each job stands; None for who may not know of it."""
    rows = await conn.fetch(
        SQL["read_standing"],
        [question.job_id for question in questions],
        [question.organization_id for question in questions],
        [spelled(question.queues) for question in questions],
        [question.owner for question in questions],
    )
    found = {index: Standing(*row) for index, *row in rows}
    return [found.get(index) for index in range(len(questions))]


def spelled(queues: tuple[str, ...] | None) -> str | None:
    """Return the queues somebody may touch as JSON; None is every queue."""
    return None if queues is None else orjson.dumps(queues).decode()
