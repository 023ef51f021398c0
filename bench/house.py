"""The house under measurement: everything `make up` runs, in a directory of its own."""

import asyncio
import time
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import asyncpg
import msgspec
from standardwebhooks import Webhook

from bench.children import Broken, carry_out, listening
from bench.load import Plan, Result
from bench.records import unpack_arrivals
from libs.cli.embedded.nats import run_nats
from libs.cli.embedded.ports import free_port
from libs.cli.embedded.postgres import PostgresServer, run_postgres
from libs.cli.first_run import Credentials, prepare
from libs.cli.ground import Ground, Ports, credentials, services_on
from libs.cli.service_process import ServiceProcess
from libs.cli.settings import StackSettings
from libs.common.migrate import migrate
from libs.common.store import invariants

_LOOK_SECONDS = 0.02
_QUIET_SECONDS_MAX = 120.0
_DRAIN_SECONDS = 10.0
_STARTS_MAX = 3

#: Whether a webhook is on its way.  A probe a lane: jobs for workers wait beside them.
_ON_THEIR_WAY = """
SELECT EXISTS (SELECT FROM leased)
    OR EXISTS (SELECT FROM scheduled WHERE run_at < now() + interval '1 hour')
    OR EXISTS (SELECT FROM lanes
                CROSS JOIN LATERAL (SELECT 1 FROM ready
                                     WHERE ready.lane_id = lanes.id LIMIT 1) AS waits
                WHERE lanes.push)
"""
#: Whether some transition has not been announced.
_UNANNOUNCED = """
SELECT EXISTS (SELECT FROM journal
                WHERE (xid, seq) > (SELECT xid, seq FROM announced))
"""


class Counts(msgspec.Struct):
    """What the sink got: jobs, and arrivals of jobs that had come before."""

    jobs: int
    repeats: int


@dataclass
class House:
    """What runs, and how to talk to it."""

    directory: Path
    postgres: PostgresServer
    nats_url: str
    conn: asyncpg.Connection
    http: aiohttp.ClientSession
    port: int
    grpc_port: int
    api_key: str
    signing_secret: str
    #: By name, and with them those that a row may start beside them (`spares`).
    services: dict[str, ServiceProcess]
    sink_port: int
    others: dict[str, int] = field(default_factory=dict)
    #: How long looking whether every job is in its place may take.
    invariants_seconds: float = 120.0

    @property
    def sink_url(self) -> str:
        """Where the webhooks go."""
        return f"http://127.0.0.1:{self.sink_port}/hook"

    @property
    def pids(self) -> dict[str, int]:
        """Every process of the house, and the sink."""
        services = {
            name: service.pid
            for name, service in self.services.items()
            if service.running
        }
        return {**services, **self.others}

    @property
    def spares(self) -> list[ServiceProcess]:
        """A second dispatcher and a second delivery, which nobody has started."""
        return [one for one in self.services.values() if one.name != one.kind]

    async def stop_services(self) -> None:
        """Leave the machine to others; only Postgres, NATS and the sink stay."""
        await asyncio.gather(*(service.stop() for service in self.services.values()))

    async def start_services(self) -> None:
        """Serve again, on the same ports."""
        services = self.services.values()
        await asyncio.gather(*(one.start() for one in services if one.name == one.kind))

    async def load(self, **plan: object) -> Result:
        """Run the load generator; raises `Broken` when a request was refused."""
        result = await carry_out(
            "load",
            msgspec.convert({"port": self.port, "key": self.api_key, **plan}, Plan),
            Result,
            directory=self.directory,
        )
        if result.failed:
            raise Broken(f"{result.failed} requests refused, first:\n{result.failure}")
        return result

    # --- the sink --------------------------------------------------------------------

    async def forget_arrivals(self) -> None:
        """Begin anew at the sink."""
        async with self.http.delete(f"{self.sink_url}") as answer:
            await answer.read()

    async def arrived(self, jobs: int, *, at_most: float) -> None:
        """Wait until so many jobs have arrived; raises `Broken`."""
        deadline = time.monotonic() + at_most
        while (counts := await self._counts()).jobs < jobs:
            if time.monotonic() > deadline:
                raise Broken(f"{counts.jobs} of {jobs} jobs arrived in {at_most:.0f} s")
            await asyncio.sleep(_LOOK_SECONDS)

    async def arrivals(
        self, jobs: int, *, secret: str | None = None
    ) -> dict[bytes, float]:
        """Return when each job arrived; raises `Broken` if not just *jobs*, once each.

        Signatures are checked on a sample, as a stranger would who has the *secret*,
        that of the organization unless said.
        """
        counts = await self._counts()
        if counts.jobs != jobs or counts.repeats:
            raise Broken(f"{jobs} jobs created, at the sink: {counts}")
        webhook = Webhook(secret or self.signing_secret)
        for sample in msgspec.json.decode(await self._ask("samples")):
            webhook.verify(b64decode(sample["body"]), sample["headers"])
        return unpack_arrivals(await self._ask("arrivals"))

    async def _counts(self) -> Counts:
        return msgspec.json.decode(await self._ask("counts"), type=Counts)

    async def _ask(self, what: str) -> bytes:
        url = f"http://127.0.0.1:{self.sink_port}/{what}"
        async with self.http.get(url) as answer:
            return await answer.read()

    # --- the database ----------------------------------------------------------------

    async def connect(self) -> asyncpg.Connection:
        """Return another connection to the database; who asks closes it."""
        return await asyncpg.connect(self.postgres.url, server_settings={"jit": "off"})

    async def settled(self) -> None:
        """Wait until no webhook is on its way; raises `Broken`."""
        await self._until_not(_ON_THEIR_WAY, "webhooks are on their way")

    async def announced(self) -> None:
        """Wait until every transition has been announced; raises `Broken`."""
        await self._until_not(_UNANNOUNCED, "transitions are not announced")

    async def check_invariants(self) -> None:
        """Every job is in exactly one place; raises `Broken`."""
        async with asyncio.timeout(self.invariants_seconds):
            misplaced = await invariants.misplaced(self.conn)
            unjournaled = await invariants.unjournaled(self.conn)
        if misplaced or unjournaled:
            raise Broken(
                f"{len(misplaced)} jobs misplaced, {len(unjournaled)} unjournaled: "
                f"{[*misplaced, *unjournaled][:5]}"
            )

    async def _until_not(self, question: str, what: str) -> None:
        deadline = time.monotonic() + _QUIET_SECONDS_MAX
        while await self.conn.fetchval(question):
            if time.monotonic() > deadline:
                raise Broken(f"after {_QUIET_SECONDS_MAX:.0f} s, still {what}")
            await asyncio.sleep(_LOOK_SECONDS)


@asynccontextmanager
async def open_house(directory: Path) -> AsyncIterator[House]:
    """Run the house in *directory* until the block ends, then stop all of it."""
    settings = StackSettings(
        data_dir=directory,
        environment="development",
        drain_seconds=_DRAIN_SECONDS,
        replicas_dispatcher=2,
        replicas_delivery=2,
    )
    async with (
        run_postgres(directory / "postgres") as postgres,
        run_nats(directory / "nats") as nats,
        listening("sink", directory=directory) as (sink_port, sink_pid),
        aiohttp.ClientSession() as http,
    ):
        await migrate(postgres.url)
        keys = credentials(settings)
        access = await prepare(postgres.url, keys)
        conn = await asyncpg.connect(postgres.url, server_settings={"jit": "off"})
        try:
            async with _services(postgres.url, nats.url, keys, settings) as running:
                ports, services = running
                yield House(
                    directory=directory,
                    postgres=postgres,
                    nats_url=nats.url,
                    conn=conn,
                    http=http,
                    port=ports.http,
                    grpc_port=ports.grpc,
                    api_key=access.api_key or "",
                    signing_secret=access.signing_secret or "",
                    services={service.name: service for service in services},
                    sink_port=sink_port,
                    others={
                        "postgres": postgres.pid,
                        "nats": nats.pid,
                        "sink": sink_pid,
                    },
                )
        finally:
            await conn.close()


@asynccontextmanager
async def _services(
    database_url: str, nats_url: str, keys: Credentials, settings: StackSettings
) -> AsyncIterator[tuple[Ports, list[ServiceProcess]]]:
    """Run the services until the block ends; give the API's ports."""
    for attempt in range(1, _STARTS_MAX + 1):
        ports = Ports(http=free_port(), grpc=free_port())
        services = services_on(Ground(database_url, nats_url, keys, ports), settings)
        try:
            starts = [one.start() for one in services if one.name == one.kind]
            failures = await asyncio.gather(*starts, return_exceptions=True)
            failure = next(filter(None, failures), None)
            if failure is None:
                yield ports, services
                return
            # Between choosing a port and listening on it somebody may have taken it.
            taken = "address already in use" in str(failure)
            if attempt == _STARTS_MAX or not taken:
                raise failure
        finally:
            await asyncio.gather(*(service.stop() for service in services))
