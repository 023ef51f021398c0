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
from typing import Final, Protocol

from libs.cli.embedded.nats import run_nats
from libs.cli.embedded.postgres import run_postgres
from libs.cli.embedded.program import DidNotStart
from libs.cli.first_run import Access, prepare
from libs.cli.ground import Ground, Ports, Say, credentials, services_on
from libs.cli.guide import guide
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
_RESTART_SECONDS_MIN: Final = 0.2
_RESTART_SECONDS_MAX: Final = 10.0
#: What lived this long has recovered: its failures are forgotten.
_FORGET_AFTER_SECONDS: Final = 60.0


class Restartable(Protocol):
    """What can end by itself and be started again."""

    async def start(self) -> None:
        """Start it; return when it is ready; raises `DidNotStart`."""

    async def wait(self) -> int:
        """Return the exit code once it has ended."""


async def run_stack(
    settings: StackSettings, *, pid: int, hurry: asyncio.Event, say: Say
) -> None:
    """Run everything until cancelled, then stop it all in good order.

    When *hurry* is set meanwhile, services are killed instead of drained.  Raises
    `DidNotStart` and `Unusable`; nothing is left running then either.
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
        say(f"{guide(stack, settings)}\n")
        watch = LogWatch([service.log for service in services], say)
        async with asyncio.TaskGroup() as keepers:
            keepers.create_task(watch.follow())
            for name, program in kept.items():
                keepers.create_task(_keep(name, program, note=note, say=say))


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
        run_postgres(settings.data_dir / "postgres")
    )
    kept["postgres"] = server
    say(f"  postgres    ready on port {server.port}")
    return server.url


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


async def _keep(
    name: str, program: Restartable, *, note: Callable[[], object], say: Say
) -> None:
    """Start *program* again whenever it ends, ever more slowly while it fails."""
    pause_seconds = _RESTART_SECONDS_MIN
    while True:
        started = time.monotonic()
        code = await program.wait()
        if time.monotonic() - started > _FORGET_AFTER_SECONDS:
            pause_seconds = _RESTART_SECONDS_MIN
        say(f"  {name} ended with code {code}; starting it again")
        await asyncio.sleep(pause_seconds)
        pause_seconds = min(pause_seconds * 2, _RESTART_SECONDS_MAX)
        try:
            await program.start()
        except DidNotStart as error:
            say(f"  {error}")
        else:
            say(f"  {name} is back")
            note()


async def _start(services: Sequence[ServiceProcess], say: Say) -> None:
    """Start all services at once; raises the first `DidNotStart`."""

    async def start(service: ServiceProcess) -> None:
        await service.start()
        say(f"  {service.name:<11} ready")

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
                    if service.name in names:
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
