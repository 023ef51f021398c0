"""``/dashboard``: everything at a glance (contract 1.1)."""

from datetime import UTC, datetime, timedelta
from typing import Final

from aiohttp import web

from libs.common.db import Row, borrow
from libs.common.store import overview, tallies
from libs.common.store.tallies import Figures
from libs.common.version import VERSION
from services.ingest.answers import dashboard as shapes
from services.ingest.answers.series import points
from services.ingest.http.errors import answer
from services.ingest.http.reading import POOL, SETTINGS, number, plain, whoever
from services.ingest.http.routing import Route
from services.ingest.requests.listing import SeriesQuery

#: When this process began to serve.
STARTED_AT: Final = web.AppKey("started_at", datetime)
_QUEUES_MAX: Final = 20
#: A day: what is older than two is counted by the day only.
_HOURS_MAX: Final = 24
_BUCKET_SECONDS: Final = 300
_BUCKETS_AN_HOUR: Final = 3600 // _BUCKET_SECONDS


def routes() -> list[Route]:
    """Return the route."""
    return [
        Route(
            method="GET",
            path="/api/v1/dashboard",
            handler=read,
            answers={200: shapes.Dashboard},
        ),
        Route(
            method="GET",
            path="/api/v1/dashboard/series",
            handler=series,
            query=SeriesQuery,
            answers={200: shapes.Series},
            refusals=(400,),
        ),
    ]


async def read(request: web.Request) -> web.Response:
    """Return how the organization stands, as far as the key may see it.

    Of its queues the busiest 20.
    """
    principal = await whoever(request)
    organization_id = principal.organization_id
    names = principal.scope
    async with borrow(request.app[POOL]) as conn:
        figures = await tallies.of_organization(
            conn, organization_id=organization_id, queue_names=names
        )
        queues = await overview.busiest_queues(
            conn, organization_id=organization_id, queue_names=names, limit=_QUEUES_MAX
        )
        workers = await overview.count_workers_of(
            conn, organization_id=organization_id, queue_names=names
        )
    shown: shapes.Dashboard = {
        "system": {
            "version": VERSION,
            "uptime_seconds": uptime_seconds(request),
            "started_at": request.app[STARTED_AT],
            "database_status": "healthy",
            "cache_status": "healthy",
            "environment": request.app[SETTINGS].environment,
        },
        "jobs": _jobs(figures),
        "queues": [
            {
                "name": row["name"],
                "pending": row["pending"],
                "processing": row["processing"],
                "paused": row["paused"],
            }
            for row in queues
        ],
        "workers": {
            "total": workers["total"],
            "healthy": workers["healthy"],
            "unhealthy": workers["total"] - workers["healthy"],
        },
        "recent_activity": {
            "jobs_created_1h": figures.created_1h,
            "jobs_completed_1h": figures.completed_1h,
            "jobs_failed_1h": figures.failed_1h,
        },
    }
    return answer(shown)


async def series(request: web.Request) -> web.Response:
    """Return what happened lately, in steps of five minutes, for plots."""
    principal = await whoever(request)
    hours = number(request, "hours", default=1, least=1, most=_HOURS_MAX)
    queue = plain(request, "queue_name") or plain(request, "queue")
    step = timedelta(seconds=_BUCKET_SECONDS)
    now = datetime.now(UTC)
    last = now - timedelta(seconds=now.timestamp() % _BUCKET_SECONDS)
    buckets = [last - step * back for back in range(hours * _BUCKETS_AN_HOUR)][::-1]
    names = [queue] if queue else principal.scope
    figures, rows = Figures(), list[Row]()
    if queue is None or principal.may(queue):
        async with borrow(request.app[POOL]) as conn:
            rows = await tallies.series(
                conn,
                organization_id=principal.organization_id,
                queue_names=names,
                since=buckets[0],
            )
            figures = await tallies.of_organization(
                conn, organization_id=principal.organization_id, queue_names=names
            )
    shown: shapes.Series = {
        "bucket_seconds": _BUCKET_SECONDS,
        "points": points(buckets, rows, open_jobs=figures.open),
    }
    return answer(shown)


def uptime_seconds(request: web.Request) -> int:
    """Return for how long this process has been serving."""
    return int((datetime.now(UTC) - request.app[STARTED_AT]).total_seconds())


def _jobs(figures: Figures) -> shapes.JobFigures:
    return {
        "total": figures.total,
        "pending": figures.pending,
        "scheduled": figures.scheduled_jobs,
        "processing": figures.leased_jobs,
        "completed_24h": figures.completed_24h,
        "failed_24h": figures.failed_24h,
        "deadletter": figures.dead_jobs,
        "avg_wait_time_ms": figures.waiting_ms,
        "avg_processing_time_ms": figures.processing_ms,
    }
