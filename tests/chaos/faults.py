"""The faults: each begins, lasts, and is mended.

Whatever a fault takes, it gives back in `end`, also when the run is cut short.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

import asyncpg
import nats
import nats.errors
import nats.js.errors

from libs.common.db import PASSING
from libs.common.messages import EVENTS, WORK
from tests.chaos.house import House
from tests.chaos.plan import Planned
from tests.chaos.receivers import Receivers
from tests.support.waiting import until

_TERMINATE_EVERY_SECONDS: Final = 0.3
#: How long another fault may be in the way of mending this one.
_MENDED_SECONDS: Final = 180.0
_TERMINATE: Final = """
SELECT count(pg_terminate_backend(pid))
  FROM pg_stat_activity
 WHERE application_name LIKE 'bellhop-%'
"""


class Fault(Protocol):
    """Something that breaks, and is mended."""

    async def begin(self) -> None:
        """Break it."""

    async def end(self) -> None:
        """Mend it; return when it is whole."""


@dataclass
class Kill:
    """SIGKILL of a process; another takes its place."""

    house: House
    name: str

    async def begin(self) -> None:
        await self.house.kill(self.name)

    async def end(self) -> None:
        await self.house.start(self.name)


@dataclass
class Stop:
    """SIGSTOP of a process, then SIGCONT."""

    house: House
    name: str

    async def begin(self) -> None:
        self.house.freeze(self.name)

    async def end(self) -> None:
        self.house.thaw(self.name)


@dataclass
class Term:
    """SIGTERM of a process, which drains; another takes its place."""

    house: House
    name: str
    #: How far its successor's clock is off, until the end.
    clock: float = 0.0

    async def begin(self) -> None:
        await self.house.stop(self.name)
        if self.clock:
            await self.house.start(self.name, clock=self.clock)

    async def end(self) -> None:
        if self.clock:
            await self.house.stop(self.name)
        await self.house.start(self.name)


@dataclass
class PostgresRestart:
    """Postgres ends, fast or without writing anything, and comes back."""

    house: House
    immediate: bool

    async def begin(self) -> None:
        await self.house.postgres.stop(immediate=self.immediate)

    async def end(self) -> None:
        await self.house.postgres.start()


class Terminate:
    """Every connection to Postgres is ended, again and again."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._storm: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        self._storm = asyncio.create_task(self._rage())

    async def _rage(self) -> None:
        conn = await asyncpg.connect(self._house.database_url)
        try:
            while True:
                await conn.execute(_TERMINATE)
                await asyncio.sleep(_TERMINATE_EVERY_SECONDS)
        finally:
            await conn.close()

    async def end(self) -> None:
        assert self._storm is not None
        self._storm.cancel()
        with suppress(asyncio.CancelledError):
            await self._storm


class Lock:
    """A disk that stands still: nobody gets at a table on the way of every job."""

    def __init__(self, house: House, table: str) -> None:
        self._house = house
        self._table = table
        self._conn: asyncpg.Connection | None = None

    async def begin(self) -> None:
        self._conn = await asyncpg.connect(self._house.database_url)
        await self._conn.execute("BEGIN")
        # Its name is one of ours.
        await self._conn.execute(f"LOCK TABLE {self._table} IN ACCESS EXCLUSIVE MODE")

    async def end(self) -> None:
        assert self._conn is not None
        await self._conn.close()


@dataclass
class NatsKill:
    """NATS is killed; with *wipe* its disk is gone as well."""

    house: House
    wipe: bool

    async def begin(self) -> None:
        await self.house.nats.kill()
        if self.wipe:
            self.house.nats.wipe()

    async def end(self) -> None:
        if self.wipe:
            await until(self._note_what_was_announced, at_most=_MENDED_SECONDS)
        await self.house.nats.start()

    async def _note_what_was_announced(self) -> bool:
        """Note up to where the stream had been told, that is no more."""
        try:
            conn = await asyncpg.connect(self.house.database_url)
        except PASSING:
            return False
        try:
            row = await conn.fetchrow("SELECT xid::text AS xid, seq FROM announced")
        except PASSING:
            return False
        finally:
            await conn.close()
        assert row is not None
        self.house.history.note("wiped", xid=int(row["xid"]), seq=row["seq"])
        return True


@dataclass
class Partition:
    """Nothing gets through any more to NATS, or to Postgres, and nobody is told."""

    house: House
    name: str
    postgres: bool

    def _wires(self):
        return [
            replica.database_wire if self.postgres else replica.wire
            for replica in self.house.replicas.values()
            if self.name in {replica.name, "everybody"}
        ]

    async def begin(self) -> None:
        for wire in self._wires():
            wire.freeze()

    async def end(self) -> None:
        for wire in self._wires():
            wire.mend()


async def _quietly(_: Exception) -> None:
    """Say nothing of what is tried again."""


class NatsFull:
    """NATS is there, and its streams take nothing."""

    def __init__(self, house: House) -> None:
        self._house = house

    async def begin(self) -> None:
        await self._limit(full=True)

    async def end(self) -> None:
        await self._limit(full=False)

    async def _limit(self, *, full: bool) -> None:
        """Let both streams hold what they hold by now, and no more; or any number."""
        client = await nats.connect(
            self._house.nats.url, connect_timeout=20, error_cb=_quietly
        )
        try:
            jetstream = client.jetstream()
            for stream in (WORK, EVENTS):
                # Nobody has made it yet: then it is not full either.
                with suppress(nats.js.errors.NotFoundError):
                    info = await jetstream.stream_info(stream.name)
                    policies = nats.js.api.DiscardPolicy
                    limits = {
                        "max_msgs": max(info.state.messages, 1) if full else -1,
                        "discard": policies.NEW if full else policies.OLD,
                    }
                    await jetstream.update_stream(info.config.evolve(**limits))
        finally:
            await client.close()


@dataclass
class Upset:
    """The receivers that are flaky take nothing at all."""

    receivers: Receivers

    async def begin(self) -> None:
        self.receivers.upset = True

    async def end(self) -> None:
        self.receivers.upset = False


def fault_of(planned: Planned, house: House, receivers: Receivers) -> Fault:
    """Return the fault that is planned."""
    makers: dict[str, Callable[[], Fault]] = {
        "kill": lambda: Kill(house, planned.on),
        "stop": lambda: Stop(house, planned.on),
        "term": lambda: Term(house, planned.on),
        "clock": lambda: Term(house, planned.on, planned.offset),
        "postgres-fast": lambda: PostgresRestart(house, immediate=False),
        "postgres-immediate": lambda: PostgresRestart(house, immediate=True),
        "terminate": lambda: Terminate(house),
        "lock": lambda: Lock(house, planned.on),
        "nats-kill": lambda: NatsKill(house, wipe=False),
        "nats-wipe": lambda: NatsKill(house, wipe=True),
        "nats-partition": lambda: Partition(house, planned.on, postgres=False),
        "postgres-partition": lambda: Partition(house, planned.on, postgres=True),
        "nats-full": lambda: NatsFull(house),
        "receivers": lambda: Upset(receivers),
    }
    return makers[planned.fault]()


async def rage(
    plan: list[Planned], house: House, receivers: Receivers, *, began: float
) -> None:
    """Let every fault of a plan fall in its time; return when all is mended."""
    taken: dict[str, asyncio.Lock] = {one.resource: asyncio.Lock() for one in plan}
    loop = asyncio.get_running_loop()

    async def fall(planned: Planned) -> None:
        await asyncio.sleep(began + planned.at - loop.time())
        # The one before may have taken its time.
        async with taken[planned.resource]:
            fault = fault_of(planned, house, receivers)
            house.history.note("fault began", fault=planned.fault, on=planned.on)
            try:
                await fault.begin()
                await asyncio.sleep(planned.seconds)
            finally:
                await fault.end()
                house.history.note("fault ended", fault=planned.fault, on=planned.on)

    async with asyncio.TaskGroup() as falling:
        for planned in plan:
            falling.create_task(fall(planned))
