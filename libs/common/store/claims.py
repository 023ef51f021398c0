"""ready → leased: who is next."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from libs.common.db import Conn
from libs.common.ids import new_id
from libs.common.sql import load
from libs.common.store.dependencies import NOBODY, Released
from libs.common.store.lanes import Lane

SQL: Final = load(__package__, "claims")

#: Since when the jobs of a lane are ready that a claim looks at, by lane.
Floors = Mapping[int, datetime]
_NO_FLOORS: Final[Floors] = {}

#: How many bytes of payloads one statement gives to workers at most: with what stands
#: around them one answer over gRPC carries as much (`services.ingest.grpc.sizes`).
WORK_BYTES_MAX: Final = 7 * 512 * 1024


class Claimed(msgspec.Struct, frozen=True):
    """A push job that a dispatcher now owns, with what is needed to carry it."""

    job_id: UUID
    lease_id: UUID
    lane_id: int
    attempt: int
    #: JSON; None when it is over the size asked for.
    payload: str | None
    payload_bytes: int
    #: Of a payload that refers to what others gave: what it was when it was claimed.
    payload_digest: str | None
    organization_id: UUID
    #: Where to, absent when it goes to an endpoint.
    target_url: str | None
    target_method: str | None
    target_headers: str | None
    target_timeout_seconds: float | None
    endpoint_id: UUID | None
    #: How the endpoint was when it was claimed; absent also when it is gone.
    endpoint_version: int | None
    webhook_id: str | None
    workflow_id: UUID | None
    #: Its time to run has passed: settle it so, do not run it.
    expired: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What one worker asks of one lane; *lease_id* must never have been used."""

    lane_id: int
    limit: int
    lease_id: UUID
    owner: str
    lease: timedelta


class ClaimedWork(msgspec.Struct, frozen=True):
    """A job that a worker now owns, whole; *payload* and *tags* are JSON."""

    lane_id: int
    job_id: UUID
    lease_id: UUID
    queue_name: str
    payload: str
    rank: int
    attempt: int
    retry_count: int
    max_retries: int
    timeout_seconds: int
    tags: str | None
    idempotency_key: str | None
    created_at: datetime
    scheduled_at: datetime | None
    workflow_id: UUID | None
    claimed_at: datetime
    lease_expires_at: datetime


@dataclass(slots=True)
class Given:
    """What the workers who asked were given."""

    #: By lease.
    work: dict[UUID, list[ClaimedWork]] = field(default_factory=dict)
    #: How many jobs ended instead, because their time to run had passed, by lease.
    expired: Counter[UUID] = field(default_factory=Counter)
    #: What came of those for who had waited for them.
    released: Released = NOBODY
    #: Lanes that gave nothing because their queue has a limit.
    refused: set[int] = field(default_factory=set)
    #: Lanes that have more, which would have been too many bytes at once.
    beyond: set[int] = field(default_factory=set)


class Found(NamedTuple):
    """Lanes with ready jobs that may be claimed, and where to look on.

    Not those of queues that are paused, and of endpoints that are disabled or gone.
    """

    lanes: list[Lane]
    #: The lane after which to look next; 0 when these were the last.
    after: int


async def ready_lanes(conn: Conn, *, after: int, limit: int) -> Found:
    """Look at up to *limit* lanes with ready jobs, of any kind, after lane *after*."""
    rows = await conn.fetch(SQL["ready_lanes"], after, limit)
    lanes = [Lane(*list(row)[:-1]) for row in rows if not row["at_rest"]]
    return Found(lanes, rows[-1]["id"] if len(rows) == limit else 0)


async def find_floors(
    conn: Conn, *, lanes: Collection[int], age: timedelta
) -> dict[int, datetime]:
    """Return since when the job of each lane is ready that is so for longest.

    That is *age* ago at the latest, so that who commits a little late is seen.
    """
    rows = await conn.fetch(SQL["find_floors"], sorted(lanes), age)
    return {row["lane_id"]: row["floor"] for row in rows}


async def claim(
    conn: Conn,
    *,
    quotas: Mapping[int, int],
    lease_jobs_max: int,
    owner: str,
    lease: timedelta,
    payload_bytes_max: int,
    admitted: Collection[int] = (),
    floors: Floors = _NO_FLOORS,
) -> tuple[list[Claimed], set[int]]:
    """Lease up to ``quotas[lane]`` ready push jobs of each lane.

    The jobs come under fresh leases of up to *lease_jobs_max* jobs each, and with
    them the lanes that gave nothing because their queue has a limit, or they are an
    endpoint's, and they are not *admitted* (see `libs.common.admission`).  Jobs that
    were ready before a lane's floor are passed over (see `find_floors`).
    """
    leases = -(-sum(quotas.values()) // lease_jobs_max)
    rows = await conn.fetch(
        SQL["claim"],
        list(quotas),
        list(quotas.values()),
        [lane_id in admitted for lane_id in quotas],
        [new_id() for _ in range(leases)],
        lease_jobs_max,
        owner,
        lease,
        payload_bytes_max,
        [floors.get(lane_id) for lane_id in quotas],
    )
    claimed = [Claimed(*row) for row in rows if row["job_id"] is not None]
    return claimed, {row["lane_id"] for row in rows if row["job_id"] is None}


async def claim_work(
    conn: Conn,
    *,
    asked: Sequence[Asked],
    admitted: Collection[int] = (),
    floors: Floors = _NO_FLOORS,
    payload_bytes_max: int = WORK_BYTES_MAX,
) -> Given:
    """Lease jobs to workers: of each lane in its order, to the first who asked first.

    Jobs whose time to run has passed are not given, but ended; *floors* as in `claim`.
    What is given has payloads of up to *payload_bytes_max* together, or is one job.
    """
    rows = await conn.fetch(
        SQL["claim_work"],
        [one.lane_id for one in asked],
        [one.limit for one in asked],
        [one.lease_id for one in asked],
        [one.owner for one in asked],
        [one.lease for one in asked],
        [one.lane_id in admitted for one in asked],
        [floors.get(one.lane_id) for one in asked],
        payload_bytes_max,
    )
    given = Given()
    for row in rows:
        lane_id, job_id, lease_id, *_, expired, released = row
        if job_id is None:
            (given.beyond if expired else given.refused).add(lane_id)
        elif expired:
            given.expired[lease_id] += 1
            given.released = Released.read(released)
        else:
            work = ClaimedWork(*list(row)[:-2])
            given.work.setdefault(lease_id, []).append(work)
    return given
