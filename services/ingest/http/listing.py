"""``/jobs`` in pages: filtered, sorted, a page at a time (contract 1.4)."""

from collections.abc import Sequence
from typing import Final, get_args

from aiohttp import web

from libs.common.access import Principal
from libs.common.db import Row, borrow
from libs.common.lifecycle import Place, Status
from libs.common.store import jobs
from libs.common.store.jobs import Filter, SortKey
from services.ingest.answers import jobs as shapes
from services.ingest.http.cursors import by_id, by_offset, next_page, read_cursor
from services.ingest.http.errors import answer
from services.ingest.http.reading import POOL, moment, number, plain, whoever
from services.ingest.http.routing import Route
from services.ingest.requests.listing import JobsPage

PAGE_MAX: Final = 100
PAGE: Final = 50
#: States that a job leaves again, and where it stands in them.
_OPEN: Final = {
    Status.PENDING: (Place.READY, Place.SCHEDULED, Place.WAITING, Place.HELD),
    Status.SCHEDULED: (Place.SCHEDULED,),
    Status.PROCESSING: (Place.LEASED,),
    Status.DEADLETTER: (Place.DEAD,),
}
_SORT_KEYS: Final[dict[str, SortKey]] = {key: key for key in get_args(SortKey)}


def routes() -> list[Route]:
    """Return the route."""
    return [
        Route(
            method="GET",
            path="/api/v1/jobs",
            handler=list_,
            query=JobsPage,
            answers={200: list[shapes.JobSummary]},
            refusals=(400,),
        )
    ]


async def list_(request: web.Request) -> web.Response:
    """Return a page of jobs, newest first unless asked otherwise.

    ``X-Has-More`` says whether there is another page, ``X-Next-Cursor`` and ``Link``
    where.
    """
    principal = await whoever(request)
    given = plain(request, "status") or ""
    # A state there is not is ignored, not refused (contract 1.0, Pagination).
    statuses = [part for part in given.split(",") if part in list(Status)]
    return await page(request, principal, statuses=statuses or None)


async def page(
    request: web.Request, principal: Principal, *, statuses: list[str] | None
) -> web.Response:
    """Return a page of the jobs in *statuses* that the query asks for."""
    limit = number(request, "limit", default=PAGE, least=1, most=PAGE_MAX)
    queue = plain(request, "queue_name") or plain(request, "queue")
    cursor = read_cursor(request)
    order_by = _SORT_KEYS.get(request.query.get("order_by", ""), "created_at")
    descending = request.query.get("order_dir") != "asc"
    newest_first = order_by == "created_at" and descending
    before = by_id(cursor) if newest_first else None
    offset = None if newest_first else by_offset(cursor)
    if offset is None:
        offset = (
            0
            if before
            else number(request, "offset", default=0, least=0, most=2**31 - 1)
        )
    chosen = Filter(
        queue_names=[queue] if queue else principal.scope,
        statuses=statuses,
        tag=plain(request, "tag"),
        job_type=plain(request, "job_type"),
        search=plain(request, "q"),
        created_after=moment(request, "created_after"),
        created_before=moment(request, "created_before"),
        limit=limit + 1,
        offset=offset,
        before=before,
        error=plain(request, "error"),
    )
    if (queue is not None and not principal.may(queue)) or statuses == [Status.FAILED]:
        # Nothing is ever left failed: it retries, or is a dead letter (contract 4.1).
        return answer([], headers=next_page(request, None))
    rows = await _rows(
        request, principal, chosen, None if newest_first else (order_by, descending)
    )
    following = None
    if len(rows) > limit:
        following = rows[limit - 1]["id"] if newest_first else offset + limit
    return answer(
        [shapes.summary(row) for row in rows[:limit]],
        headers=next_page(request, following),
    )


async def _rows(
    request: web.Request,
    principal: Principal,
    chosen: Filter,
    order: tuple[SortKey, bool] | None,
) -> list[Row]:
    """Return the jobs that are chosen; in *order*, or newest first when None."""
    places = _places(chosen.statuses)
    organization_id = principal.organization_id
    async with borrow(request.app[POOL]) as conn:
        if order is not None:
            return await jobs.list_sorted_jobs(
                conn,
                organization_id=organization_id,
                chosen=chosen,
                places=places,
                order_by=order[0],
                descending=order[1],
            )
        if places is not None:
            return await jobs.list_open_jobs(
                conn, organization_id=organization_id, chosen=chosen, places=places
            )
        return await jobs.list_jobs(
            conn, organization_id=organization_id, chosen=chosen
        )


def _places(statuses: Sequence[str] | None) -> list[str] | None:
    """Return the places in which jobs of *statuses* stand, None for the history."""
    asked = {Status(status) for status in statuses or ()} - {Status.FAILED}
    if not asked or not asked <= _OPEN.keys():
        return None
    return sorted({place for status in asked for place in _OPEN[status]})
