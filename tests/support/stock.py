"""Jobs straight through the store, for tests that run no service."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from libs.common.ids import new_id
from libs.common.store import claims, jobs, workers
from libs.common.store.claims import Asked, Claimed, ClaimedWork
from libs.common.store.jobs import NewJob, Push
from libs.common.store.lanes import LaneName, endpoint_destination, open_lanes
from libs.common.store.leases import Renewed
from libs.common.store.settlement import Settled

ORIGIN = "http://receiver.test"


@dataclass(frozen=True, slots=True)
class Line:
    """A lane that exists: of push jobs, or of jobs that workers claim."""

    id: int
    organization_id: UUID
    queue_name: str
    push: bool
    #: The lane of its retries, of push jobs.
    retry_id: int | None = None
    #: Where its jobs go, if that is configured.
    endpoint_id: UUID | None = None


async def open_line(
    conn, *, organization_id=None, queue_name="mail", push=True
) -> Line:
    """Open a lane; without an organization, one of a new organization."""
    return await _open(
        conn, LaneName(organization_id or new_id(), queue_name, ORIGIN if push else "")
    )


async def open_endpoint(
    conn, *, organization_id=None, queue_name="webhooks", endpoint_id=None, **fields
) -> Line:
    """Open the lane of an endpoint: of a new one with *fields*, unless it is named."""
    if organization_id is None:
        organization_id = new_id()
        await conn.execute(
            "INSERT INTO organizations (id, name, slug) VALUES ($1, 'Acme', $2)",
            organization_id,
            f"acme-{organization_id}",
        )
    if endpoint_id is None:
        endpoint_id = new_id()
        given = {
            "id": endpoint_id,
            "organization_id": organization_id,
            "url": f"{ORIGIN}/endpoint",
            **fields,
        }
        places = ", ".join(f"${number + 1}" for number in range(len(given)))
        await conn.execute(
            f"INSERT INTO endpoints ({', '.join(given)}) VALUES ({places})",
            *given.values(),
        )
    destination = endpoint_destination(endpoint_id)
    return await _open(
        conn, LaneName(organization_id, queue_name, destination), endpoint_id
    )


async def _open(conn, name: LaneName, endpoint_id: UUID | None = None) -> Line:
    [number] = (await open_lanes(conn, names=[name])).values()
    return Line(
        number,
        name.organization_id,
        name.queue_name,
        name.destination != "",
        await conn.fetchval("SELECT retry_lane_id FROM lanes WHERE id = $1", number),
        endpoint_id,
    )


def new_job(line: Line, /, **fields) -> NewJob:
    """Return a job of *line* that may be created."""
    push = Push(url=f"{ORIGIN}/hook", method="POST", headers=None, timeout_seconds=5.0)
    return NewJob(
        **{
            "id": new_id(),
            "organization_id": line.organization_id,
            "queue_name": line.queue_name,
            "lane_id": line.id,
            "payload": '{"n": 1}',
            "rank": 100,
            "max_retries": 3,
            "timeout_seconds": 300,
            "push": push if line.push and line.endpoint_id is None else None,
            "endpoint_id": line.endpoint_id,
            **fields,
        }
    )


async def create(conn, line: Line, count: int = 1, /, **fields) -> list[UUID]:
    """Create jobs; return their ids, the oldest first."""
    made = [new_job(line, **fields) for _ in range(count)]
    assert await jobs.create(conn, jobs=made) == {job.id for job in made}
    return [job.id for job in made]


async def register(conn, line: Line, worker_id: str) -> None:
    """Let a worker of the line's queue come."""
    await workers.register(
        conn,
        id_=worker_id,
        organization_id=line.organization_id,
        queue_name=line.queue_name,
        hostname="h",
        worker_type=None,
        max_concurrency=1,
        version=None,
        metadata=None,
        scope=None,
    )


async def claim(
    conn, line: Line, count: int = 1, *, seconds=60.0, owner="pod", lease_jobs_max=64
) -> Sequence[Claimed | ClaimedWork]:
    """Claim up to *count* jobs of *line* for *seconds*, what is tried again as well."""
    if not line.push:
        return await claim_work(conn, line, count, seconds=seconds, owner=owner)
    found: list[Claimed] = []
    for lane_id in (line.id, line.retry_id):
        if lane_id is None or len(found) == count:
            continue
        claimed, refused = await claims.claim(
            conn,
            quotas={lane_id: count - len(found)},
            lease_jobs_max=lease_jobs_max,
            owner=owner,
            lease=timedelta(seconds=seconds),
            payload_bytes_max=1 << 20,
        )
        assert refused == set()
        found += claimed
    return found


async def claim_work(
    conn, line: Line, count: int = 1, *, seconds=60.0, owner="worker"
) -> list[ClaimedWork]:
    """Claim up to *count* jobs of *line* for one worker, for *seconds*."""
    asked = asks(line, count, seconds=seconds, owner=owner)
    given = await claims.claim_work(conn, asked=[asked])
    assert given.refused == set()
    return given.work.get(asked.lease_id, [])


def asks(line: Line, count: int = 1, *, seconds=60.0, owner="worker") -> Asked:
    """Return what a worker asks of *line*, under a new lease."""
    return Asked(
        lane_id=line.id,
        limit=count,
        lease_id=new_id(),
        owner=owner,
        lease=timedelta(seconds=seconds),
    )


def ended(claimed: Claimed | ClaimedWork, how="completed", **fields) -> Settled:
    """Return how an attempt ended, with what *how* cannot do without."""
    needed: dict[str, dict[str, Any]] = {
        "retrying": {"delay_seconds": 10.0, "error": "HTTP 500", "status_code": 500},
        "deadlettered": {
            "death": "attempts_exhausted",
            "error": "HTTP 500",
            "status_code": 500,
        },
        "completed": {"status_code": 200},
    }
    whole = {**needed.get(how, {}), **fields}
    return Settled(job_id=claimed.job_id, lease_id=claimed.lease_id, how=how, **whole)


def worked(
    line: Line, claimed: Claimed | ClaimedWork, how="completed", **fields
) -> Settled:
    """Return how a worker's attempt ended, with what *how* cannot do without."""
    needed: dict[str, dict[str, Any]] = {
        "retrying": {"delay_seconds": 10.0, "error": "no luck"},
        "deadlettered": {"death": "attempts_exhausted", "error": "no luck"},
    }
    whole = {
        "lease_id": claimed.lease_id,
        "owner": "worker",
        "organization_id": line.organization_id,
        **needed.get(how, {}),
        **fields,
    }
    return Settled(job_id=claimed.job_id, how=how, **whole)


def renewal(line: Line, claimed: ClaimedWork, *, seconds=60.0, **fields) -> Renewed:
    """Return how a worker keeps a job."""
    return Renewed(
        **{
            "job_id": claimed.job_id,
            "lease_id": claimed.lease_id,
            "owner": "worker",
            "organization_id": line.organization_id,
            "queues": None,
            "lease": timedelta(seconds=seconds),
            **fields,
        }
    )


async def a_stretch_later(conn):
    """Let so many transactions pass that the next ones are of another stretch."""
    await conn.execute(
        """
        DO $$ BEGIN
            FOR n IN 1..8200 LOOP
                PERFORM pg_current_xact_id();
                COMMIT;
            END LOOP;
        END $$
        """
    )
