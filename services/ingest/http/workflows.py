"""``/workflows``: jobs that belong together (contract 1.8)."""

from typing import Final

from aiohttp import web

from libs.common.access import Principal
from libs.common.db import Row, borrow
from libs.common.dependents import (
    release_dependents,
    sweep_workflows,
    tell_released,
)
from libs.common.errors import NotFound
from libs.common.lines import release_lines
from libs.common.store import workflows
from libs.common.store.workflows import Swept
from services.ingest.answers import workflows as shapes
from services.ingest.http.errors import answer
from services.ingest.http.paging import asked_part
from services.ingest.http.reading import BUS, HOT, POOL, id_in_path, whoever
from services.ingest.http.routing import Route
from services.ingest.requests.workflows import ListWorkflows
from services.ingest.workflows import hold_organization, restart

_ONE: Final = "/api/v1/workflows/{id}"
_STATES: Final = ("pending", "running", "completed", "failed", "cancelled")


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
    swept: list[Swept] = []
    async with borrow(pool) as conn:
        if await workflows.stop(
            conn, organization_id=principal.organization_id, id_=row["id"]
        ):
            swept = await sweep_workflows(
                conn, ids=[row["id"]], actor=str(principal.api_key_id)
            )
    await bus.ring_journal()
    await tell_released(pool, bus, [each.released for each in swept])
    await release_dependents(pool, bus)
    if any(each.left_line for each in swept):
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
        await hold_organization(conn, principal)
        row = visible(
            await workflows.lock_workflow(
                conn, organization_id=organization_id, id_=id_
            ),
            principal,
        )
        restarted = await restart(conn, principal, row)
    await bus.ring_lanes((job.lane_id, job.push) for job in restarted if job.is_ready)
    await bus.ring_journal()
    await release_dependents(pool, bus)
    if any(job.in_line for job in restarted):
        await release_lines(pool, bus)
    return answer(shapes.summary(await read_visible(request, principal)))


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
    if row is None or not is_visible(row, principal):
        raise NotFound("Resource not found")
    return row


def is_visible(row: Row | None, principal: Principal) -> bool:
    """Whether all queues of a workflow are the principal's."""
    return row is not None and all(principal.may(name) for name in row["queue_names"])


async def read_visible(request: web.Request, principal: Principal) -> Row:
    """Return the workflow in the path; raises `NotFound`."""
    async with borrow(request.app[POOL]) as conn:
        row = await workflows.read_workflow(
            conn,
            organization_id=principal.organization_id,
            id_=id_in_path(request),
        )
    return visible(row, principal)


async def _jobs(request: web.Request) -> list[shapes.WorkflowJob]:
    principal = await whoever(request)
    row = await read_visible(request, principal)
    async with borrow(request.app[POOL]) as conn:
        jobs = await workflows.jobs_of(conn, workflow_id=row["id"])
        edges = await workflows.edges_of(conn, workflow_id=row["id"])
    return shapes.workflow_jobs(jobs, edges)
