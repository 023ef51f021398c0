"""The whole house on one machine: Postgres, NATS, and the five services.

They start in this order and stop in the opposite one; each waits for those below it
to be ready.  What ends by itself is started again.  Being cancelled means to stop.

::

    lock ▸ postgres ▸ nats ▸ schema ▸ first organization ▸ services ▸ stack.json
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Final

from libs.cli.embedded.nats import run_nats
from libs.cli.embedded.postgres import run_postgres
from libs.cli.first_run import Access, prepare
from libs.cli.ground import Ground, Ports, Say, credentials, services_on
from libs.cli.keeping import Restartable, keep
from libs.cli.log_watch import LogWatch
from libs.cli.reach import check_given
from libs.cli.service_process import ServiceProcess
from libs.cli.settings import StackSettings
from libs.cli.stack_file import ServiceAddress, StackFile, forget_stack, write_stack
from libs.common.migrate import migrate

#: Who lets go first.  The dispatcher stays until delivery has reported everything.
_STOPPING_ORDER: Final = (
    ("ingest", "streamer", "scheduler", "delivery"),
    ("dispatcher",),
)
#: Who is connected to Postgres, and how many connections one of each hold together, as
#: their pools are set.  psql, backups and what is made elsewhere are to find some, too.
_DATABASE_CLIENTS: Final = ("ingest", "dispatcher", "scheduler", "streamer")
_CONNECTIONS: Final = 40
_ROOM_FOR_OTHERS: Final = 160


async def run_stack(
    settings: StackSettings,
    *,
    pid: int,
    hurry: asyncio.Event,
    say: Say,
    ready: Callable[[StackFile], None],
) -> None:
    """Run everything until cancelled, then stop it all in good order.

    *ready* is called once, when it is.  When *hurry* is set meanwhile, services are
    killed instead of drained.  Raises `DidNotStart` and `Unusable`; nothing is left
    running then either.
    """
    began = time.monotonic()
    data_dir = settings.data_dir
    kept: dict[str, Restartable] = {}
    async with AsyncExitStack() as house:
        # Whoever was here before may have been killed before it could take it down.
        forget_stack(data_dir)
        await check_given(settings)
        ports = Ports.choose(settings, say)
        database_url = await _postgres(house, settings, kept, say)
        nats_url = await _nats(house, settings, kept, say)
        await migrate(database_url)
        ground = Ground(database_url, nats_url, credentials(settings), ports)
        access = await prepare(database_url, ground.credentials)
        services = services_on(ground, settings)
        house.push_async_callback(_stop, services, hurry=hurry)
        await _start(services, say)
        kept.update({service.name: service for service in services})

        def note() -> StackFile:
            stack = _describe(pid, ground, access, services)
            write_stack(data_dir, stack)
            return stack

        house.callback(forget_stack, data_dir)
        stack = note()
        say(f"\nBellhop is ready after {time.monotonic() - began:.1f} s.\n")
        ready(stack)
        watch = LogWatch([service.log for service in services], say)
        async with asyncio.TaskGroup() as keepers:
            keepers.create_task(watch.follow())
            for name, program in kept.items():
                keepers.create_task(keep(name, program, note=note, say=say))


async def _postgres(
    house: AsyncExitStack,
    settings: StackSettings,
    kept: dict[str, Restartable],
    say: Say,
) -> str:
    """Return where Postgres is; start one if none was given."""
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    server = await house.enter_async_context(
        run_postgres(
            settings.data_dir / "postgres",
            settings={"max_connections": str(_connections(settings))},
        )
    )
    kept["postgres"] = server
    say(f"  postgres    ready on port {server.port}")
    return server.url


def _connections(settings: StackSettings) -> int:
    """Return how many connections Postgres is to have room for."""
    most = max(settings.replicas_of(name) for name in _DATABASE_CLIENTS)
    return _ROOM_FOR_OTHERS + most * _CONNECTIONS


async def _nats(
    house: AsyncExitStack,
    settings: StackSettings,
    kept: dict[str, Restartable],
    say: Say,
) -> str:
    """Return where NATS is; start one if none was given."""
    if settings.nats_url is not None:
        return settings.nats_url
    server = await house.enter_async_context(run_nats(settings.data_dir / "nats"))
    kept["nats"] = server
    say(f"  nats        ready on port {server.port}")
    return server.url


async def _start(services: Sequence[ServiceProcess], say: Say) -> None:
    """Start all services at once; raises the first `DidNotStart`."""

    async def start(service: ServiceProcess) -> None:
        await service.start()
        say(f"  {service.name:<12} ready")

    try:
        async with asyncio.TaskGroup() as starts:
            for service in services:
                starts.create_task(start(service))
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None


async def _stop(services: Sequence[ServiceProcess], *, hurry: asyncio.Event) -> None:
    async def hasten() -> None:
        await hurry.wait()
        for service in services:
            service.hurry()

    hastening = asyncio.create_task(hasten())
    try:
        for names in _STOPPING_ORDER:
            async with asyncio.TaskGroup() as stops:
                for service in services:
                    if service.kind in names:
                        stops.create_task(service.stop())
    finally:
        hastening.cancel()


def _describe(
    pid: int, ground: Ground, access: Access, services: Sequence[ServiceProcess]
) -> StackFile:
    return StackFile(
        pid=pid,
        base_url=f"http://127.0.0.1:{ground.ports.http}",
        grpc_address=f"127.0.0.1:{ground.ports.grpc}",
        api_key=access.api_key,
        admin_key=ground.credentials.admin_key,
        signing_secret=access.signing_secret,
        nats_url=ground.nats_url,
        database_url=ground.database_url,
        services={
            service.name: ServiceAddress(health_url=service.health_url, pid=service.pid)
            for service in services
        },
    )
