"""A customer's server that does not keep to HTTP: what it says is up to the test."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ssl import SSLContext

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Receiver:
    """Reads the head of each request, unless it talks first, and lets the test talk."""

    def __init__(self, talk: Talk, *, listens: bool) -> None:
        self._talk = talk
        self._listens = listens
        self.port = 0
        self.connections = 0
        self.heads: list[bytes] = []
        #: Set when a connection has ended.
        self.closed = asyncio.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.connections += 1
        try:
            while not self._listens:
                await self._talk(reader, writer)
                await reader.readexactly(64 * 1024)
            while True:
                self.heads.append(await reader.readuntil(b"\r\n\r\n"))
                await self._talk(reader, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            self.closed.set()
            writer.close()


@asynccontextmanager
async def run_receiver(
    talk: Talk, *, listens: bool = True, tls: SSLContext | None = None
) -> AsyncIterator[Receiver]:
    """Talk to whoever connects, until the block ends."""
    receiver = Receiver(talk, listens=listens)
    talks: set[asyncio.Task[None]] = set()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talks.add(asyncio.create_task(receiver.serve(reader, writer)))

    server = await asyncio.start_server(begin, "127.0.0.1", 0, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for talk_ in talks:
            talk_.cancel()
        await asyncio.gather(*talks, return_exceptions=True)
        await server.wait_closed()


def saying(data: bytes) -> Talk:
    """Say the same to everybody."""

    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)

    return talk


def saying_and_closing(data: bytes) -> Talk:
    """Say this and close the connection."""

    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        writer.close()

    return talk
