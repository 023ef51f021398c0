"""One HTTP request and its answer, within bounds, whoever is at the other end.

Everything that leaves this service goes through here: deliveries, tests, and the
requests for tokens.  Nothing is followed, inflated, or kept from one server for
another; a connection is used again only after an answer that was read to its end.

A request is written once.  A server that ends a connection in which it stands may have
read it, and acted on it: whether to ask again is not decided here.
"""

import asyncio
import ssl
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from aiohttp.abc import AbstractResolver

from libs.common.endpoints import Tls
from libs.common.tls import context_of
from services.delivery.answer import Answer
from services.delivery.connection import Connection
from services.delivery.connections import Connections
from services.delivery.dialing import Dialer
from services.delivery.failures import LATE, NoAnswer, NoRoom
from services.delivery.guard import GuardedResolver, guard_of
from services.delivery.metrics import CONNECTIONS
from services.delivery.request import Destination, Request, head_of
from services.delivery.resolver import open_resolver
from services.delivery.settings import Settings

#: How many TLS contexts are remembered: a megabyte each, where they hold the
#: authorities of this machine.
_CONTEXTS_MAX: Final = 128


class Exchange:
    """Makes requests."""

    def __init__(
        self,
        dialer: Dialer,
        connections: Connections,
        *,
        connect_seconds: float,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._dialer = dialer
        self._connections = connections
        self._connect_seconds = connect_seconds
        #: How to connect to whoever has nothing of their own.
        self._everybodys = context_of()
        self._contexts: OrderedDict[tuple[Tls, bool], ssl.SSLContext] = OrderedDict()

    async def make(
        self,
        request: Request,
        *,
        deadline: float,
        context: ssl.SSLContext | None = None,
    ) -> Answer:
        """Make a request, and return its answer before *deadline* (the loop's clock).

        *context* is how to connect, unless as to everybody.  Raises one of
        `failures.FAILURES`.  Who is cancelled leaves no connection behind with half
        an answer in it.
        """
        head = head_of(request)
        destination = request.destination
        if not destination.secure:
            context = None
        elif context is None:
            context = self._everybodys
        way = destination.host, destination.port, context
        connection = self._connections.take(way)
        if connection is None:
            connection = await self._dial(destination, context, deadline)
            CONNECTIONS.new += 1
        else:
            CONNECTIONS.reused += 1
        timer = self._loop.call_at(deadline, connection.time_out)
        try:
            return await connection.ask(head, request.body)
        finally:
            timer.cancel()
            self._connections.put(way, connection)

    async def _dial(
        self, destination: Destination, context: ssl.SSLContext | None, deadline: float
    ) -> Connection:
        until = self._loop.time() + self._connect_seconds
        try:
            async with asyncio.timeout_at(min(until, deadline)):
                return await self._dialer.dial(
                    destination.host, destination.port, context, self._connections.made
                )
        except NoRoom as error:
            if error.of_files:
                # What is idle holds what the next one needs.
                self._connections.make_room()
            raise
        except TimeoutError:
            if until < deadline:
                raise NoAnswer(LATE) from None
            raise

    async def context(self, tls: Tls, *, also_public: bool = False) -> ssl.SSLContext:
        """Return the TLS context of *tls*; raises `BadTls`, as `context_of` does."""
        key = tls, also_public
        context = self._contexts.get(key)
        if context is None:
            context = await asyncio.to_thread(context_of, tls, also_public=also_public)
            # Whoever was first made the one that connections are kept under.
            context = self._contexts.setdefault(key, context)
            if len(self._contexts) > _CONTEXTS_MAX:
                self._contexts.popitem(last=False)
        self._contexts.move_to_end(key)
        return context


@asynccontextmanager
async def open_exchange(
    settings: Settings, *, names: AbstractResolver | None = None
) -> AsyncIterator[Exchange]:
    """Make requests until the block ends; then close all connections.

    *names* resolves instead of this machine; its answers are checked all the same.
    """
    guard = guard_of(settings)
    connections = Connections(
        idle_max=settings.delivery_idle_connections_max,
        idle_seconds=settings.delivery_keepalive_seconds,
    )
    async with open_resolver() as resolver:
        dialer = Dialer(
            guard,
            GuardedResolver(names or resolver, guard),
            remembered_seconds=settings.delivery_dns_cache_seconds,
        )
        try:
            yield Exchange(
                dialer,
                connections,
                connect_seconds=settings.delivery_connect_timeout_seconds,
            )
        finally:
            await dialer.close()
            await connections.close()
