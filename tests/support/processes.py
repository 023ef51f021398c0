"""Services as processes of their own, to be killed, stopped and continued."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from libs.cli.embedded.ports import free_port
from libs.cli.embedded.program import DidNotStart, dying_with_parent
from tests.support.house import ADMIN_KEY, SECRET_KEY, answers, last_to_go
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
FIVE = ("ingest", "dispatcher", "delivery", "scheduler")


class Process(Protocol):
    """A process as `asyncio.subprocess` has it, whoever started it."""

    @property
    def pid(self) -> int: ...

    @property
    def returncode(self) -> int | None: ...

    def send_signal(self, signal: int) -> None: ...

    def kill(self) -> None: ...

    async def wait(self) -> int: ...


#: Starts a service, by its name, with this environment and log.
Spawn = Callable[[str, Mapping[str, str], Path], Awaitable[Process]]


def kind_of(name: str) -> str:
    """Return of which kind a service is; more than one are called ``delivery#2``."""
    return name.partition("#")[0]


async def as_program(
    name: str, env: Mapping[str, str], log: Path, *, root: Path = ROOT
) -> Process:
    """Start a service as everybody does, out of the tree at *root*."""
    with log.open("ab") as file:
        return await asyncio.create_subprocess_exec(
            *dying_with_parent(
                [sys.executable, "-m", f"services.{kind_of(name)}"], by=signal.SIGKILL
            ),
            cwd=root,
            env=env,
            stderr=file,
        )


@dataclass
class Processes:
    """Services by name; more than one of a kind are called ``delivery#2``."""

    base_url: str
    database_url: str
    nats_url: str
    logs: Path
    running: dict[str, Process] = field(default_factory=dict)
    spawn: Spawn = as_program
    #: Those that have a way of their own to NATS, by name.
    nats_urls: dict[str, str] = field(default_factory=dict)
    #: The same to Postgres.
    database_urls: dict[str, str] = field(default_factory=dict)
    #: Where their health and metrics are, by name.
    health_urls: dict[str, str] = field(default_factory=dict)

    async def start(self, name: str, **knobs: object) -> None:
        """Start one service and wait until it is ready.

        Raises `DidNotStart` when it ends instead.
        """
        port = free_port()
        env = {
            **{k: v for k, v in os.environ.items() if not k.startswith("BELLHOP_")},
            "NATS_URL": self.nats_urls.get(name, self.nats_url),
            "BELLHOP_ENVIRONMENT": "development",
            "BELLHOP_SECRET_KEY": SECRET_KEY,
            "BELLHOP_ADMIN_KEY": ADMIN_KEY,
            "BELLHOP_HEALTH_PORT": str(port),
            "BELLHOP_GRPC_PORT": "0",
            "BELLHOP_HTTP_PORT": self.base_url.rsplit(":", 1)[1],
            **{f"BELLHOP_{k.upper()}": str(v) for k, v in knobs.items()},
        }
        if kind_of(name) != "delivery":
            env["DATABASE_URL"] = self.database_urls.get(name, self.database_url)
        process = await self.spawn(name, env, self.logs / f"{name}.log")
        self.running[name] = process
        self.health_urls[name] = f"http://127.0.0.1:{port}"

        async def ready():
            if process.returncode is not None:
                raise DidNotStart(f"{name} ended with code {process.returncode}")
            return await answers(self.health_urls[name])

        await until(ready, at_most=120)

    def signal(self, name: str, number: int) -> None:
        """Send a signal to one service."""
        self.running[name].send_signal(number)

    async def kill(self, name: str) -> None:
        """SIGKILL one service."""
        process = self.running.pop(name)
        process.kill()
        await process.wait()

    async def stop(self, name: str) -> int:
        """SIGTERM one service; return its exit code."""
        process = self.running.pop(name)
        process.send_signal(signal.SIGCONT)
        process.send_signal(signal.SIGTERM)
        try:
            return await asyncio.wait_for(process.wait(), 30)
        except TimeoutError:
            process.kill()
            await process.wait()
            raise


@asynccontextmanager
async def run_processes(
    database_url: str, nats_url: str, *, logs: Path, services=FIVE, **knobs: object
) -> AsyncIterator[Processes]:
    """Run *services* until the block ends; each must then stop cleanly."""
    house = Processes(f"http://127.0.0.1:{free_port()}", database_url, nats_url, logs)
    try:
        await asyncio.gather(*(house.start(name, **knobs) for name in services))
        yield house
        codes = {name: await house.stop(name) for name in last_to_go(house.running)}
        assert set(codes.values()) <= {0}, codes
    finally:
        for name in list(house.running):
            await house.kill(name)
