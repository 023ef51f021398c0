"""An embedded PostgreSQL: made on the first start, safe to kill at any moment.

Under its directory stand ``data`` (the cluster), ``password``, ``port`` and
``postgres.log``.  It listens on 127.0.0.1 only, has no Unix socket, and asks for the
password (SCRAM-SHA-256) even there, since any user of the machine can knock.
"""

import asyncio
import secrets
import shutil
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from libs.cli.embedded.ports import free_port, remember_port, remembered_port
from libs.cli.embedded.postgres_programs import MAJOR, PostgresPrograms
from libs.cli.embedded.program import CLEAN_ENVIRONMENT, DidNotStart, Program
from libs.cli.private_files import write_private

USER: Final = "bellhop"
DATABASE: Final = "bellhop"

SETTINGS: Final[Mapping[str, str]] = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    # What makes an accepted job durable.
    "fsync": "on",
    "synchronous_commit": "on",
    "shared_buffers": "256MB",
    # Jobs pass through quickly: fewer checkpoints write fewer full pages.
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    # Rows of the hot tables live for milliseconds: look often.
    "autovacuum_naptime": "10s",
    "log_line_prefix": "%m [%p] %a ",
}

#: How long recovery after a crash may take: it replays up to max_wal_size.
_START_SECONDS: Final = 120.0
_STOP_SECONDS: Final = 60.0
#: How long a predecessor may take to be gone: its parent died, so it is on its way.
_PREDECESSOR_SECONDS: Final = 60.0
_STARTS_MAX: Final = 10
_LOOK_SECONDS: Final = 0.02
#: Line of postmaster.pid that says how far the server is (PostgreSQL's pidfile.h).
_STATUS_LINE: Final = 7
#: What a start can fail with that passes by itself: backends of a killed server
#: need a moment to notice, and somebody may have taken the port.
_PASSING: Final = ("pre-existing shared memory block", "could not bind IPv4 address")


class PostgresServer:
    """A PostgreSQL that lives in a directory; start it, stop it, kill it, again."""

    def __init__(
        self,
        directory: Path,
        *,
        settings: Mapping[str, str] | None = None,
        major: int = MAJOR,
    ) -> None:
        """Take the directory, *settings* that differ from `SETTINGS`, and a version."""
        self._major: Final = major
        self._directory: Final = directory.resolve()
        #: The cluster itself.
        self.data: Final = self._directory / "data"
        self._settings: Final = {**SETTINGS, **(settings or {})}
        self._program: Final = Program(self._directory / "postgres.log")
        self.port = 0

    @property
    def pid(self) -> int:
        """The process id of the postmaster."""
        return self._program.pid

    @property
    def running(self) -> bool:
        """Whether the postmaster is there."""
        return self._program.running

    @property
    def url(self) -> str:
        """Where Bellhop's database is, password included."""
        return self.url_of(DATABASE)

    def url_of(self, database: str) -> str:
        """Where another database of this server is."""
        password = (self._directory / "password").read_text().strip()
        return f"postgresql://{USER}:{password}@127.0.0.1:{self.port}/{database}"

    async def start(self) -> None:
        """Start the server, after making or recovering its data; return when ready.

        Keeps the port it had the last time, if that is free.  Raises `DidNotStart`
        with the end of the log.
        """
        programs = PostgresPrograms(self._major)
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self.data.exists():
            await _make_cluster(self._directory, programs)
        memory = self._directory / "port"
        self.port = self.port or remembered_port(memory)
        for _ in range(_STARTS_MAX):
            await _forget_predecessor(self.data)
            await self._program.start(
                programs.command("postgres", *self._arguments()),
                environment=CLEAN_ENVIRONMENT,
            )
            if await self._became_ready():
                remember_port(memory, self.port)
                return
            words = self._program.last_words()
            if not any(passing in words for passing in _PASSING):
                break
            if "could not bind" in words:
                self.port = free_port()
            await asyncio.sleep(0.2)
        raise DidNotStart(f"PostgreSQL did not start:\n{self._program.last_words()}")

    async def stop(self, *, immediate: bool = False) -> None:
        """Stop: roll back what is open, write what is committed, end.

        *immediate* ends without writing, so that the next start has to recover.
        """
        await self._program.stop(
            signal.SIGQUIT if immediate else signal.SIGINT,
            patience_seconds=_STOP_SECONDS,
        )

    async def kill(self) -> None:
        """End the postmaster with SIGKILL; its backends notice and end too."""
        await self._program.kill()

    async def wait(self) -> int:
        """Return the exit code once the server has ended."""
        return await self._program.wait()

    def _arguments(self) -> list[str | Path]:
        settings = {**self._settings, "port": str(self.port)}
        pairs = [f"{name}={value}" for name, value in settings.items()]
        return ["-D", self.data, *(word for pair in pairs for word in ("-c", pair))]

    async def _became_ready(self) -> bool:
        """Wait for readiness; false when the server ended instead."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _START_SECONDS
        while self.running:
            lines = _pid_file(self.data)
            if lines[0] == str(self.pid) and lines[_STATUS_LINE].strip() == "ready":
                return True
            if loop.time() > deadline:
                await self.stop(immediate=True)
                raise DidNotStart(
                    f"PostgreSQL was not ready after {_START_SECONDS:.0f} s:\n"
                    f"{self._program.last_words()}"
                )
            await asyncio.sleep(_LOOK_SECONDS)
        return False


@asynccontextmanager
async def run_postgres(
    directory: Path,
    *,
    settings: Mapping[str, str] | None = None,
    major: int = MAJOR,
) -> AsyncIterator[PostgresServer]:
    """Run a PostgreSQL that lives in *directory* until the block ends."""
    server = PostgresServer(directory, settings=settings, major=major)
    try:
        await server.start()
        yield server
    finally:
        await server.stop()


async def _make_cluster(directory: Path, programs: PostgresPrograms) -> None:
    """Make the cluster with Bellhop's database; it is complete or not there."""
    unfinished = directory / "data.unfinished"
    await asyncio.to_thread(shutil.rmtree, unfinished, ignore_errors=True)
    password = directory / "password"
    write_private(password, f"{secrets.token_urlsafe(24)}\n")
    await _run(
        programs.command(
            "initdb",
            f"--pgdata={unfinished}",
            f"--username={USER}",
            f"--pwfile={password}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
        )
    )
    # Without a server: nobody can knock before everything is in place.
    await _run(
        programs.command("postgres", "--single", "-D", unfinished, "postgres"),
        told=f"CREATE DATABASE {DATABASE}\n".encode(),
    )
    unfinished.rename(directory / "data")


async def _run(command: list[str | Path], *, told: bytes = b"") -> None:
    process = await asyncio.create_subprocess_exec(
        *command,
        env=CLEAN_ENVIRONMENT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    said, _ = await process.communicate(told)
    if process.returncode != 0:
        raise DidNotStart(f"PostgreSQL's data could not be made:\n{said.decode()}")


async def _forget_predecessor(data: Path) -> None:
    """Remove the pid file of a server that is gone; wait for one that is going.

    Postgres itself would take any living process with that number for its
    predecessor, and refuse to start.  Raises `DidNotStart` if it stays.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _PREDECESSOR_SECONDS
    while (pid := _pid_file(data)[0]) and _serves(int(pid), data):
        if loop.time() > deadline:
            raise DidNotStart(f"another PostgreSQL (pid {pid}) uses {data}")
        await asyncio.sleep(_LOOK_SECONDS)
    (data / "postmaster.pid").unlink(missing_ok=True)


def _serves(pid: int, data: Path) -> bool:
    try:
        return Path(f"/proc/{pid}/cwd").readlink() == data
    except OSError:
        return False


def _pid_file(data: Path) -> list[str]:
    """Return the eight lines of postmaster.pid, empty where there is none yet."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        lines = []
    return [*lines, *[""] * (_STATUS_LINE + 1)][: _STATUS_LINE + 1]
