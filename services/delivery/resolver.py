"""From a name to addresses, in threads of our own.

The event loop would look names up in the few threads it has for everything, two at a
time under uvloop, and one receiver whose name server is slow would delay everybody's
connections.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Final

from aiohttp.abc import AbstractResolver, ResolveResult

#: Names being looked up at once; a look-up that hangs holds a thread for long.
_THREADS: Final = 64


class Resolver(AbstractResolver):
    """Asks the system's resolver."""

    def __init__(self, threads: ThreadPoolExecutor) -> None:
        self._threads = threads

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return where *host* is; raises `OSError`."""
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, _look_up, host, port, family
        )

    async def close(self) -> None:
        """Leave the threads to whoever opened them."""


def _look_up(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
    return [
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


@asynccontextmanager
async def open_resolver() -> AsyncIterator[Resolver]:
    """Resolve until the block ends; do not wait for look-ups that hang."""
    threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="resolver")
    try:
        yield Resolver(threads)
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
