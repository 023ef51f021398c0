"""An embedded nats-server with JetStream, in a directory of its own.

Under its directory stand ``store`` (JetStream's files), ``password``, ``port``,
``monitor-port``, ``nats.conf``, ``nats.log`` and ``accounts.json``, those of
organizations' programs (`libs.cli.nats_users`).  It listens on 127.0.0.1 only and
asks for the password even there, since any user of the machine can knock.
"""

import asyncio
import json
import secrets
import shutil
import signal
import sysconfig
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from libs.cli.embedded.ports import free_port, remember_port, remembered_port
from libs.cli.embedded.program import (
    CLEAN_ENVIRONMENT,
    DidNotStart,
    Program,
    dying_with_parent,
)
from libs.cli.nats_users import SERVICES, USER, remembered, services_account
from libs.cli.private_files import write_private

#: A batch of work carries up to 64 bodies.
PAYLOAD_BYTES_MAX: Final = 8 * 1024 * 1024

_MEMORY_BYTES_MAX: Final = 1024**3
_FILE_BYTES_MAX: Final = 10 * 1024**3
_START_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 10.0
_STARTS_MAX: Final = 5
_LOOK_SECONDS: Final = 0.01


class NatsServer:
    """A nats-server that lives in a directory; start it, stop it, kill it, again."""

    def __init__(self, directory: Path) -> None:
        self._directory: Final = directory.resolve()
        self._store: Final = self._directory / "store"
        self._program: Final = Program(self._directory / "nats.log")
        self.port = 0
        self.monitor_port = 0

    @property
    def pid(self) -> int:
        """The process id."""
        return self._program.pid

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._program.running

    @property
    def url(self) -> str:
        """Where clients connect, password included."""
        return f"nats://{USER}:{self._password()}@127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start the server on the ports it had before, if they are free.

        Returns when clients can connect.  Raises `DidNotStart` with the end of the log.
        """
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        memories = self._directory / "port", self._directory / "monitor-port"
        self.port = self.port or remembered_port(memories[0])
        self.monitor_port = self.monitor_port or remembered_port(memories[1])
        for _ in range(_STARTS_MAX):
            configuration = self._directory / "nats.conf"
            write_private(configuration, self._configuration())
            for stale in self._directory.glob(self._ports_file("*").name):
                stale.unlink()
            await self._program.start(
                dying_with_parent(
                    [_program(), "--config", configuration], by=signal.SIGTERM
                ),
                environment=CLEAN_ENVIRONMENT,
            )
            if await self._became_ready():
                remember_port(memories[0], self.port)
                remember_port(memories[1], self.monitor_port)
                return
            if "address already in use" not in self._program.last_words():
                break
            self.port, self.monitor_port = free_port(), free_port()
        raise DidNotStart(f"nats-server did not start:\n{self._program.last_words()}")

    async def stop(self) -> None:
        """Stop in good order."""
        await self._program.stop(signal.SIGTERM, patience_seconds=_STOP_SECONDS)

    async def kill(self) -> None:
        """End it with SIGKILL."""
        await self._program.kill()

    def wipe(self) -> None:
        """Lose everything JetStream had; the server must not be running."""
        shutil.rmtree(self._store, ignore_errors=True)

    async def wait(self) -> int:
        """Return the exit code once the server has ended."""
        return await self._program.wait()

    async def _became_ready(self) -> bool:
        """Wait until it says on which ports it listens; false when it ended instead."""
        try:
            async with asyncio.timeout(_START_SECONDS):
                while self.running:
                    if self._ports_file(self.pid).exists():
                        return True
                    await asyncio.sleep(_LOOK_SECONDS)
        except TimeoutError:
            await self.kill()
        return False

    def _ports_file(self, pid: int | str) -> Path:
        # It is written when JetStream has recovered and clients can connect.
        return self._directory / f"nats-server_{pid}.ports"

    def _password(self) -> str:
        path = self._directory / "password"
        try:
            return path.read_text().strip()
        except FileNotFoundError:
            write_private(path, secrets.token_urlsafe(24))
            return path.read_text()

    def _configuration(self) -> str:
        # JSON is a dialect of NATS's own configuration language.
        return json.dumps(
            {
                "listen": f"127.0.0.1:{self.port}",
                "http": f"127.0.0.1:{self.monitor_port}",
                "ports_file_dir": str(self._directory),
                "server_name": "bellhop",
                "max_payload": PAYLOAD_BYTES_MAX,
                "jetstream": {
                    "store_dir": str(self._store),
                    "max_memory_store": _MEMORY_BYTES_MAX,
                    "max_file_store": _FILE_BYTES_MAX,
                },
                "accounts": {
                    SERVICES: services_account(self._password()),
                    **remembered(self._directory),
                },
            },
            indent=2,
        )


@asynccontextmanager
async def run_nats(directory: Path) -> AsyncIterator[NatsServer]:
    """Run a nats-server that lives in *directory* until the block ends."""
    server = NatsServer(directory)
    try:
        await server.start()
        yield server
    finally:
        await server.stop()


def _program() -> Path:
    program = Path(sysconfig.get_path("scripts")) / "nats-server"
    if not program.exists():
        raise DidNotStart(
            "the embedded nats-server is not installed (it is in bellhop[embedded]); "
            "give NATS_URL to use another"
        )
    return program
