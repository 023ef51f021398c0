"""``/workflows``: created, and added to by who works on them (contract 1.8)."""

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

import msgspec
from aiohttp import web

from libs.common.access import Principal
from libs.common.db import Conn, borrow
from libs.common.dependents import release_dependents
from libs.common.errors import Conflict, LeaseExpired
from libs.common.ids import parse_id
from libs.common.lines import release_lines
from libs.common.store import workflows
from libs.common.store.jobs import NewJob
from services.ingest.accepted import counter
from services.ingest.answers import workflows as shapes
from services.ingest.http.errors import answer
from services.ingest.http.reading import (
    BUS,
    HOT,
    POOL,
    SETTINGS,
    SUBSCRIBERS,
    id_in_path,
    read_json,
    understood,
    whoever,
)
from services.ingest.http.routing import Route
from services.ingest.http.workflows import is_visible, read_visible, visible
from services.ingest.idempotency import HEADER, key_in_header, reused
from services.ingest.requests.checking import as_sent, checked
from services.ingest.requests.jobs import EndpointTarget
from services.ingest.requests.workflows import (
    AddWorkflowJobs,
    CreateWorkflow,
    WorkflowJobAsked,
)
from services.ingest.workflows import (
    Step,
    check_graph,
    create,
    extend,
    hold_organization,
    steps_of,
)


class RawStep(msgspec.Struct):
    """The bytes of a payload as they were sent."""

    payload: msgspec.Raw


class RawSteps(msgspec.Struct):
    """The bytes of each job's payload."""

    jobs: list[RawStep]


def routes() -> list[Route]:
    """Return the routes."""
    return [
        Route(
            method="POST",
            path="/api/v1/workflows",
            handler=create_,
            body=CreateWorkflow,
            headers={HEADER: "The workflow's idempotency key, bare or quoted."},
            answers={200: shapes.WorkflowCreated},
        ),
        Route(
            method="POST",
            path="/api/v1/workflows/{id}/jobs",
            handler=add_jobs,
            body=AddWorkflowJobs,
            answers={200: shapes.JobsAdded},
            refusals=(409,),
        ),
    ]


async def create_(request: web.Request) -> web.Response:
    """Create a workflow with all of its jobs; those that wait for none may run at once.

    All of it, or nothing: keys that are unknown or given twice, and circles, are
    refused.  When its idempotency key is known it is answered with the workflow there
    is, and ``created`` is false.
    """
    principal = await whoever(request)
    body, data = await read_json(request)
    asked = understood(request, CreateWorkflow, data)
    key = key_in_header(request.headers.get(HEADER), asked.idempotency_key)
    if key is not None:
        asked = checked(CreateWorkflow, {**data, "idempotency_key": key})
    steps = await _steps(request, principal, asked.jobs, body)
    check_graph(steps, known={})
    async with borrow(request.app[HOT]) as conn, conn.transaction():
        made = await create(conn, request.app[BUS], principal, asked, steps)
        row = await workflows.read_workflow(
            conn, organization_id=principal.organization_id, id_=made.id
        )
    if made.differs and (key is not None or not is_visible(row, principal)):
        raise reused()
    await tell_created(request, made.rows)
    keys = [step.key for step in steps if not made.differs] or sorted(made.jobs)
    named = [(one, made.jobs[one]) for one in keys if one in made.jobs]
    return answer(shapes.created(visible(row, principal), named, fresh=bool(made.rows)))


async def add_jobs(request: web.Request) -> web.Response:
    """Add jobs to a workflow, by whoever has one of its jobs in work.

    409 when that is not so, or the workflow is over.
    """
    principal = await whoever(request)
    body, data = await read_json(request)
    asked = understood(request, AddWorkflowJobs, data)
    organization_id, id_ = principal.organization_id, id_in_path(request)
    pool, bus = request.app[HOT], request.app[BUS]
    await read_visible(request, principal)
    steps = await _steps(request, principal, asked.jobs, body)
    async with borrow(pool) as conn, conn.transaction():
        await hold_organization(conn, principal)
        # The job before its workflow, as who ends it does.
        held = await _hold_worker(conn, id_, asked)
        row = visible(
            await workflows.lock_workflow(
                conn, organization_id=organization_id, id_=id_
            ),
            principal,
        )
        if row["state"] not in ("pending", "running"):
            raise Conflict(f"Jobs cannot be added: the workflow is {row['state']}")
        if not held:
            raise LeaseExpired("No job of this workflow is leased so to this worker")
        keys, rows = await extend(conn, bus, principal, row, steps)
    await tell_created(request, rows)
    if any(new.waits for new in rows):
        await release_dependents(pool, bus)
    named = [(step.key, keys[step.key]) for step in steps]
    return answer(shapes.added(id_, named, {new.id for new in rows}))


async def tell_created(request: web.Request, rows: Sequence[NewJob]) -> None:
    """Say what came; who waits for it looks again by itself if this is lost."""
    counter("rest", "created").inc(len(rows))
    now = datetime.now(UTC)
    bus = request.app[BUS]
    await bus.ring_lanes(
        (row.lane_id, row.push is not None or row.endpoint_id is not None)
        for row in rows
        if not row.waits
        and row.line is None
        and (row.run_at is None or row.run_at <= now)
    )
    await bus.ring_journal()
    if any(row.line is not None and not row.waits for row in rows):
        await release_lines(request.app[HOT], bus)


async def _steps(
    request: web.Request,
    principal: Principal,
    asked: Sequence[WorkflowJobAsked],
    body: bytes,
) -> list[Step]:
    """Return the jobs that a body asks for, checked one by one."""
    endpoints = {}
    for one in asked:
        if isinstance(one.target, EndpointTarget):
            id_ = parse_id(one.target.endpoint_id)
            found = id_ and await request.app[SUBSCRIBERS].find(
                request.app[POOL], principal.organization_id, id_
            )
            if found:
                endpoints[one.target.endpoint_id] = found
    return steps_of(
        principal,
        asked,
        payloads=[bytes(step.payload) for step in as_sent(body, RawSteps).jobs],
        development=request.app[SETTINGS].development,
        endpoints=endpoints,
    )


async def _hold_worker(conn: Conn, id_: UUID, asked: AddWorkflowJobs) -> bool:
    """Return whether a worker has a job of a workflow; it keeps it until the commit."""
    lease_id = None if asked.lease_id is None else parse_id(asked.lease_id)
    if asked.lease_id is not None and lease_id is None:
        return False
    held = await workflows.hold_worker(
        conn, workflow_id=id_, worker_id=asked.worker_id, lease_id=lease_id
    )
    return held is not None
