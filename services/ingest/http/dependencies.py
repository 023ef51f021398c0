"""``/jobs/{id}/dependencies``: jobs that wait for jobs (contract 1.4, 4.6)."""

from typing import Final
from uuid import UUID

from aiohttp import web

from libs.common.access import Principal
from libs.common.db import Conn, borrow
from libs.common.dependents import release_dependents
from libs.common.errors import Conflict, NotFound
from libs.common.ids import parse_id
from libs.common.lines import release_lines
from libs.common.store import dependencies, jobs
from services.ingest.answers import dependencies as shapes
from services.ingest.http.errors import answer
from services.ingest.http.reading import BUS, HOT, POOL, id_in_path, read_body, whoever
from services.ingest.http.routing import Route
from services.ingest.requests.dependencies import AddDependencies

#: So many children are shown at most: a job may have any number of them.
_CHILDREN_MAX: Final = 1000


def routes() -> list[Route]:
    """Return the routes."""
    return [
        Route(
            method="GET",
            path="/api/v1/jobs/{id}/dependencies",
            handler=list_,
            answers={200: shapes.Dependencies},
        ),
        Route(
            method="POST",
            path="/api/v1/jobs/{id}/dependencies",
            handler=add,
            body=AddDependencies,
            answers={200: shapes.DependenciesAdded},
            refusals=(409,),
        ),
    ]


async def list_(request: web.Request) -> web.Response:
    """Return what a job waits for, and the first thousand jobs that wait for it."""
    principal = await whoever(request)
    names = principal.scope
    async with borrow(request.app[POOL]) as conn:
        job_id = await require_job(conn, principal, id_in_path(request))
        parents = await dependencies.parents_of(conn, job_id=job_id, queue_names=names)
        children = await dependencies.children_of(
            conn, job_id=job_id, queue_names=names, limit=_CHILDREN_MAX
        )
        met = await _is_met(conn, principal, job_id)
    return answer(shapes.dependencies(job_id, parents, children, met=met))


async def add(request: web.Request) -> web.Response:
    """Let a job that has not begun wait for others; 409 when it has begun.

    An edge to the job itself, one that is there, or one that would close a circle, is
    left out.  In mode ``any`` one of the jobs that were given so is enough.
    """
    principal = await whoever(request)
    asked = await read_body(request, AddDependencies)
    parents = {parse_id(text) for text in asked.parents}
    pool, bus = request.app[HOT], request.app[BUS]
    async with borrow(pool) as conn:
        job_id = await require_job(conn, principal, id_in_path(request))
        known = await dependencies.find_jobs(conn, ids=[id_ for id_ in parents if id_])
        if not all(id_ and _is_theirs(principal, known.get(id_)) for id_ in parents):
            raise NotFound("Resource not found")
        async with conn.transaction():
            await dependencies.lock_graph(
                conn, organization_id=principal.organization_id
            )
            added = await dependencies.depend(
                conn,
                job_id=job_id,
                parents=known,
                mode=asked.dependency_mode,
                kind=asked.dependency_type,
                actor=str(principal.api_key_id),
            )
    if added is None:
        raise Conflict("Dependencies cannot be added: the job has begun or ended")
    await bus.ring_journal()
    await release_dependents(pool, bus)
    await release_lines(pool, bus)
    async with borrow(pool) as conn:
        met = await _is_met(conn, principal, job_id)
    return answer(shapes.added(job_id, added, met=met))


async def require_job(conn: Conn, principal: Principal, job_id: UUID) -> UUID:
    """Return *job_id* if the principal may see that job; raises `NotFound`."""
    found = await dependencies.find_jobs(conn, ids=[job_id])
    if not _is_theirs(principal, found.get(job_id)):
        raise NotFound("Resource not found")
    return job_id


async def _is_met(conn: Conn, principal: Principal, job_id: UUID) -> bool:
    row = await jobs.read_job(
        conn, organization_id=principal.organization_id, job_id=job_id
    )
    return row is not None and row["place"] != "waiting"


def _is_theirs(principal: Principal, found: tuple[UUID, str] | None) -> bool:
    if found is None:
        return False
    organization_id, queue_name = found
    return organization_id == principal.organization_id and principal.may(queue_name)
