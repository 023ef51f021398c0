"""Where jobs come in: callers of the same moment share one statement and one fsync.

REST, gRPC and NATS put their checked requests here and get the same answer.  Jobs of
organizations without limits are committed together, and counted by nobody.  Those of
the others are counted in a transaction (see `quotas`), and a request for many jobs is
taken in whole or not at all.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import orjson
import structlog

from libs.common import quotas, tracing
from libs.common.batcher import Batcher
from libs.common.bus import Bus
from libs.common.db import Conn, Pool, borrow
from libs.common.dependents import release_dependents
from libs.common.errors import (
    BellhopError,
    Malformed,
    QuotaExceeded,
    Unauthorized,
    Unavailable,
)
from libs.common.ids import new_id
from libs.common.lines import release_lines
from libs.common.messages import OrganizationChanged
from libs.common.quotas import Room, room_of
from libs.common.sealing import Sealer
from libs.common.store import dependencies, jobs, usage
from libs.common.store.jobs import Completion, Holder, NewJob
from services.ingest.accepted import (
    DURATION,
    Result,
    Source,
    counter,
    note_refused,
)
from services.ingest.creating import Deliveries, create_jobs
from services.ingest.remembered import Known, Remembered, is_whole
from services.ingest.settings import BATCH_BYTES_MAX
from services.ingest.wanted import Wanted, no_such_parent

log = structlog.get_logger()

_TRIES: Final = 3
#: Requests of organizations with limits that are counted together.
_COUNTED_MAX: Final = 32

Holders = dict[tuple[UUID, str], Holder]
#: The jobs that somebody named as parents: whose they are, and in which queue.
Parents = Mapping[UUID, tuple[UUID, str]]


@dataclass(frozen=True, slots=True)
class Created:
    """The job that now stands for a request; *created* is false for a known key."""

    job_id: UUID
    created: bool
    #: Of the request that made the job, when both have one and they differ.
    differs: bool = False


#: How it went for one job of a batch; its errors are its own.
Answer = Created | Malformed | Unavailable
#: Why nothing of a request is taken in: no room, or the organization is no more.
Refused = QuotaExceeded | Unauthorized


class Intake:
    """Commits jobs in batches and tells who waits for them."""

    def __init__(
        self, pool: Pool, bus: Bus, sealer: Sealer, *, batch_max: int, lanes: int
    ) -> None:
        self._pool = pool
        self._bus = bus
        self._sealer = sealer
        self._remembered = Remembered(bus)
        self._batcher: Batcher[Wanted, Answer] = Batcher(
            "create",
            self._flush,
            batch_max=batch_max,
            lanes=lanes,
            weigh=_bytes_of,
            weight_max=BATCH_BYTES_MAX,
            took=DURATION,
        )
        self._counted: Batcher[tuple[Wanted, ...], list[Answer] | Refused] = Batcher(
            "create_counted",
            self._flush_counted,
            batch_max=_COUNTED_MAX,
            lanes=lanes,
            weigh=lambda jobs: sum(map(_bytes_of, jobs)),
            weight_max=BATCH_BYTES_MAX,
            took=DURATION,
        )

    async def create(self, job: Wanted, *, source: Source) -> Created:
        """Return when *job*, or the job that holds its key, is committed.

        *source* is the door that it came through.

        Raises `Malformed` for a parent that is none, `QuotaExceeded` when the plan has
        no room, `Unauthorized` when the organization is no more, and `Unavailable` when
        Postgres is away: then it may be repeated.
        """
        try:
            if job.plan.unlimited:
                answer = await self._batcher.put(job)
            else:
                answer = (await self._create_counted([job]))[0]
            created = _certain(answer)
        except BellhopError as error:
            note_refused(source, error)
            raise
        counter(source, "created" if created.created else "known").inc()
        return created

    async def create_all(
        self, wanted_jobs: Sequence[Wanted], *, source: Source
    ) -> list[Created | Malformed]:
        """Return when all of one organization's jobs are committed.

        A job that names no parent of its queue gets its own `Malformed`; raises what
        `create` raises otherwise.  When the plan has no room for all, none is created.
        """
        if not wanted_jobs:
            return []
        try:
            if wanted_jobs[0].plan.unlimited:
                answers = await self._batcher.put_all(
                    wanted_jobs, in_order=any(job.line for job in wanted_jobs)
                )
            else:
                answers = await self._create_counted(wanted_jobs)
            told = [
                answer if isinstance(answer, Malformed) else _certain(answer)
                for answer in answers
            ]
        except BellhopError as error:
            note_refused(source, error, items=len(wanted_jobs))
            raise
        for result, items in Counter(map(_result_of, told)).items():
            counter(source, result).inc(items)
        return told

    async def listen(self, stopping: asyncio.Event) -> None:
        """Forget queues that are said to have changed, until stopped (an actor)."""
        await self._bus.hear(OrganizationChanged, self.forget, stopping=stopping)

    def forget(self, word: OrganizationChanged) -> None:
        """Forget an organization's lanes and queues."""
        self._remembered.forget(word)

    async def drain(self) -> None:
        """Return when nothing is under way."""
        await self._batcher.drain()
        await self._counted.drain()

    async def _create_counted(self, wanted_jobs: Sequence[Wanted]) -> list[Answer]:
        answer = await self._counted.put(tuple(wanted_jobs))
        if isinstance(answer, Refused):
            raise answer
        return answer

    async def _flush(self, batch: Sequence[Wanted]) -> list[Answer]:
        parents = await self._find_parents(batch)
        sound = [job for job in batch if _has_its_parent(job, parents)]
        known = await self._know(sound)
        rows = [self._row(job, known) for job in sound]
        deliveries = _deliveries(sound, rows)
        async with borrow(self._pool) as conn:
            created = await create_jobs(conn, rows, deliveries)
        try:
            holders = await self._find_holders(rows, created, deliveries)
        except Unavailable as error:
            # What is committed is committed: only who needs the look is told no.
            log.warning("create.holders_unknown", cause=str(error))
            holders = {}
        await self._tell(rows, created)
        made = iter(rows)
        return [
            _answer(job, next(made), created, holders)
            if _has_its_parent(job, parents)
            else no_such_parent()
            for job in batch
        ]

    async def _flush_counted(
        self, requests: Sequence[tuple[Wanted, ...]]
    ) -> list[list[Answer] | Refused]:
        batch = [job for request in requests for job in request]
        parents = await self._find_parents(batch)
        known = self._remembered.recall({job.lane for job in batch})
        async with borrow(self._pool) as conn, conn.transaction():
            rooms = await quotas.hold(
                conn,
                {job.organization_id: job.plan for job in batch},
                queues=not is_whole(known, {job.lane for job in batch}),
            )
            holders = await _find_by_keys(conn, batch)
            fresh, refused = _admit(requests, parents, rooms, set(holders))
            await self._remembered.complete(
                conn, known, {job.lane for job in fresh.values()}
            )
            rows = {place: self._row(job, known) for place, job in fresh.items()}
            created = await create_jobs(
                conn,
                list(rows.values()),
                _deliveries(list(fresh.values()), list(rows.values())),
            )
            await usage.charge(
                conn,
                created=Counter(
                    row.organization_id for row in rows.values() if row.id in created
                ),
            )
            holders = await _find_by_keys(conn, batch)
        self._remembered.keep(known)
        await self._tell(list(rows.values()), created)
        return [
            refused.get(number)
            or [
                _answer(job, rows.get((number, place)), created, holders)
                if _has_its_parent(job, parents)
                else no_such_parent()
                for place, job in enumerate(request)
            ]
            for number, request in enumerate(requests)
        ]

    def _row(self, job: Wanted, known: Known) -> NewJob:
        id_ = new_id()
        return row_of(job, known, id_, self._completion(job, id_))

    def _completion(self, job: Wanted, id_: UUID) -> Completion | None:
        """Return whom to tell when a job ends; what signs it is sealed for the job."""
        if job.completion is None:
            return None
        secret, sealed = job.request.completion_webhook_secret, None
        if secret is not None:
            sealed = self._sealer.seal(secret.encode(), owner=str(id_))
        return Completion(
            url=job.completion.url, origin=job.completion.origin, sealed=sealed
        )

    async def _find_holders(
        self, rows: Sequence[NewJob], created: set[UUID], deliveries: Deliveries
    ) -> Holders:
        """Return who holds the keys that were taken; adds to *created* what was free.

        The holder of a key was committed after our statement began, so that it could
        not see it; or it was purged since, and the key is free again.
        """
        holders: Holders = {}
        for _ in range(_TRIES):
            unknown = _unknown(rows, created, holders)
            if not unknown:
                break
            async with borrow(self._pool) as conn:
                holders |= await jobs.find_by_keys(conn, keys=list(unknown))
                left = [row for key, row in unknown.items() if key not in holders]
                if left:
                    created |= await create_jobs(conn, left, deliveries)
        return holders

    async def _find_parents(self, batch: Sequence[Wanted]) -> Parents:
        ids = {job.parent_id for job in batch if job.parent_id is not None}
        if not ids:
            return {}
        async with borrow(self._pool) as conn:
            return await dependencies.find_jobs(conn, ids=ids)

    async def _know(self, batch: Sequence[Wanted]) -> Known:
        """Return the lanes and the queues of *batch*, looked up if not remembered."""
        names = {job.lane for job in batch}
        known = self._remembered.recall(names)
        if not is_whole(known, names):
            async with borrow(self._pool) as conn:
                await self._remembered.complete(conn, known, names)
            self._remembered.keep(known)
        return known

    async def _tell(self, rows: Sequence[NewJob], created: set[UUID]) -> None:
        """Say what came; who waits for it looks again by itself if this is lost."""
        if not created:
            return
        now = datetime.now(UTC)
        await self._bus.ring_lanes(
            (row.lane_id, row.push is not None or row.endpoint_id is not None)
            for row in rows
            if row.id in created
            and not row.waits
            and row.line is None
            and (row.run_at is None or row.run_at <= now)
        )
        await self._bus.ring_journal()
        if any(row.parent_id is not None and row.id in created for row in rows):
            # The parent may have ended before anybody could know of its child.
            await release_dependents(self._pool, self._bus)
        if any(row.line is not None and row.id in created for row in rows):
            await release_lines(self._pool, self._bus)


def _admit(
    requests: Sequence[tuple[Wanted, ...]],
    parents: Parents,
    rooms: Mapping[UUID, Room],
    taken: set[tuple[UUID, str]],
) -> tuple[dict[tuple[int, int], Wanted], dict[int, Refused]]:
    """Return the jobs to create by (request, place in it), and who is refused why.

    A job whose key is *taken*, or was asked for before, costs nothing.
    """
    admitted: dict[tuple[int, int], Wanted] = {}
    refused: dict[int, Refused] = {}
    for number, request in enumerate(requests):
        fresh: dict[tuple[int, int], Wanted] = {}
        keys = set(taken)
        for place, job in enumerate(request):
            if job.key not in keys and _has_its_parent(job, parents):
                fresh[number, place] = job
                if job.key is not None:
                    keys.add(job.key)
        try:
            room_of(rooms, request[0].organization_id).take(
                len(fresh), queue_names=_charged_queues(fresh.values())
            )
        except (QuotaExceeded, Unauthorized) as error:
            refused[number] = error
        else:
            admitted |= fresh
            taken = keys
    return admitted, refused


def _charged_queues(fresh: Iterable[Wanted]) -> set[str]:
    """Return the queues that count: what came in from outside names its own (5.9)."""
    return {job.lane.queue_name for job in fresh if job.delivery is None}


def _has_its_parent(job: Wanted, parents: Parents) -> bool:
    return job.parent_id is None or parents.get(job.parent_id) == job.lane[:2]


async def _find_by_keys(conn: Conn, batch: Sequence[Wanted]) -> Holders:
    keys = {job.key for job in batch if job.key is not None}
    return await jobs.find_by_keys(conn, keys=sorted(keys)) if keys else {}


def _deliveries(batch: Sequence[Wanted], rows: Sequence[NewJob]) -> Deliveries:
    return {
        row.id: job.delivery
        for job, row in zip(batch, rows, strict=True)
        if job.delivery is not None
    }


def row_of(
    job: Wanted, known: Known, id_: UUID, completion: Completion | None
) -> NewJob:
    """Return a job as it is created, with what its queue gives where it is silent."""
    request = job.request
    defaults = known.defaults[job.lane[:2]]
    return NewJob(
        id=id_,
        organization_id=job.organization_id,
        queue_name=request.queue_name,
        lane_id=known.lanes[job.lane],
        payload=job.payload,
        rank=100 - request.priority,
        max_retries=_retries(job, defaults.max_retries),
        timeout_seconds=request.timeout_seconds or defaults.timeout_seconds,
        job_type=job.job_type,
        tags=None if request.tags is None else orjson.dumps(request.tags).decode(),
        retry=request.retry.model_dump_json() if request.retry else None,
        run_at=request.scheduled_at,
        expires_at=request.expires_at,
        idempotency_key=request.idempotency_key,
        fingerprint=job.fingerprint,
        push=job.push,
        endpoint_id=None if job.endpoint is None else job.endpoint.id,
        parent_id=job.parent_id,
        completion=completion,
        line=job.line,
        made_by=tracing.telling(job.trace),
    )


def _retries(job: Wanted, of_queue: int) -> int:
    """Return how often a job may be tried again: an endpoint knows better."""
    if job.request.max_retries is not None:
        return job.request.max_retries
    return of_queue if job.endpoint is None else job.endpoint.max_retries


def _unknown(
    rows: Sequence[NewJob], created: set[UUID], holders: Holders
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
    job: Wanted, row: NewJob | None, created: set[UUID], holders: Holders
) -> Answer:
    if row is not None and row.id in created:
        return Created(row.id, created=True)
    holder = None if job.key is None else holders.get(job.key)
    if holder is None:
        return Unavailable("who holds the idempotency key is not known; try again")
    differs = holder.fingerprint is not None and holder.fingerprint != job.fingerprint
    return Created(holder.job_id, created=False, differs=differs)


def _result_of(answer: Created | Malformed) -> Result:
    if isinstance(answer, Malformed):
        return "refused"
    return "created" if answer.created else "known"


def _bytes_of(job: Wanted) -> int:
    return len(job.payload)


def _certain(answer: Answer) -> Created:
    if isinstance(answer, Created):
        return answer
    raise answer
