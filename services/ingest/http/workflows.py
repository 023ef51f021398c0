"""``/workflows``: jobs that belong together (contract 1.8)."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec
from aiohttp import web

from libs.common.access import Principal
from libs.common.db import Conn, Row, borrow
from libs.common.dependents import release_dependents, sweep_workflows
from libs.common.errors import Conflict, LeaseExpired, NotFound
from libs.common.ids import parse_id
from libs.common.lines import release_lines
from libs.common.messages import JournalGrew
from libs.common.store import workflows
from libs.common.store.jobs import NewJob
from services.ingest.answers import workflows as shapes
from services.ingest.http.errors import answer
from services.ingest.http.paging import asked_part
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
from services.ingest.requests.checking import as_sent
from services.ingest.requests.jobs import EndpointTarget
from services.ingest.requests.workflows import (
    AddWorkflowJobs,
    CreateWorkflow,
    ListWorkflows,
    WorkflowJobAsked,
)
from services.ingest.workflows import (
    Step,
    check_graph,
    create,
    extend,
    restart,
    steps_of,
)

_ONE: Final = "/api/v1/workflows/{id}"
_STATES: Final = ("pending", "running", "completed", "failed", "cancelled")


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
            method="GET",
            path="/api/v1/workflows",
            handler=list_,
            query=ListWorkflows,
            answers={200: list[shapes.WorkflowSummary]},
        ),
        Route(
            method="POST",
            path="/api/v1/workflows",
            handler=create_,
            body=CreateWorkflow,
            answers={200: shapes.WorkflowCreated},
        ),
        Route(method="GET", path=_ONE, handler=read, answers={200: shapes.Workflow}),
        Route(
            method="POST",
            path=f"{_ONE}/cancel",
            handler=cancel,
            answers={200: shapes.WorkflowSummary},
        ),
        Route(
            method="POST",
            path=f"{_ONE}/retry",
            handler=retry,
            answers={200: shapes.WorkflowSummary},
        ),
        *_jobs_of_one(),
    ]


def _jobs_of_one() -> list[Route]:
    """Return the routes that are about a workflow's jobs."""
    return [
        Route(
            method="POST",
            path=f"{_ONE}/jobs",
            handler=add_jobs,
            body=AddWorkflowJobs,
            answers={200: shapes.JobsAdded},
            refusals=(409,),
        ),
        Route(
            method="GET",
            path=f"{_ONE}/jobs",
            handler=list_jobs,
            answers={200: list[shapes.WorkflowJob]},
        ),
        Route(
            method="GET",
            path=f"{_ONE}/jobs/status",
            handler=list_statuses,
            answers={200: list[shapes.JobStatus]},
        ),
        Route(
            method="GET",
            path=f"{_ONE}/jobs/{{job_id}}",
            handler=read_job,
            answers={200: shapes.WorkflowJob},
        ),
    ]


async def list_(request: web.Request) -> web.Response:
    """Return workflows, newest first."""
    principal = await whoever(request)
    part = asked_part(request, default=50)
    status = request.query.get("status")
    async with borrow(request.app[POOL]) as conn:
        rows = await workflows.list_workflows(
            conn,
            organization_id=principal.organization_id,
            queue_names=principal.scope,
            state=status if status in _STATES else None,
            limit=part.limit,
            offset=part.offset,
        )
    return part.of(rows, shapes.summary)


async def create_(request: web.Request) -> web.Response:
    """Create a workflow with all of its jobs; those that wait for none may run at once.

    All of it, or nothing: keys that are unknown or given twice, and circles, are
    refused.
    """
    principal = await whoever(request)
    body, data = await read_json(request)
    asked = understood(request, CreateWorkflow, data)
    steps = await _steps(request, principal, asked.jobs, body)
    check_graph(steps, known={})
    async with borrow(request.app[HOT]) as conn, conn.transaction():
        id_, rows = await create(conn, request.app[BUS], principal, asked, steps)
        row = await workflows.read_workflow(
            conn, organization_id=principal.organization_id, id_=id_
        )
    await tell_created(request, rows)
    return answer(
        shapes.created(visible(row, principal), [(step.key, step.id) for step in steps])
    )


async def read(request: web.Request) -> web.Response:
    """Return a workflow with its jobs, their edges, and how far they have come."""
    principal = await whoever(request)
    async with (
        borrow(request.app[POOL]) as conn,
        conn.transaction(isolation="repeatable_read", readonly=True),
    ):
        row = visible(
            await workflows.read_workflow(
                conn,
                organization_id=principal.organization_id,
                id_=id_in_path(request),
            ),
            principal,
        )
        jobs = await workflows.jobs_of(conn, workflow_id=row["id"])
        edges = await workflows.edges_of(conn, workflow_id=row["id"])
    return answer(shapes.workflow(row, jobs, edges))


async def cancel(request: web.Request) -> web.Response:
    """Cancel a workflow: its jobs, but for those in work, which go on.

    One that is over stays as it is.
    """
    principal = await whoever(request)
    row = await read_visible(request, principal)
    pool, bus = request.app[HOT], request.app[BUS]
    left = 0
    async with borrow(pool) as conn:
        if await workflows.stop(
            conn, organization_id=principal.organization_id, id_=row["id"]
        ):
            _, left = await sweep_workflows(
                conn, ids=[row["id"]], actor=str(principal.api_key_id)
            )
    await bus.ring(JournalGrew())
    await release_dependents(pool, bus)
    if left:
        await release_lines(pool, bus)
    return answer(shapes.summary(await read_visible(request, principal)))


async def retry(request: web.Request) -> web.Response:
    """Let what failed in a workflow, or was cancelled, start over; 400 if it did not.

    What has completed stays so.
    """
    principal = await whoever(request)
    organization_id, id_ = principal.organization_id, id_in_path(request)
    pool, bus = request.app[HOT], request.app[BUS]
    async with borrow(pool) as conn, conn.transaction():
        row = visible(
            await workflows.lock_workflow(
                conn, organization_id=organization_id, id_=id_
            ),
            principal,
        )
        restarted = await restart(conn, principal, row)
    await bus.ring_lanes((job.lane_id, job.push) for job in restarted if job.is_ready)
    await bus.ring(JournalGrew())
    await release_dependents(pool, bus)
    if any(job.in_line for job in restarted):
        await release_lines(pool, bus)
    return answer(shapes.summary(await read_visible(request, principal)))


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
        row = visible(
            await workflows.lock_workflow(
                conn, organization_id=organization_id, id_=id_
            ),
            principal,
        )
        await _require_worker(conn, row, asked)
        keys, rows = await extend(conn, bus, principal, row, steps)
    await tell_created(request, rows)
    if any(new.waits for new in rows):
        await release_dependents(pool, bus)
    named = [(step.key, keys[step.key]) for step in steps]
    return answer(shapes.added(id_, named, {new.id for new in rows}))


async def list_jobs(request: web.Request) -> web.Response:
    """Return the jobs of a workflow, in the order in which they came."""
    jobs = await _jobs(request)
    return answer(jobs)


async def list_statuses(request: web.Request) -> web.Response:
    """Return how the jobs of a workflow stand."""
    principal = await whoever(request)
    row = await read_visible(request, principal)
    async with borrow(request.app[POOL]) as conn:
        jobs = await workflows.jobs_of(conn, workflow_id=row["id"])
    return answer(shapes.statuses(jobs))


async def read_job(request: web.Request) -> web.Response:
    """Return one job of a workflow."""
    id_ = str(id_in_path(request, "job_id"))
    for job in await _jobs(request):
        if job["id"] == id_:
            return answer(job)
    raise NotFound("Resource not found")


def visible(row: Row | None, principal: Principal) -> Row:
    """Return *row* if the principal may see all of it; raises `NotFound`."""
    if row is None or not all(principal.may(name) for name in row["queue_names"]):
        raise NotFound("Resource not found")
    return row


async def read_visible(request: web.Request, principal: Principal) -> Row:
    """Return the workflow in the path; raises `NotFound`."""
    async with borrow(request.app[POOL]) as conn:
        row = await workflows.read_workflow(
            conn,
            organization_id=principal.organization_id,
            id_=id_in_path(request),
        )
    return visible(row, principal)


async def tell_created(request: web.Request, rows: Sequence[NewJob]) -> None:
    """Say what came; who waits for it looks again by itself if this is lost."""
    now = datetime.now(UTC)
    bus = request.app[BUS]
    await bus.ring_lanes(
        (row.lane_id, row.push is not None or row.endpoint_id is not None)
        for row in rows
        if not row.waits
        and row.line is None
        and (row.run_at is None or row.run_at <= now)
    )
    await bus.ring(JournalGrew())
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


async def _require_worker(conn: Conn, row: Row, asked: AddWorkflowJobs) -> None:
    """Raise unless a worker has a job of a workflow that is not over."""
    if row["state"] not in ("pending", "running"):
        raise Conflict(f"Jobs cannot be added: the workflow is {row['state']}")
    lease_id = None if asked.lease_id is None else parse_id(asked.lease_id)
    held = None
    if asked.lease_id is None or lease_id is not None:
        held = await workflows.hold_worker(
            conn, workflow_id=row["id"], worker_id=asked.worker_id, lease_id=lease_id
        )
    if held is None:
        raise LeaseExpired("No job of this workflow is leased so to this worker")


async def _jobs(request: web.Request) -> list[shapes.WorkflowJob]:
    principal = await whoever(request)
    row = await read_visible(request, principal)
    async with borrow(request.app[POOL]) as conn:
        jobs = await workflows.jobs_of(conn, workflow_id=row["id"])
        edges = await workflows.edges_of(conn, workflow_id=row["id"])
    return shapes.workflow_jobs(jobs, edges)
