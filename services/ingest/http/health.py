"""``/health``, ``/health/live``, ``/health/ready`` and ``/metrics`` (contract 1.1)."""

from aiohttp import web

from libs.common.health import Health
from libs.common.version import VERSION
from services.ingest.answers.health import HealthReport
from services.ingest.http.errors import answer
from services.ingest.http.routing import Route


def routes(health: Health, *, development: bool) -> list[Route]:
    """Return the routes; who asks needs no key, for ``/metrics`` perhaps a token."""

    async def show(_: web.Request) -> web.Response:
        """Return how the service is: 200 in any case."""
        failing = await health.failing()
        report: HealthReport = {
            "status": "degraded" if failing else "healthy",
            "database": "postgres" not in failing,
            # There is no cache that could be away (contract D26).
            "cache": True,
            "bus": "nats" not in failing,
        }
        if development:
            report["version"] = VERSION
        return answer(report)

    return [
        Route(
            method="GET",
            path="/health",
            handler=show,
            answers={200: HealthReport},
            access="anybody",
        ),
        Route(
            method="GET",
            path="/health/live",
            handler=health.live,
            answers={200: None},
            access="anybody",
        ),
        Route(
            method="GET",
            path="/health/ready",
            handler=health.ready,
            answers={200: None},
            access="anybody",
        ),
        Route(
            method="GET",
            path="/metrics",
            handler=health.metrics,
            answers={200: str},
            refusals=(401,),
            access="anybody",
            media_type="text/plain",
        ),
    ]
