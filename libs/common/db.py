"""Postgres: the pool, how it is borrowed, and what counts as passing trouble."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final
from uuid import UUID

import asyncpg
from asyncpg.pgproto import pgproto
from prometheus_client import REGISTRY
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from libs.common.errors import Fault, Malformed, Unavailable
from libs.common.metrics import POSTGRES_UNAVAILABLE

if TYPE_CHECKING:
    Pool = asyncpg.Pool[asyncpg.Record]
    Conn = (
        asyncpg.Connection[asyncpg.Record]
        | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]
    )
else:
    Pool = asyncpg.Pool
    Conn = asyncpg.Connection

Row = asyncpg.Record

#: How long to wait for a free connection before saying that Postgres is away.
ACQUIRE_SECONDS: Final = 5.0
#: How long one statement may take; nothing on the way of a job comes near it.
COMMAND_SECONDS: Final = 30.0

#: What passes by itself: lost wires, restarts, full houses, deadlocks.
PASSING: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InterfaceError,
    # Postgres has said goodbye on this connection, and has not closed it yet.
    asyncpg.InternalClientError,
)

#: A statement on the way of a job reads a handful of rows by key.  The planner, which
#: may have met a table while it was empty, is kept from any other plan, and from
#: planning it again each time.
BY_KEY: Final = {
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "plan_cache_mode": "force_generic_plan",
}


def read_id(text: str) -> UUID:
    """Return the id that *text* spells, as rows have it; raises `ValueError`.

    Postgres's own kind is read with an eighth of the work of Python's, and equals it;
    orjson does not write it.
    """
    return pgproto.UUID(text)


class Connections(Collector):
    """How many connections the pools of this process hold, counted when asked."""

    def __init__(self) -> None:
        self.pools: list[Pool] = []

    def in_use(self) -> int:
        """Return how many somebody has borrowed."""
        return sum(pool.get_size() - pool.get_idle_size() for pool in self.pools)

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Show those that are in use, and those that wait."""
        family = GaugeMetricFamily(
            "bellhop_postgres_connections",
            "Connections to Postgres that this process holds.",
            labels=["state"],
        )
        family.add_metric(["in_use"], self.in_use())
        family.add_metric(["idle"], sum(pool.get_idle_size() for pool in self.pools))
        yield family


CONNECTIONS: Final = Connections()
REGISTRY.register(CONNECTIONS)


@asynccontextmanager
async def open_pool(
    url: str, *, service: str, size: int, planner: dict[str, str] | None = None
) -> AsyncIterator[Pool]:
    """Open a pool of up to *size* connections, named after *service* in Postgres.

    Opening does not connect: a service starts, and waits, without its database.
    """
    pool = asyncpg.create_pool(
        url,
        min_size=0,
        max_size=size,
        command_timeout=COMMAND_SECONDS,
        max_inactive_connection_lifetime=0,
        reset=_leave_as_it_is,
        server_settings={
            "application_name": f"bellhop-{service}",
            # A forgotten transaction would hold up vacuum and the event stream.
            "idle_in_transaction_session_timeout": "30s",
            "jit": "off",
            "synchronous_commit": "on",
            "timezone": "UTC",
            **(planner or {}),
        },
    )
    async with pool:
        CONNECTIONS.pools.append(pool)
        try:
            yield pool
        finally:
            CONNECTIONS.pools.remove(pool)


async def _leave_as_it_is(_: Conn) -> None:
    """Nobody here leaves anything in a session, so nothing has to be put back.

    asyncpg's own way is a round trip and four statements after every borrow, which
    cost as much as the borrow itself (measured).  An open transaction it still ends.
    """


def _cause(error: BaseException) -> str:
    """Return what went wrong, for the log; an address may have a password in it."""
    if isinstance(error, asyncpg.ClientConfigurationError):
        return "its address cannot be read"
    return repr(error)


@asynccontextmanager
async def borrow(pool: Pool) -> AsyncIterator[Conn]:
    """Borrow a connection; what passes by itself becomes `Unavailable`.

    The body talks to Postgres and to nobody else: a connection is too dear to be
    held while somebody thinks, and another's time-out must not look like ours.
    A value that Postgres cannot hold becomes `Malformed`.
    """
    try:
        async with pool.acquire(timeout=ACQUIRE_SECONDS) as conn:
            yield conn
    except PASSING as error:
        POSTGRES_UNAVAILABLE.inc()
        raise Unavailable(f"postgres: {_cause(error)}") from error
    except asyncpg.DataError as error:
        raise Malformed(
            Fault("request", f"a value cannot be stored: {error}", "unstorable")
        ) from error


async def is_alive(pool: Pool) -> bool:
    """Whether Postgres answers a question within a second."""
    try:
        async with borrow(pool) as conn:
            return bool(await conn.fetchval("SELECT 1", timeout=1.0))
    except Unavailable:
        return False
