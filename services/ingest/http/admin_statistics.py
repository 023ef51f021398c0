"""``/admin/stats`` and ``/admin/plans``: the whole house, and its plans (1.13)."""

from aiohttp import web

from libs.common.db import borrow
from libs.common.plans import TIERS, plan_of
from libs.common.store import overview, tallies
from services.ingest.answers import admin as shapes
from services.ingest.answers.usage import PlanLimits, plan_limits
from services.ingest.http.dashboard import uptime_seconds
from services.ingest.http.errors import answer
from services.ingest.http.reading import POOL, SETTINGS, require_admin
from services.ingest.http.routing import Route


def routes() -> list[Route]:
    """Return the routes."""
    return [
        Route(
            method="GET",
            path="/api/v1/admin/stats",
            handler=read,
            answers={200: shapes.Statistics},
            access="admin",
        ),
        Route(
            method="GET",
            path="/api/v1/admin/plans",
            handler=list_plans,
            answers={200: list[PlanLimits]},
            access="admin",
        ),
    ]


async def read(request: web.Request) -> web.Response:
    """Return how the whole house stands."""
    require_admin(request)
    async with borrow(request.app[POOL]) as conn:
        plans = await overview.count_by_plan(conn)
        figures = await tallies.of_everything(conn)
        workers = await overview.count_workers(conn)
    shown: shapes.Statistics = {
        "organizations": {
            "total": sum(row["organizations"] for row in plans),
            "by_plan": [
                {"plan": row["plan_tier"], "count": row["organizations"]}
                for row in plans
            ],
            "created_today": sum(row["created_today"] for row in plans),
            "created_this_week": sum(row["created_this_week"] for row in plans),
        },
        "jobs": {
            "total_active": figures.pending
            + figures.scheduled_jobs
            + figures.leased_jobs,
            "pending": figures.pending,
            "processing": figures.leased_jobs,
            "completed_24h": figures.completed_24h,
            "failed_24h": figures.failed_24h,
        },
        "workers": {
            "total": workers["total"],
            "healthy": workers["healthy"],
            "degraded": workers["degraded"],
        },
        "system": {"api_version": "v1", "uptime_seconds": uptime_seconds(request)},
    }
    return answer(shown)


async def list_plans(request: web.Request) -> web.Response:
    """Return what each plan allows, with what the operator says of it."""
    require_admin(request)
    said = request.app[SETTINGS].plan_limits
    return answer([plan_limits(plan_of(tier, operator=said)) for tier in TIERS])
