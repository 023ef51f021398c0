"""Where a peer keeps its jobs: a database of Bellhop's own server, or a Redis."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Final, Protocol

import asyncpg

from bench.children import Broken
from bench.house import House
from libs.cli.embedded.ports import free_port
from libs.cli.embedded.program import CLEAN_ENVIRONMENT, Program, dying_with_parent

_START_SECONDS_MAX: Final = 20.0
_LOOK_SECONDS: Final = 0.02
#: Where BullMQ has the jobs of the queue that are not finished.
_OPEN_IN_REDIS: Final = (
    "LLEN bull:bench:wait",
    "LLEN bull:bench:active",
    "LLEN bull:bench:paused",
    "ZCARD bull:bench:delayed",
    "ZCARD bull:bench:prioritized",
    "ZCARD bull:bench:failed",
)


class Store(Protocol):
    """What a row needs of the place where a peer's jobs are kept."""

    #: Its process.
    pids: dict[str, int]

    async def foundation(self) -> str:
        """Return where the peer is to make its tables, once."""

    def fresh(self) -> AbstractAsyncContextManager[str]:
        """Give where the peer has its tables and no jobs, until the block ends."""

    async def open_jobs(self) -> int:
        """Count the jobs in the `fresh` store that are not finished."""

    async def rest(self) -> None:
        """Do now what would else be done in the background."""


class PostgresStore:
    """A database of the server that Bellhop has, too: its settings are the same."""

    def __init__(self, house: House, *, name: str, open_jobs: str) -> None:
        self.pids = {"postgres": house.postgres.pid}
        self._house = house
        self._template = f"peer_{name}"
        self._copy = f"peer_{name}_copy"
        self._question = open_jobs
        self._conn: asyncpg.Connection | None = None

    async def foundation(self) -> str:
        """Make the database whose copies are used."""
        await self._house.conn.execute(f"CREATE DATABASE {self._template}")
        return self._house.postgres.url_of(self._template)

    @asynccontextmanager
    async def fresh(self) -> AsyncIterator[str]:
        """Give a copy of the foundation."""
        await self._house.conn.execute(
            f"CREATE DATABASE {self._copy} TEMPLATE {self._template}"
        )
        try:
            url = self._house.postgres.url_of(self._copy)
            self._conn = await asyncpg.connect(url)
            try:
                await self.rest()
                yield url
            finally:
                await self._conn.close()
        finally:
            await self._house.conn.execute(f"DROP DATABASE {self._copy} WITH (FORCE)")

    async def open_jobs(self) -> int:
        """Ask the peer's tables."""
        assert self._conn is not None
        return int(await self._conn.fetchval(self._question))

    async def rest(self) -> None:
        """Vacuum, and write what is not written."""
        assert self._conn is not None
        await self._conn.execute("VACUUM ANALYZE")
        await self._conn.execute("CHECKPOINT")


class RedisStore:
    """A Redis of the benchmark's own; it is asked in the simplest words it knows."""

    def __init__(self, port: int, pid: int) -> None:
        self.pids = {"redis": pid}
        self._port = port

    async def foundation(self) -> str:
        """Return where it is: there are no tables."""
        return f"redis://127.0.0.1:{self._port}/0"

    @asynccontextmanager
    async def fresh(self) -> AsyncIterator[str]:
        """Give it, empty."""
        await self._ask("FLUSHALL")
        yield await self.foundation()

    async def open_jobs(self) -> int:
        """Ask BullMQ's lists and sets."""
        answers = await self._ask(*_OPEN_IN_REDIS)
        return sum(int(answer.removeprefix(":")) for answer in answers)

    async def rest(self) -> None:
        """Nothing is ever left for later."""

    async def _ask(self, *commands: str) -> list[str]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write("".join(f"{command}\r\n" for command in commands).encode())
            answers = [(await reader.readline()).decode().strip() for _ in commands]
        finally:
            writer.close()
        if failed := [one for one in answers if not one.startswith(("+", ":"))]:
            raise Broken(f"Redis said {failed[0] or 'nothing'}")
        return answers


@asynccontextmanager
async def open_redis(server: Path, directory: Path) -> AsyncIterator[RedisStore]:
    """Run a Redis until the block ends, as durable as BullMQ's documents advise.

    Raises `Broken` when it does not start.
    """
    await asyncio.to_thread(directory.mkdir)
    port, program = free_port(), Program(directory / "redis.log")
    settings = {
        "bind": "127.0.0.1",
        "port": str(port),
        "dir": str(directory),
        "save": "",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "maxmemory-policy": "noeviction",
    }
    words = [word for name, value in settings.items() for word in (f"--{name}", value)]
    command = dying_with_parent([server, *words], by=signal.SIGKILL)
    try:
        await program.start(command, environment=CLEAN_ENVIRONMENT)
        async with asyncio.timeout(_START_SECONDS_MAX):
            while not await _listens(port):
                if not program.running:
                    raise Broken(f"Redis ended:\n{program.last_words()}")
                await asyncio.sleep(_LOOK_SECONDS)
        yield RedisStore(port, program.pid)
    finally:
        await program.kill()


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
