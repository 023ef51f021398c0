"""A wire that can be cut: a TCP proxy between a service and what it depends on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlsplit

_CHUNK_BYTES: Final = 64 * 1024


class Wire:
    """Carries bytes both ways until it is cut or frozen."""

    def __init__(self, host: str, port: int) -> None:
        self._target: Final = (host, port)
        self._whole = True
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._near: set[asyncio.StreamWriter] = set()
        self._ends: set[asyncio.StreamWriter] = set()
        self._carriers: set[asyncio.Task[None]] = set()
        self.port = 0

    def through(self, url: str) -> str:
        """Return the *url* of the target as it is reached by this wire."""
        parts = urlsplit(url)
        credentials, at, _ = parts.netloc.rpartition("@")
        netloc = f"{credentials}{at}127.0.0.1:{self.port}"
        return parts._replace(netloc=netloc).geturl()

    def cut(self) -> None:
        """Break every connection at once, and every new one, until mended."""
        self._whole = False
        for end in self._ends:
            end.transport.abort()

    def freeze(self) -> None:
        """Carry nothing any more, but let nobody notice, until mended."""
        self._flowing.clear()

    def say(self, data: bytes) -> None:
        """Say something to whoever is connected, as if the target had said it."""
        for end in self._near:
            end.write(data)

    def mend(self) -> None:
        """Be as good as new."""
        self._whole = True
        self._flowing.set()

    async def carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Carry one connection from here to the target and back, to its end."""
        task = asyncio.current_task()
        assert task is not None
        self._carriers.add(task)
        self._ends.add(writer)
        self._near.add(writer)
        try:
            if not self._whole:
                return
            far_reader, far_writer = await asyncio.open_connection(*self._target)
            self._ends.add(far_writer)
            try:
                await asyncio.gather(
                    self._flow(reader, far_writer), self._flow(far_reader, writer)
                )
            finally:
                self._ends.discard(far_writer)
                far_writer.transport.abort()
        except OSError:
            pass  # a cut wire; both ends hear of it
        except asyncio.CancelledError:
            pass  # the wire is closed, and nobody waits for its tasks
        finally:
            self._near.discard(writer)
            self._ends.discard(writer)
            self._carriers.discard(task)
            writer.transport.abort()

    async def _flow(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while data := await reader.read(_CHUNK_BYTES):
            await self._flowing.wait()
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof() and not writer.is_closing():
            writer.write_eof()

    async def close(self) -> None:
        """Break every connection, for good."""
        self.cut()
        for carrier in [*self._carriers]:
            carrier.cancel()
        await asyncio.gather(*self._carriers, return_exceptions=True)


@asynccontextmanager
async def wire_to(host: str, port: int) -> AsyncIterator[Wire]:
    """Open a wire to *host* and *port*; connect to its ``port`` on 127.0.0.1."""
    wire = Wire(host, port)
    server = await asyncio.start_server(wire.carry, "127.0.0.1", 0)
    wire.port = server.sockets[0].getsockname()[1]
    try:
        yield wire
    finally:
        server.close()
        await wire.close()
