"""How the house stands, measured: what is due, how late, and what must not grow.

Every scheduler measures, so that nobody has to be elected for it, and all show the
same: ask for the largest, never for the sum.  Who measures rests afterwards for many
times as long as it took, so that it costs Postgres little however full the house is.
"""

import asyncio
from typing import Final

from prometheus_client import Gauge

from libs.common.db import Conn, Pool, borrow
from libs.common.errors import Transient
from libs.common.loops import log, pause
from libs.common.store import gauges

#: How often to look, and what part of the time looking may take.
_TURN_SECONDS: Final = 10.0
_SHARE_MAX: Final = 0.02

POSTGRES_UP: Final = Gauge(
    "bellhop_postgres_up", "1 if Postgres answered when it was last asked."
)
MEASURED: Final = Gauge(
    "bellhop_measured_timestamp_seconds", "When the gauges of the house were measured."
)
DUE: Final = Gauge("bellhop_deliveries_due", "Deliveries that are due and may go.")
DUE_AGE: Final = Gauge(
    "bellhop_oldest_due_age_seconds",
    "For how long the delivery is due that is so for longest, of those that may go.",
)
WORK_DUE: Final = Gauge("bellhop_work_due", "Workers' jobs that are due and may go.")
WORK_DUE_AGE: Final = Gauge(
    "bellhop_work_oldest_due_age_seconds",
    "For how long the worker's job is due that is so for longest.",
)
KEPT_BACK: Final = Gauge(
    "bellhop_jobs_kept_back",
    "Jobs that are due and wait for a queue that is paused, or an endpoint that rests.",
)
SCHEDULED: Final = Gauge(
    "bellhop_deliveries_scheduled", "Deliveries for later: delayed, or to be retried."
)
DEAD: Final = Gauge("bellhop_dead_letters", "Jobs among the dead letters.")
_PLACES: Final = Gauge("bellhop_jobs_open", "Open jobs, by place.", ["place"])
_ENDPOINTS: Final = Gauge("bellhop_endpoints", "Endpoints, by state.", ["state"])
_WORKERS: Final = Gauge("bellhop_workers", "Registered workers, by state.", ["state"])
UNPUBLISHED: Final = Gauge(
    "bellhop_outbox_unpublished",
    "Events that are committed and not announced (counted up to 200,000).",
)
UNPUBLISHED_AGE: Final = Gauge(
    "bellhop_outbox_oldest_age_seconds",
    "For how long the first event is committed that is not announced.",
)
OLDEST_TRANSACTION: Final = Gauge(
    "bellhop_postgres_oldest_transaction_seconds",
    "How long the oldest transaction in the database has been open.",
)
DATABASE_BYTES: Final = Gauge("bellhop_postgres_size_bytes", "Size of the database.")
PARTITIONS_UNTIL: Final = Gauge(
    "bellhop_partitions_until_timestamp_seconds", "Until when partitions stand ready."
)


async def measure(stopping: asyncio.Event, *, pool: Pool) -> None:
    """Measure now and then, until stopped (an actor)."""
    loop = asyncio.get_running_loop()
    while not stopping.is_set():
        began_at, rest = loop.time(), _TURN_SECONDS
        try:
            async with borrow(pool) as conn, conn.transaction():
                await gauges.plan_for_all(conn)
                await _measure(conn)
        except Transient as error:
            POSTGRES_UP.set(0)
            log.warning("loop.turn_lost", turn="gauges", cause=str(error))
        else:
            POSTGRES_UP.set(1)
            MEASURED.set_to_current_time()
            rest = max(rest, (loop.time() - began_at) / _SHARE_MAX)
        await pause(rest, stopping)


async def _measure(conn: Conn) -> None:
    due = await gauges.count_due(conn)
    DUE.set(due.deliveries)
    DUE_AGE.set(due.deliveries_seconds)
    WORK_DUE.set(due.work)
    WORK_DUE_AGE.set(due.work_seconds)
    KEPT_BACK.set(due.kept_back)
    places = await gauges.count_places(conn)
    SCHEDULED.set(places.deliveries_scheduled)
    DEAD.set(places.dead)
    for place in ("ready", "scheduled", "waiting", "held", "leased"):
        _PLACES.labels(place=place).set(getattr(places, place))
    endpoints = await gauges.count_endpoints(conn)
    for state in ("enabled", "disabled", "open", "throttled"):
        _ENDPOINTS.labels(state=state).set(getattr(endpoints, state))
    workers = await gauges.count_workers(conn)
    for state in ("healthy", "degraded", "offline"):
        _WORKERS.labels(state=state).set(getattr(workers, state))
    outbox = await gauges.read_outbox(conn)
    UNPUBLISHED.set(outbox.events)
    UNPUBLISHED_AGE.set(outbox.seconds)
    server = await gauges.read_server(conn)
    OLDEST_TRANSACTION.set(server.oldest_transaction_seconds)
    DATABASE_BYTES.set(server.bytes)
    PARTITIONS_UNTIL.set(server.partitions_until)
