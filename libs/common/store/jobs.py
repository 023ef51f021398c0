"""Jobs: into the house, and what the API reads of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

import msgspec

from libs.common.db import Conn, Row
from libs.common.sql import column, load
from libs.common.store.lines import Line

SQL: Final = load(__package__, "jobs")

#: What lists can be sorted by (contract 1.4).
SortKey = Literal[
    "created_at",
    "updated_at",
    "scheduled_at",
    "completed_at",
    "priority",
    "status",
    "queue_name",
    "retry_count",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """Where a push job goes."""

    url: str
    method: str
    #: JSON object of header names and values, or None.
    headers: str | None
    timeout_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """Whom to tell when a job ends; *sealed* signs, sealed for the job, or nothing."""

    url: str
    origin: str
    sealed: bytes | None = None


class NewJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job that was checked and may be created.

    *payload*, *tags* and *retry* are JSON texts; without a payload it is that of the
    message.  *rank* is 100 - priority.
    """

    id: UUID
    organization_id: UUID
    queue_name: str
    lane_id: int
    payload: str | None
    rank: int
    max_retries: int
    timeout_seconds: int
    job_type: str | None = None
    tags: str | None = None
    retry: str | None = None
    run_at: datetime | None = None
    expires_at: datetime | None = None
    idempotency_key: str | None = None
    fingerprint: bytes | None = None
    push: Push | None = None
    #: The job that must complete first, which the caller knows to exist.
    parent_id: UUID | None = None
    #: The endpoint it goes to, instead of a *push*.
    endpoint_id: UUID | None = None
    #: Headers for the endpoint, on top of its own: a JSON object.
    headers: str | None = None
    #: The message it delivers.
    message_id: UUID | None = None
    #: The ``webhook-id`` it is sent under, absent its own id.
    webhook_id: str | None = None
    #: Whom to tell when it ends (see `completions.attach`).
    completion: Completion | None = None
    #: The job whose end it tells, to that job's own URL.
    completion_of: UUID | None = None
    #: Those it takes turns with.
    line: Line | None = None
    #: What made it, if not a request for it, told with its creation: a JSON object.
    made_by: str | None = None
    #: The workflow that it belongs to.
    workflow_id: UUID | None = None
    #: For how many jobs it waits by edges that are added in the same transaction.
    edges: int | None = None
    #: Whether its payload refers to what its parents gave; null is no.
    refers: bool | None = None
    #: Whether it sends the message's payload in an envelope.
    enveloped: bool = False

    @property
    def waits(self) -> bool:
        """Whether it waits for other jobs first."""
        return self.parent_id is not None or self.edges is not None


@dataclass(frozen=True, slots=True)
class Holder:
    """The job that holds an idempotency key, and the request that made it."""

    job_id: UUID
    fingerprint: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which jobs a list shows; None does not filter.

    *created_after* is inclusive, *created_before* exclusive (contract 1.4).
    """

    queue_names: Sequence[str] | None = None
    statuses: Sequence[str] | None = None
    tag: str | None = None
    job_type: str | None = None
    search: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    limit: int = 50
    offset: int = 0
    #: Only jobs that are older than this one; for the lists that are newest first.
    before: UUID | None = None
    #: The first 200 characters of what went wrong last.
    error: str | None = None


async def create(conn: Conn, *, jobs: Sequence[NewJob]) -> set[UUID]:
    """Create *jobs* in one statement; return the ids of those that were created.

    The others have an idempotency key that is taken (see `find_by_keys`).
    """
    pushes = [job.push for job in jobs]
    rows = await conn.fetch(
        SQL["create"],
        [job.id for job in jobs],
        [job.organization_id for job in jobs],
        [job.queue_name for job in jobs],
        [job.lane_id for job in jobs],
        column(job.payload for job in jobs),
        column(job.job_type for job in jobs),
        column(job.tags for job in jobs),
        [job.rank for job in jobs],
        [job.max_retries for job in jobs],
        [job.timeout_seconds for job in jobs],
        column(job.retry for job in jobs),
        column(job.run_at for job in jobs),
        column(job.expires_at for job in jobs),
        column(job.idempotency_key for job in jobs),
        column(job.fingerprint for job in jobs),
        column(push and push.url for push in pushes),
        column(push and push.method for push in pushes),
        column(job.push.headers if job.push else job.headers for job in jobs),
        column(push and push.timeout_seconds for push in pushes),
        column(job.parent_id for job in jobs),
        column(job.endpoint_id for job in jobs),
        column(job.message_id for job in jobs),
        column(job.webhook_id for job in jobs),
        column(job.completion_of for job in jobs),
        column(job.line and job.line.scope for job in jobs),
        column(job.line and job.line.key for job in jobs),
        column(job.made_by for job in jobs),
        column(job.workflow_id for job in jobs),
        column(job.edges for job in jobs),
        column(job.refers for job in jobs),
        [job.enveloped for job in jobs],
    )
    return {row["id"] for row in rows}


async def find_by_keys(
    conn: Conn, *, keys: Sequence[tuple[UUID, str]]
) -> dict[tuple[UUID, str], Holder]:
    """Return who holds these (organization, idempotency key)s."""
    rows = await conn.fetch(
        SQL["find_by_keys"], [key[0] for key in keys], [key[1] for key in keys]
    )
    return {
        (row["organization_id"], row["key"]): Holder(row["job_id"], row["fingerprint"])
        for row in rows
    }


async def read_job(conn: Conn, *, organization_id: UUID, job_id: UUID) -> Row | None:
    """Return one job with what its place says of it, or None."""
    return await conn.fetchrow(SQL["read_job"], organization_id, job_id)


async def list_jobs(conn: Conn, *, organization_id: UUID, chosen: Filter) -> list[Row]:
    """Return jobs of any state, newest first."""
    return list(
        await conn.fetch(
            SQL["list_jobs"],
            organization_id,
            *_arguments(chosen),
            chosen.before,
            chosen.error,
        )
    )


async def list_open_jobs(
    conn: Conn, *, organization_id: UUID, chosen: Filter, places: Sequence[str]
) -> list[Row]:
    """Return jobs standing in *places*, newest first."""
    return list(
        await conn.fetch(
            SQL["list_open_jobs"],
            organization_id,
            *_arguments(chosen),
            chosen.before,
            chosen.error,
            list(places),
        )
    )


async def list_sorted_jobs(
    conn: Conn,
    *,
    organization_id: UUID,
    chosen: Filter,
    places: Sequence[str] | None,
    order_by: SortKey,
    descending: bool,
) -> list[Row]:
    """Return jobs standing in *places*, or of any state when None, in another order."""
    return list(
        await conn.fetch(
            SQL["list_sorted_jobs"],
            organization_id,
            *_arguments(chosen),
            None if places is None else list(places),
            order_by,
            descending,
            chosen.error,
        )
    )


async def read_statuses(
    conn: Conn,
    *,
    organization_id: UUID,
    job_ids: Sequence[UUID],
    queue_names: Sequence[str] | None,
) -> list[Row]:
    """Return how these jobs (of these queues) stand; who is none is left out."""
    return list(
        await conn.fetch(
            SQL["read_statuses"],
            organization_id,
            list(job_ids),
            None if queue_names is None else list(queue_names),
        )
    )


async def read_body(
    conn: Conn,
    *,
    job_id: UUID,
    lease_id: UUID,
    offset: int,
    length: int,
    digest: str | None = None,
) -> bytes | None:
    """Return bytes of a leased job's body.

    None when the lease is gone, or the body is not the one of *digest* any more.
    """
    body: bytes | None = await conn.fetchval(
        SQL["read_body"], job_id, lease_id, offset, length, digest
    )
    return body


def _arguments(chosen: Filter) -> tuple[object, ...]:
    return (
        None if chosen.queue_names is None else list(chosen.queue_names),
        None if chosen.statuses is None else list(chosen.statuses),
        chosen.tag,
        chosen.job_type,
        chosen.search,
        chosen.created_after,
        chosen.created_before,
        chosen.limit,
        chosen.offset,
    )
