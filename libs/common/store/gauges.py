"""How the house stands, for gauges: whole tables counted, now and then.

No job waits for any of it.  What a look costs grows with what there is, so who looks
often rests in between for many times as long as it took.
"""

from dataclasses import dataclass
from typing import Final

from libs.common.db import Conn
from libs.common.sql import load

SQL: Final = load(__package__, "gauges")

_UNANNOUNCED_MAX: Final = 100_000


@dataclass(frozen=True, slots=True)
class Due:
    """What is due and may go, and for how long the first of it is (seconds).

    *kept_back* is due as well, and waits because somebody wants it to.
    """

    deliveries: int
    deliveries_seconds: float
    work: int
    work_seconds: float
    kept_back: int


@dataclass(frozen=True, slots=True)
class Places:
    """How many jobs stand where; two of them are of those that are scheduled."""

    ready: int
    scheduled: int
    deliveries_scheduled: int
    retrying: int
    waiting: int
    held: int
    leased: int
    dead: int


@dataclass(frozen=True, slots=True)
class Endpoints:
    """How many endpoints are in which state."""

    disabled: int
    open: int
    throttled: int
    enabled: int


@dataclass(frozen=True, slots=True)
class Outbox:
    """What is not announced: how many events, and the first for how long (seconds)."""

    events: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Server:
    """What of Postgres must not grow; *partitions_until* is a Unix time (seconds)."""

    oldest_transaction_seconds: float
    bytes: int
    partitions_until: float


@dataclass(frozen=True, slots=True)
class Workers:
    """How many workers are how."""

    healthy: int
    degraded: int
    offline: int


@dataclass(frozen=True, slots=True)
class Happened:
    """How often something ever happened to a job, and how long that took (ms)."""

    jobs: int
    duration_ms: float


async def plan_for_all(conn: Conn) -> None:
    """Let what follows in the transaction read whole tables as they lie."""
    await conn.execute(SQL["plan_for_all"])


async def count_due(conn: Conn) -> Due:
    """Return what is due."""
    [row] = await conn.fetch(SQL["count_due"])
    return Due(*row)


async def count_places(conn: Conn) -> Places:
    """Return how many jobs stand where."""
    [row] = await conn.fetch(SQL["count_places"])
    return Places(*row)


async def count_endpoints(conn: Conn) -> Endpoints:
    """Return how many endpoints are in which state."""
    [row] = await conn.fetch(SQL["count_endpoints"])
    return Endpoints(*row)


async def read_outbox(conn: Conn, *, limit: int = _UNANNOUNCED_MAX) -> Outbox:
    """Return what is not announced, counted up to *limit* of each kind."""
    [row] = await conn.fetch(SQL["read_outbox"], limit)
    return Outbox(*row)


async def read_server(conn: Conn) -> Server:
    """Return how Postgres itself stands."""
    [row] = await conn.fetch(SQL["read_server"])
    return Server(*row)


async def count_workers(conn: Conn) -> Workers:
    """Return how many workers are how."""
    [row] = await conn.fetch(SQL["count_workers"])
    return Workers(*row)


async def count_transitions(conn: Conn) -> dict[str, Happened]:
    """Return all that ever happened to jobs, by transition, as far as announced."""
    rows = await conn.fetch(SQL["count_transitions"])
    return {row["transition"]: Happened(*list(row)[1:]) for row in rows}
