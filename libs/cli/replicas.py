"""Several processes of one service, ``bellhop serve NAME --replicas N``.

The parent does nothing but keep them: it starts again what ends by itself, and hands on
the signal to stop.  They share the ports that the outside connects to, and each has its
own for health and metrics: the one that the service is told, and those that follow.
"""

import asyncio
import signal
import sys
from collections.abc import Mapping
from typing import Final

from libs.cli.embedded.program import Program, dying_with_parent
from libs.cli.keeping import keep
from libs.cli.service_process import (
    DRAIN_GRACE_SECONDS,
    LISTENING,
    numbered,
    tree_environment,
)
from libs.cli.settings import Unusable
from libs.common.settings import ServiceSettings


class Replica:
    """One of the processes; it logs to where the parent does."""

    def __init__(
        self, service: str, number: int, *, environment: Mapping[str, str]
    ) -> None:
        self.name: Final = numbered(service, number)
        self._service: Final = service
        self._environment: Final = environment
        self._program: Final = Program(None)

    async def start(self) -> None:
        """Start it; whether it is ready is for others to ask."""
        await self._program.start(
            dying_with_parent(
                [sys.executable, "-m", f"services.{self._service}"], by=signal.SIGTERM
            ),
            environment=self._environment,
        )

    async def wait(self) -> int:
        """Return the exit code once it has ended."""
        return await self._program.wait()

    async def stop(self, *, drain_seconds: float) -> int:
        """Let it drain, kill it when that takes too long; return the exit code."""
        await self._program.stop(
            signal.SIGTERM, patience_seconds=drain_seconds + DRAIN_GRACE_SECONDS
        )
        return await self._program.wait()


def run_replicas(service: str, replicas: int, settings: ServiceSettings) -> int:
    """Run so many processes of *service* until SIGINT or SIGTERM; return the exit code.

    0: all of them drained and ended well; 1: one did not.  Raises `Unusable` when they
    could not share a port.
    """
    if service in LISTENING and 0 in _shared_ports(settings):
        raise Unusable("a port of 0 is another one for each process: name the port")
    return asyncio.run(
        _until_told(
            [
                Replica(service, number, environment=_environment(settings, number))
                for number in range(1, replicas + 1)
            ],
            drain_seconds=settings.drain_seconds,
        )
    )


def _shared_ports(settings: ServiceSettings) -> list[int]:
    return [getattr(settings, name, 1) for name in ("http_port", "grpc_port")]


def _environment(settings: ServiceSettings, number: int) -> dict[str, str]:
    """Return what the process of that number is told."""
    port = settings.health_port and settings.health_port + number - 1
    return {
        **tree_environment(),
        "BELLHOP_SHARE_PORTS": "true",
        "BELLHOP_HEALTH_PORT": str(port),
    }


async def _until_told(replicas: list[Replica], *, drain_seconds: float) -> int:
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told.set)
    keepers: list[asyncio.Task[None]] = []
    try:
        for replica in replicas:
            await replica.start()
            keepers.append(asyncio.create_task(keep(replica.name, replica, say=_say)))
        await told.wait()
    finally:
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)
        codes = await asyncio.gather(
            *(replica.stop(drain_seconds=drain_seconds) for replica in replicas)
        )
    return 1 if any(codes) else 0


def _say(text: str) -> None:
    print(text.strip(), file=sys.stderr, flush=True)
