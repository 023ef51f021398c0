"""The house that faults fall on: replicas of every service, a Postgres, a NATS.

Each replica has a wire of its own to NATS, and one to Postgres, that can be cut; they
stay what they are however often its process is started again.
"""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from libs.cli.embedded.nats import NatsServer, run_nats
from libs.cli.embedded.ports import free_port
from libs.cli.embedded.postgres import PostgresServer, run_postgres
from libs.common.migrate import migrate
from tests.chaos.entry import Fork
from tests.chaos.history import History
from tests.support import databases
from tests.support.house import last_to_go
from tests.support.processes import Processes, kind_of
from tests.support.wire import Wire, wire_to

KINDS: Final = ("ingest", "dispatcher", "delivery", "scheduler", "streamer")
WITH_POSTGRES: Final = tuple(kind for kind in KINDS if kind != "delivery")
#: How many attempts a pod carries at once: the most that one death can repeat.
SLOTS: Final = 128
_DRAIN_SECONDS: Final = 20.0
_LOOK_SECONDS: Final = 0.1
_START_SECONDS: Final = 120.0


@dataclass
class Replica:
    """One process of a service, whichever it is at the moment."""

    name: str
    #: To NATS, and to Postgres.
    wire: Wire
    database_wire: Wire
    knobs: dict[str, object]
    #: Whether it is meant to run.
    wanted: bool = True

    @property
    def kind(self) -> str:
        return kind_of(self.name)


@dataclass
class House:
    """All that runs, and how it is broken and mended."""

    processes: Processes
    postgres: PostgresServer
    nats: NatsServer
    history: History
    #: How far whose clock is ahead.
    clocks: dict[str, float] = field(default_factory=dict)
    replicas: dict[str, Replica] = field(default_factory=dict)

    @property
    def database_url(self) -> str:
        return self.postgres.url

    def urls(self, kind: str) -> list[str]:
        """Return where the replicas of a kind speak HTTP."""
        return [
            f"http://127.0.0.1:{replica.knobs['http_port']}"
            for replica in self.replicas.values()
            if replica.kind == kind
        ]

    def grpc_ports(self) -> list[int]:
        """Return where the replicas of ingest speak gRPC."""
        ports = [one.knobs.get("grpc_port") for one in self.replicas.values()]
        return [port for port in ports if isinstance(port, int)]

    async def start(self, name: str, *, clock: float = 0.0) -> None:
        """Start a replica, its clock that many seconds ahead; return when ready."""
        replica = self.replicas[name]
        self.clocks[name] = clock
        await self.processes.start(name, **replica.knobs)
        replica.wanted = True
        self.history.note("started", replica=name, clock=clock)

    async def kill(self, name: str) -> None:
        """SIGKILL a replica."""
        self.replicas[name].wanted = False
        await self.processes.kill(name)

    async def stop(self, name: str) -> int:
        """SIGTERM a replica; return its exit code."""
        self.replicas[name].wanted = False
        code = await self.processes.stop(name)
        self.history.note("stopped", replica=name, code=code)
        return code

    def freeze(self, name: str) -> None:
        """SIGSTOP a replica."""
        self.processes.signal(name, signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        """SIGCONT a replica."""
        self.processes.signal(name, signal.SIGCONT)

    async def keep(self) -> None:
        """Start again whoever ends though it should run; note that it did."""
        while True:
            for name, replica in self.replicas.items():
                process = self.processes.running.get(name)
                if not replica.wanted or process is None or process.returncode is None:
                    continue
                self.history.note("fell", replica=name, code=process.returncode)
                replica.wanted = False
                await self.start(name)
            await asyncio.sleep(_LOOK_SECONDS)

    async def drain(self) -> dict[str, int]:
        """Stop all in good order; return their exit codes."""
        return {name: await self.stop(name) for name in last_to_go(self.replicas)}


@asynccontextmanager
async def run_house(
    directory: Path, history: History, *, replicas: int, build: str
) -> AsyncIterator[House]:
    """Run everything, so many replicas of each service, until the block ends."""
    async with AsyncExitStack() as stack:
        postgres = await stack.enter_async_context(
            run_postgres(directory / "postgres", settings=databases.SMALL)
        )
        nats = await stack.enter_async_context(run_nats(directory / "nats"))
        await migrate(postgres.url)
        logs = directory / "logs"
        logs.mkdir()
        clocks: dict[str, float] = {}
        processes = Processes(
            *("http://127.0.0.1:0", postgres.url, nats.url),
            logs=logs,
            spawn=Fork(build, clocks),
        )
        house = House(processes, postgres, nats, history, clocks)
        stack.push_async_callback(_end, processes)
        for kind in KINDS:
            for number in range(1, replicas + 1):
                wire = await stack.enter_async_context(wire_to("127.0.0.1", nats.port))
                port = urlsplit(postgres.url).port
                assert port is not None
                other = await stack.enter_async_context(wire_to("127.0.0.1", port))
                name = f"{kind}#{number}"
                house.replicas[name] = Replica(name, wire, other, _knobs(kind))
                processes.nats_urls[name] = wire.through(nats.url)
                processes.database_urls[name] = other.through(postgres.url)
        async with asyncio.timeout(_START_SECONDS):
            await asyncio.gather(*map(house.start, house.replicas))
        yield house


async def _end(processes: Processes) -> None:
    for name in list(processes.running):
        await processes.kill(name)


def _knobs(kind: str) -> dict[str, object]:
    knobs: dict[str, object] = {"drain_seconds": _DRAIN_SECONDS}
    if kind in {"ingest", "streamer"}:
        knobs["http_port"] = free_port()
    if kind == "ingest":
        knobs["grpc_port"] = free_port()
    if kind == "delivery":
        knobs["delivery_slots"] = SLOTS
    return knobs
