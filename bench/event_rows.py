"""The rows about events: how soon watchers are told, and how many of them can be.

Each has a streamer of its own, so that its memory is that of its watchers.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from math import ceil
from pathlib import Path
from typing import Final

import aiohttp
import psutil

from bench import bodies
from bench.children import Broken, carry_out
from bench.cpu import Meter
from bench.house import House
from bench.row import Options, Row, close
from bench.watchers import Plan, Result
from libs.cli.embedded.ports import free_port
from libs.cli.service_process import ServiceProcess

#: Everybody at once: dashboards and pages of jobs of a large house.
_WATCHERS: Final = 5_000
_QUEUES: Final = 500
_EVENTS_A_SECOND: Final = 200.0
_MEMORY_MB_MAX: Final = 300.0
_SAMPLED: Final = 50
#: A few, when hardly anything happens.
_FEW: Final = 5
_IDLE_RATE: Final = 50.0
#: How many events everybody is told as fast as can be.
_BURST: Final = 1_000

_ONE_QUEUE: Final = "/api/v1/events/queues/{queue}"
_EVERYTHING: Final = "/api/v1/events"
_LOOK_SECONDS: Final = 0.05
_DRAIN_SECONDS: Final = 10.0
_numbers = count(1)


async def event_lag(house: House, options: Options) -> Row:
    """From a job's creation to a few who watch everything, hardly anything else."""
    jobs = ceil(_IDLE_RATE * options.seconds)
    return await _told(
        house,
        "event_lag",
        Audience(_FEW, _EVERYTHING),
        jobs=jobs,
        make=lambda: house.load(rate=_IDLE_RATE, seconds=options.seconds),
    )


async def event_fanout(house: House, options: Options) -> Row:
    """Thousands of dashboards, each of one queue of many, figures and all."""
    row = await _told(
        house,
        "event_fanout",
        Audience(_WATCHERS, _ONE_QUEUE, queues=_QUEUES),
        jobs=ceil(_EVENTS_A_SECOND * options.seconds),
        make=lambda: house.load(
            rate=_EVENTS_A_SECOND, seconds=options.seconds, queues=_QUEUES
        ),
    )
    row.target_memory_mb = _MEMORY_MB_MAX
    return row


async def event_burst(house: House, _: Options) -> Row:
    """Thousands who watch everything, told as fast as they can be."""
    return await _told(
        house,
        "event_burst",
        Audience(_WATCHERS, _EVERYTHING),
        jobs=_BURST,
        make=lambda: house.load(
            kind="bulk", connections=1, requests=_BURST // bodies.BULK
        ),
        about_latency=False,
    )


async def event_broadcast(house: House, options: Options) -> Row:
    """Thousands who watch everything, told steadily."""
    row = await _told(
        house,
        "event_broadcast",
        Audience(_WATCHERS, _EVERYTHING),
        jobs=ceil(_EVENTS_A_SECOND * options.seconds),
        make=lambda: house.load(rate=_EVENTS_A_SECOND, seconds=options.seconds),
    )
    row.target_memory_mb = _MEMORY_MB_MAX
    return row


@dataclass(frozen=True, slots=True)
class Audience:
    """How many watch, and what: each all of it, or one of so many queues in turn."""

    watchers: int
    path: str
    queues: int | None = None


async def _told(
    house: House,
    name: str,
    audience: Audience,
    *,
    jobs: int,
    make: Callable[[], Awaitable[object]],
    about_latency: bool = True,
) -> Row:
    """Let *audience* watch while jobs are made; return a row of what it was told."""
    await house.announced()
    names = [bodies.queue_name(number) for number in range(audience.queues or 0)]
    expected = jobs * audience.watchers // (audience.queues or 1)
    ready = house.directory / f"watching-{next(_numbers)}"
    async with (
        _streamer(house, audience.watchers) as (port, health_port, pid),
        _weighed(pid) as weight,
        asyncio.TaskGroup() as group,
    ):
        plan = Plan(
            port=port,
            key=house.api_key,
            connections=audience.watchers,
            path=audience.path,
            queues=names,
            expected=expected,
            sampled=_SAMPLED if audience.watchers > _SAMPLED else 1,
            ready=str(ready),
        )
        watching = group.create_task(
            carry_out("watchers", plan, Result, directory=house.directory)
        )
        await _all_watch(ready, watching)
        pids = {**house.pids, "streamer": pid}
        meter = Meter(pids)
        await make()
        result = await watching
        cpu_seconds, strangers = meter.stop(pids, load=result.cpu_seconds)
        if result.created != expected or result.lost:
            raise Broken(
                f"{name}: {expected} frames of new jobs were to come: {result}; "
                f"streams ended: {await _why_ended(health_port)}"
            )
    row = Row(
        name=name,
        jobs=result.frames,
        unit="frames",
        seconds=result.seconds,
        p50_ms=result.p50_ms,
        p99_ms=result.p99_ms,
        cpu_seconds=cpu_seconds,
        strangers=strangers,
        memory_mb=weight.most_mb,
        about_latency=about_latency,
    )
    await close(house, row)
    return row


@asynccontextmanager
async def _streamer(house: House, streams: int) -> AsyncIterator[tuple[int, int, int]]:
    """Run a streamer for so many streams until the block ends.

    Give its port, the one of its health, and its pid.
    """
    port, health_port = free_port(), free_port()
    service = ServiceProcess(
        "streamer",
        log=house.directory / "logs" / f"streamer-{next(_numbers)}.log",
        health_port=health_port,
        environment={
            "DATABASE_URL": house.postgres.url,
            "NATS_URL": house.nats_url,
            "BELLHOP_ENVIRONMENT": "development",
            "BELLHOP_HTTP_PORT": str(port),
            "BELLHOP_STREAMS_PER_ORGANIZATION_MAX": str(streams),
        },
        drain_seconds=_DRAIN_SECONDS,
    )
    try:
        await service.start()
        yield port, health_port, service.pid
    finally:
        await service.stop()


async def _why_ended(health_port: int) -> str:
    """Return how many streams a streamer ended for which reason, as its metrics say."""
    url = f"http://127.0.0.1:{health_port}/metrics"
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        lines = (await answer.text()).splitlines()
    ended = "bellhop_streams_ended_total{"
    return ", ".join(line for line in lines if line.startswith(ended)) or "none"


@dataclass(slots=True)
class _Weight:
    most_mb: float = 0.0


@asynccontextmanager
async def _weighed(pid: int) -> AsyncIterator[_Weight]:
    """Note how much memory a process has at most until the block ends."""
    weight, process = _Weight(), psutil.Process(pid)

    async def look() -> None:
        while True:
            resident = process.memory_info().rss / 1e6
            weight.most_mb = round(max(weight.most_mb, resident), 1)
            await asyncio.sleep(_LOOK_SECONDS)

    looking = asyncio.create_task(look())
    try:
        yield weight
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)


async def _all_watch(ready: Path, watching: asyncio.Task[Result]) -> None:
    """Return when all are being told, or have given up."""
    while not (watching.done() or await asyncio.to_thread(ready.exists)):
        await asyncio.wait([watching], timeout=_LOOK_SECONDS)


Measure = Callable[[House, Options], Awaitable[Row]]

ROWS: Final[tuple[Measure, ...]] = (
    event_lag,
    event_fanout,
    event_broadcast,
    event_burst,
)
