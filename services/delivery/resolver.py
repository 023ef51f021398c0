"""From a name to addresses, in threads of our own.

The event loop would look names up in the few threads it has for everything, two at a
time under uvloop, and one receiver whose name server is slow would delay everybody's
connections.

A look-up cannot be stopped: one whose name server hangs holds its thread for as long
as the system likes.  Whoever makes up names that hang could so hold all threads.  So
names that were found quickly before have threads of their own.
"""

import asyncio
import socket
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Final

from aiohttp.abc import AbstractResolver, ResolveResult

#: Names being looked up at once, of those that were found before, and of the others.
_THREADS: Final = 32
_STRANGERS_THREADS: Final = 64
#: A name that took longer than this is a stranger, also the next time.
_QUICK_SECONDS: Final = 1.0
#: How many names are remembered.
_KNOWN_MAX: Final = 16_384


class Resolver(AbstractResolver):
    """Asks the system's resolver."""

    def __init__(
        self, known: ThreadPoolExecutor, strangers: ThreadPoolExecutor
    ) -> None:
        self._known = known
        self._strangers = strangers
        #: The names that were found quickly, the last ones last.
        self._names: OrderedDict[str, None] = OrderedDict()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return where *host* is; raises `OSError`."""
        threads = self._known if host in self._names else self._strangers
        quick = False
        try:
            answers, seconds = await asyncio.get_running_loop().run_in_executor(
                threads, _look_up, host, port, family
            )
            quick = seconds <= _QUICK_SECONDS
        finally:
            # Also when nobody waited for the answer.
            self._remember(host, quick=quick)
        return answers

    def _remember(self, host: str, *, quick: bool) -> None:
        self._names.pop(host, None)
        if quick:
            self._names[host] = None
            if len(self._names) > _KNOWN_MAX:
                self._names.popitem(last=False)

    async def close(self) -> None:
        """Leave the threads to whoever opened them."""


def _look_up(
    host: str, port: int, family: socket.AddressFamily
) -> tuple[list[ResolveResult], float]:
    """Return where *host* is, and how long that took, without waiting for a thread."""
    began = time.monotonic()
    answers = [
        ResolveResult(
            hostname=host,
            host=str(address[0]),
            port=port,
            family=kind,
            proto=protocol,
            flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
        )
        for kind, _, protocol, _, address in socket.getaddrinfo(
            host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
        )
    ]
    return answers, time.monotonic() - began


@asynccontextmanager
async def open_resolver() -> AsyncIterator[Resolver]:
    """Resolve until the block ends; do not wait for look-ups that hang."""
    known = ThreadPoolExecutor(_THREADS, thread_name_prefix="resolver")
    strangers = ThreadPoolExecutor(_STRANGERS_THREADS, thread_name_prefix="strangers")
    try:
        yield Resolver(known, strangers)
    finally:
        for threads in (known, strangers):
            threads.shutdown(wait=False, cancel_futures=True)
