"""One HTTP request and its answer, within bounds, whoever is at the other end.

Everything that leaves this service goes through here: deliveries, tests, and the
requests for tokens.  Nothing is followed, inflated, or kept from one server for
another; a connection is used again only after an answer that was read to its end.
There is no time-out over the whole: whoever asks sets one.
"""

import asyncio
import ssl
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver
from multidict import CIMultiDictProxy
from yarl import URL

from libs.common.endpoints import Tls
from libs.common.tls import context_of
from services.delivery.connector import Connector
from services.delivery.guard import GuardedResolver, guard_of
from services.delivery.resolver import open_resolver
from services.delivery.settings import Settings

#: How much of an answer is kept, and how much is read before the connection is cut.
KEPT_BYTES_MAX: Final = 16 * 1024
READ_BYTES_MAX: Final = 64 * 1024

#: The longest line of an answer's head, and how many there may be.
_LINE_BYTES_MAX: Final = 8190
_LINES_MAX: Final = 128

#: How many TLS contexts are remembered: a megabyte each, where they hold the
#: authorities of this machine.
_CONTEXTS_MAX: Final = 128


@dataclass(slots=True)
class Answer:
    """What a server said; *body* is the beginning of it."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes


class Exchange:
    """Makes requests.

    Connections are kept apart by their TLS context: one that showed a certificate, or
    that believed an authority of somebody's own, is never used for anything else.
    """

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http
        self._contexts: OrderedDict[tuple[Tls, bool], ssl.SSLContext] = OrderedDict()

    async def make(
        self,
        method: str,
        url: URL,
        headers: Mapping[str, str],
        body: bytes,
        context: ssl.SSLContext | None = None,
    ) -> Answer:
        """Send a request and return the answer; raises one of `failures.FAILURES`.

        A request is written once.  A server that ends a connection in which it stands
        may have read it, and acted on it: whether to ask again is not decided here.
        """
        answer = await self._http.request(
            method,
            url,
            data=body,
            headers=headers,
            allow_redirects=False,
            ssl=True if context is None else context,
        )
        try:
            kept = await _read(answer.content)
        finally:
            # A connection whose answer was read to its end has left it already.
            answer.close()
        return Answer(answer.status, answer.headers, kept)

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


async def _read(content: aiohttp.StreamReader) -> bytes:
    """Return the first bytes of an answer; stop when it is longer than we read."""
    kept = bytearray()
    seen = 0
    while seen < READ_BYTES_MAX and not content.at_eof():
        chunk = await content.readany()
        seen += len(chunk)
        kept += chunk[: KEPT_BYTES_MAX - len(kept)]
    return bytes(kept)


@asynccontextmanager
async def open_exchange(
    settings: Settings, *, names: AbstractResolver | None = None
) -> AsyncIterator[Exchange]:
    """Make requests until the block ends; then close all connections.

    *names* resolves instead of this machine; its answers are checked all the same.
    """
    guard = guard_of(settings)
    async with (
        open_resolver() as resolver,
        aiohttp.ClientSession(
            connector=Connector(
                idle_max=settings.delivery_idle_connections_max,
                keepalive_timeout=settings.delivery_keepalive_seconds,
                ttl_dns_cache=settings.delivery_dns_cache_seconds,
                resolver=GuardedResolver(names or resolver, guard),
                socket_factory=guard.open_socket,
                ssl=context_of(),
            ),
            timeout=aiohttp.ClientTimeout(
                total=None, connect=settings.delivery_connect_timeout_seconds
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            read_bufsize=READ_BYTES_MAX // 2,  # it reads ahead twice as much
            max_line_size=_LINE_BYTES_MAX,
            max_field_size=_LINE_BYTES_MAX,
            max_headers=_LINES_MAX,
        ) as http,
    ):
        # Else the library itself makes a PUT, a DELETE or a GET a second time.
        http._retry_connection = False  # noqa: SLF001
        yield Exchange(http)
