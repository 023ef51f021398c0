"""The figures that the contract names (5.11), beside our own and made of the same.

What becomes of jobs is read from the tables, now and then, so every ingest shows the
whole house: ask for the largest of several, not for the sum.  Of how long jobs took
there are count and sum, and one bucket.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from prometheus_client import REGISTRY
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from libs.common.db import CONNECTIONS, Pool, borrow
from libs.common.errors import Transient
from libs.common.loops import log, pause
from libs.common.store import gauges
from libs.common.store.gauges import Happened
from services.ingest.http.errors import DURATION, REQUESTS

#: How often to look (contract 4.8), and what part of the time looking may take: little,
#: because every process of the service looks for itself.
_TURN_SECONDS: Final = 15.0
_SHARE_MAX: Final = 0.005

#: What the contract counts, and which transitions that is.
_COUNTED: Final = {
    "spooled_jobs_enqueued": ("created",),
    "spooled_jobs_completed": ("completed",),
    # Every attempt that failed, whatever came after it.
    "spooled_jobs_failed": ("retrying", "deadlettered"),
    "spooled_jobs_retried": ("retrying",),
    "spooled_jobs_deadlettered": ("deadlettered", "quarantined"),
}
_MEANINGS: Final = {
    "spooled_jobs_enqueued": "Jobs created.",
    "spooled_jobs_completed": "Jobs that completed.",
    "spooled_jobs_failed": "Attempts that failed, whatever came after.",
    "spooled_jobs_retried": "Attempts that failed and are tried again.",
    "spooled_jobs_deadlettered": "Jobs that became dead letters.",
    "spooled_jobs_pending": "Jobs that wait for an attempt, or for another.",
    "spooled_jobs_processing": "Jobs that somebody works on.",
    "spooled_job_max_age_seconds": "For how long the oldest job is due.",
    "spooled_workers_active": "Workers that did not go, or fall silent.",
    "spooled_workers_healthy": "Workers that say that they are well.",
}
_NOTHING: Final = Happened(0, 0.0)


class ContractMetrics(Collector):
    """Shows what was measured last."""

    def __init__(self) -> None:
        #: By name; they never fall, though the tables forget organizations.
        self._counters = dict.fromkeys(_COUNTED, 0)
        self._completed_seconds = 0.0
        self._gauges = {
            "spooled_jobs_pending": 0.0,
            "spooled_jobs_processing": 0.0,
            "spooled_job_max_age_seconds": 0.0,
            "spooled_workers_active": 0.0,
            "spooled_workers_healthy": 0.0,
        }

    async def measure(self, pool: Pool) -> None:
        """Look at the tables; raises `Unavailable`."""
        async with borrow(pool) as conn:
            happened = await gauges.count_transitions(conn)
            places = await gauges.count_places(conn)
            due = await gauges.count_due(conn)
            workers = await gauges.count_workers(conn)
        for name, transitions in _COUNTED.items():
            jobs = sum(happened.get(one, _NOTHING).jobs for one in transitions)
            self._counters[name] = max(self._counters[name], jobs)
        seconds = happened.get("completed", _NOTHING).duration_ms / 1000
        self._completed_seconds = max(self._completed_seconds, seconds)
        self._gauges = {
            "spooled_jobs_pending": places.ready
            + places.waiting
            + places.held
            + places.retrying,
            "spooled_jobs_processing": places.leased,
            "spooled_job_max_age_seconds": max(
                due.deliveries_seconds, due.work_seconds
            ),
            "spooled_workers_active": workers.healthy + workers.degraded,
            "spooled_workers_healthy": workers.healthy,
        }

    def collect(self) -> Iterable[Metric]:
        """Show each under the contract's name; none has labels."""
        for name, jobs in self._counters.items():
            yield CounterMetricFamily(name, _MEANINGS[name], jobs)
        for name, value in self._gauges.items():
            yield GaugeMetricFamily(name, _MEANINGS[name], value)
        yield HistogramMetricFamily(
            "spooled_job_duration_seconds",
            "How long attempts took that completed their job.",
            buckets=[("+Inf", self._counters["spooled_jobs_completed"])],
            sum_value=self._completed_seconds,
        )
        requests = sum(
            sample.value
            for family in REQUESTS.collect()
            for sample in family.samples
            if sample.name.endswith("_total")
        )
        yield CounterMetricFamily(
            "spooled_api_requests", "Requests answered.", requests
        )
        yield DURATION.family("spooled_api_request_duration_seconds")
        yield GaugeMetricFamily(
            "spooled_database_connections_active",
            "Connections to Postgres in use.",
            CONNECTIONS.in_use(),
        )
        yield CounterMetricFamily(
            "spooled_redis_operations", "Always 0: there is no Redis.", 0
        )


CONTRACT_METRICS: Final = ContractMetrics()
REGISTRY.register(CONTRACT_METRICS)


def measuring(pool: Pool) -> Callable[[asyncio.Event], Awaitable[None]]:
    """Return the actor that measures now and then, until stopped."""

    async def measure(stopping: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        while not stopping.is_set():
            began_at, rest = loop.time(), _TURN_SECONDS
            try:
                await CONTRACT_METRICS.measure(pool)
            except Transient as error:
                log.warning("loop.turn_lost", turn="contract_metrics", cause=str(error))
            else:
                rest = max(rest, (loop.time() - began_at) / _SHARE_MAX)
            await pause(rest, stopping)

    return measure
