"""Where jobs come in: callers of the same moment share one statement and one fsync.

REST, gRPC and NATS put their checked requests here and get the same answer.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

import orjson
import structlog

from libs.common.addresses import checked_url
from libs.common.batcher import Batcher
from libs.common.bus import Bus
from libs.common.db import Pool, borrow
from libs.common.errors import Fault, Malformed, Unavailable
from libs.common.ids import new_id
from libs.common.messages import JournalGrew, LanesReady, OrganizationChanged
from libs.common.store import jobs, queues
from libs.common.store.jobs import Holder, NewJob, Push
from libs.common.store.lanes import LaneName, open_lanes
from services.ingest.requests.jobs import CreateJob
from services.ingest.settings import PAYLOAD_BYTES_MAX

log = structlog.get_logger()

_MAX_RETRIES: Final = 3
_TIMEOUT_SECONDS: Final = 300
_REMEMBERED_MAX: Final = 100_000
_TRIES: Final = 3


@dataclass(frozen=True, slots=True)
class Wanted:
    """A checked job on its way in."""

    organization_id: UUID
    request: CreateJob
    #: The producer's bytes: they reach the receiver as they are.
    payload: str
    lane: LaneName
    push: Push | None
    job_type: str | None
    fingerprint: bytes | None


@dataclass(frozen=True, slots=True)
class Created:
    """The job that now stands for a request; *created* is false for a known key."""

    job_id: UUID
    created: bool
    #: Of the request that made the job, when both have one and they differ.
    differs: bool = False


class Defaults(NamedTuple):
    """What a queue gives to jobs that do not say it."""

    max_retries: int
    timeout_seconds: int


def wanted(
    organization_id: UUID, request: CreateJob, *, payload: bytes, development: bool
) -> Wanted:
    """Check what shapes cannot say; raises `Malformed`."""
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise Malformed(Fault("payload", "Payload too large: at most 1 MiB", "size"))
    push, origin = None, ""
    if request.target is not None:
        target = request.target
        checked = checked_url(target.url, development=development, field="target.url")
        origin = checked.origin
        push = Push(
            url=checked.url,
            method=target.method,
            headers=orjson.dumps(target.headers).decode() if target.headers else None,
            timeout_seconds=target.timeout_seconds,
        )
    return Wanted(
        organization_id=organization_id,
        request=request,
        payload=payload.decode(),
        lane=LaneName(organization_id, request.queue_name, origin),
        push=push,
        job_type=_job_type(request.payload),
        fingerprint=_fingerprint(request) if request.idempotency_key else None,
    )


class Intake:
    """Commits jobs in batches and tells who waits for them."""

    def __init__(self, pool: Pool, bus: Bus, *, batch_max: int, lanes: int) -> None:
        self._pool = pool
        self._bus = bus
        self._lanes: dict[LaneName, int] = {}
        self._defaults: dict[tuple[UUID, str], Defaults] = {}
        self._connections = 0
        self._batcher: Batcher[Wanted, Created | Unavailable] = Batcher(
            "create", self._flush, batch_max=batch_max, lanes=lanes
        )

    async def create(self, job: Wanted) -> Created:
        """Return when *job*, or the job that holds its key, is committed.

        Raises `Unavailable` when Postgres is away: then it may be repeated.
        """
        return _certain(await self._batcher.put(job))

    async def create_all(self, wanted_jobs: Sequence[Wanted]) -> list[Created]:
        """Return when all are committed; raises as `create`."""
        return [_certain(one) for one in await self._batcher.put_all(wanted_jobs)]

    async def listen(self, stopping: asyncio.Event) -> None:
        """Forget queues that are said to have changed, until stopped (an actor)."""
        await self._bus.hear(OrganizationChanged, self.forget, stopping=stopping)

    def forget(self, word: OrganizationChanged) -> None:
        """Forget what an organization's queues give."""
        for key in [
            key for key in self._defaults if str(key[0]) == word.organization_id
        ]:
            del self._defaults[key]

    async def drain(self) -> None:
        """Return when nothing is under way."""
        await self._batcher.drain()

    async def _flush(self, batch: Sequence[Wanted]) -> list[Created | Unavailable]:
        await self._learn(batch)
        rows = [self._row(job) for job in batch]
        async with borrow(self._pool) as conn:
            created = await jobs.create(conn, jobs=rows)
        try:
            holders = await self._find_holders(rows, created)
        except Unavailable as error:
            # What is committed is committed: only who needs the look is told no.
            log.warning("create.holders_unknown", cause=str(error))
            holders = {}
        await self._ring(rows, created)
        return [_answer(row, created, holders) for row in rows]

    async def _find_holders(
        self, rows: Sequence[NewJob], created: set[UUID]
    ) -> dict[tuple[UUID, str], Holder]:
        """Return who holds the keys that were taken; adds to *created* what was free.

        The holder of a key was committed after our statement began, so that it could
        not see it; or it was purged since, and the key is free again.
        """
        holders: dict[tuple[UUID, str], Holder] = {}
        for _ in range(_TRIES):
            unknown = _unknown(rows, created, holders)
            if not unknown:
                break
            async with borrow(self._pool) as conn:
                holders |= await jobs.find_by_keys(conn, keys=list(unknown))
                left = [row for key, row in unknown.items() if key not in holders]
                if left:
                    created |= await jobs.create(conn, jobs=left)
        return holders

    async def _learn(self, batch: Sequence[Wanted]) -> None:
        """Look up the lanes and the queues of *batch* that are not remembered."""
        if not self._bus.connected or self._connections != self._bus.connections:
            # The word that a queue changed may have been lost.
            self._defaults.clear()
            self._connections = self._bus.connections
        if max(len(self._lanes), len(self._defaults)) > _REMEMBERED_MAX:
            self._lanes.clear()
            self._defaults.clear()
        new_lanes = {job.lane for job in batch} - self._lanes.keys()
        new_queues = {job.lane[:2] for job in batch} - self._defaults.keys()
        if not new_lanes and not new_queues:
            return
        async with borrow(self._pool) as conn:
            if new_lanes:
                self._lanes |= await open_lanes(conn, names=sorted(new_lanes))
            for organization_id, name in new_queues:
                row = await queues.read_queue(
                    conn, organization_id=organization_id, name=name
                )
                self._defaults[organization_id, name] = Defaults(
                    row["max_retries"] if row else _MAX_RETRIES,
                    row["default_timeout"] if row else _TIMEOUT_SECONDS,
                )

    def _row(self, job: Wanted) -> NewJob:
        request = job.request
        # Forgotten between the look and now: the next job gets the new ones.
        defaults = self._defaults.get(
            job.lane[:2], Defaults(_MAX_RETRIES, _TIMEOUT_SECONDS)
        )
        return NewJob(
            id=new_id(),
            organization_id=job.organization_id,
            queue_name=request.queue_name,
            lane_id=self._lanes[job.lane],
            payload=job.payload,
            rank=100 - request.priority,
            max_retries=(
                defaults.max_retries
                if request.max_retries is None
                else request.max_retries
            ),
            timeout_seconds=request.timeout_seconds or defaults.timeout_seconds,
            job_type=job.job_type,
            tags=(
                None if request.tags is None else orjson.dumps(request.tags).decode()
            ),
            retry=request.retry.model_dump_json() if request.retry else None,
            run_at=request.scheduled_at,
            expires_at=request.expires_at,
            idempotency_key=request.idempotency_key,
            fingerprint=job.fingerprint,
            push=job.push,
        )

    async def _ring(self, rows: Sequence[NewJob], created: set[UUID]) -> None:
        """Say what came; who waits for it looks again by itself if this is lost."""
        if not created:
            return
        now = datetime.now(UTC)
        lanes = {
            row.lane_id
            for row in rows
            if row.push is not None
            and row.id in created
            and (row.run_at is None or row.run_at <= now)
        }
        if lanes:
            await self._bus.ring(LanesReady(lanes=sorted(lanes)))
        await self._bus.ring(JournalGrew())


def _unknown(
    rows: Sequence[NewJob],
    created: set[UUID],
    holders: dict[tuple[UUID, str], Holder],
) -> dict[tuple[UUID, str], NewJob]:
    """Return the keys, and a job that asked for each, whose holder is not known."""
    return {
        (row.organization_id, row.idempotency_key): row
        for row in rows
        if row.id not in created
        and row.idempotency_key is not None
        and (row.organization_id, row.idempotency_key) not in holders
    }


def _answer(
    row: NewJob, created: set[UUID], holders: dict[tuple[UUID, str], Holder]
) -> Created | Unavailable:
    if row.id in created:
        return Created(row.id, created=True)
    holder = holders.get((row.organization_id, row.idempotency_key or ""))
    if holder is None:
        return Unavailable("who holds the idempotency key is not known; try again")
    differs = holder.fingerprint is not None and holder.fingerprint != row.fingerprint
    return Created(holder.job_id, created=False, differs=differs)


def _certain(answer: Created | Unavailable) -> Created:
    if isinstance(answer, Unavailable):
        raise answer
    return answer


def _job_type(payload: Any) -> str | None:
    """Return what clients of the contract call a job's type: ``payload.job_type``."""
    if isinstance(payload, dict):
        job_type = payload.get("job_type")
        if isinstance(job_type, str) and "\x00" not in job_type:
            return job_type[:255]
    return None


def _fingerprint(request: CreateJob) -> bytes:
    """Return a hash that two requests share when they ask for the same."""
    same = request.model_dump(mode="json", exclude={"idempotency_key"})
    return hashlib.sha256(orjson.dumps(same, option=orjson.OPT_SORT_KEYS)).digest()
