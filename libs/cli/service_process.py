"""A service as a process of this machine: what it is told, and its life."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import aiohttp

import libs
from libs.cli.embedded.program import DidNotStart, Program, dying_with_parent

_READY_SECONDS: Final = 60.0
#: How much longer than it promised a service may take to end.
DRAIN_GRACE_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 0.05
#: Those that the outside connects to: several processes of one share a port.
LISTENING: Final = ("ingest", "streamer")
#: A service has these only if it is told them: delivery needs no database.
_NOT_PASSED_ON: Final = {
    "DATABASE_URL",
    "BELLHOP_SECRET_KEY",
    "BELLHOP_TOKEN_KEY",
    "BELLHOP_ADMIN_KEY",
}


def numbered(kind: str, number: int) -> str:
    """Return the name of one of several processes of a service: the first has none."""
    return kind if number == 1 else f"{kind}-{number}"


class ServiceProcess:
    """One service as a child process; start it, stop it, start it again."""

    def __init__(
        self,
        kind: str,
        *,
        number: int = 1,
        log: Path,
        health_port: int,
        environment: Mapping[str, str],
        drain_seconds: float,
    ) -> None:
        self.kind: Final = kind
        self.name: Final = numbered(kind, number)
        self.log: Final = log
        self.health_url: Final = f"http://127.0.0.1:{health_port}/health/ready"
        self._drain_seconds: Final = drain_seconds
        self._program: Final = Program(log)
        self._environment: Final = {
            **{k: v for k, v in tree_environment().items() if k not in _NOT_PASSED_ON},
            **environment,
            "BELLHOP_HEALTH_PORT": str(health_port),
        }

    @property
    def pid(self) -> int:
        """The process id."""
        return self._program.pid

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._program.running

    async def start(self) -> None:
        """Start the service; return when it is ready.

        Raises `DidNotStart` with the end of its log.
        """
        await self._program.start(
            dying_with_parent(
                [sys.executable, "-m", f"services.{self.kind}"], by=signal.SIGTERM
            ),
            environment=self._environment,
        )
        missing = "it does not answer"
        try:
            async with asyncio.timeout(_READY_SECONDS), aiohttp.ClientSession() as http:
                while self._program.running:
                    missing = await self._missing(http, otherwise=missing)
                    if not missing:
                        return
                    await asyncio.sleep(_LOOK_SECONDS)
            reason = "ended while it started"
        except TimeoutError:
            reason = f"was not ready after {_READY_SECONDS:.0f} s ({missing})"
            await self.stop()
        raise DidNotStart(f"{self.name} {reason}:\n{self._program.last_words()}")

    async def stop(self) -> None:
        """Let it drain and end; kill it when it takes longer than it promised."""
        await self._program.stop(
            signal.SIGTERM, patience_seconds=self._drain_seconds + DRAIN_GRACE_SECONDS
        )

    def hurry(self) -> None:
        """End it now, whatever it is doing: its leases and commits make that safe."""
        self._program.send(signal.SIGKILL)

    async def wait(self) -> int:
        """Return the exit code once it has ended."""
        return await self._program.wait()

    async def _missing(self, http: aiohttp.ClientSession, *, otherwise: str) -> str:
        """Return what keeps it from being ready, empty when nothing does."""
        try:
            async with http.get(self.health_url) as answer:
                failing = (await answer.text()).splitlines()
                return "" if answer.ok else f"missing: {', '.join(failing)}"
        except aiohttp.ClientError:
            return otherwise


def tree_environment() -> dict[str, str]:
    """Return this process's environment, with this code to be found from anywhere."""
    places = [str(Path(libs.__path__[0]).parent), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places))}
