"""How a peer is measured: for each row of Bellhop's, what is nearest to it.

Every row has a store to itself that is fresh, vacuumed and written to disk.  It counts
only if each job was handled once, and none is left.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from bench.children import Broken
from bench.cpu import Meter
from bench.house import House
from bench.peers.crew import Crew, Workers
from bench.peers.plans import Plan, Result
from bench.peers.roster import Peer, Working
from bench.peers.stores import Store
from bench.records import milliseconds, read_created
from bench.row import Options, Row
from bench.rows import IDLE_RATE, WARM_SECONDS, Passage

_CALLERS: Final = 64
#: A peer slower than this is broken, not slow (jobs per second, and a start).
_RATE_MIN: Final = 50.0
_START_SECONDS: Final = 30.0
_LOOK_SECONDS: Final = 0.02


@dataclass(frozen=True, slots=True)
class Ground:
    """A peer, and what it is measured on."""

    peer: Peer
    version: str
    house: House
    store: Store
    crew: Crew

    @property
    def pids(self) -> dict[str, int]:
        """The processes that are there before and after a row."""
        return {**self.store.pids, "sink": self.house.others["sink"]}

    async def enqueue(self, url: str, *, idle: bool = False, **plan: Any) -> Result:
        """Create jobs, one a call: as fast as can be, or for who is *idle*."""
        settings = self.peer.idle.settings if idle else self.peer.enqueue
        return await self.crew.create(
            Plan(do="enqueue", url=url, settings=settings, **plan)
        )

    async def bulk(self, url: str, **plan: Any) -> Result:
        """Create jobs, as many a call as the peer likes best."""
        return await self.crew.create(
            Plan(
                do="bulk",
                url=url,
                settings=self.peer.bulk,
                callers=self.peer.bulk_callers,
                batch=self.peer.bulk_batch,
                **plan,
            )
        )

    def work(
        self, url: str, working: Working, *, handler: str
    ) -> AbstractAsyncContextManager[Workers]:
        """Handle jobs until the block ends."""
        plan = Plan(
            do="work",
            url=url,
            settings=working.settings,
            handler=handler,
            sink=self.house.sink_url,
            secret=self.house.signing_secret,
        )
        return self.crew.work(plan, processes=working.processes)

    async def finished(self, *, at_most: float) -> float:
        """Wait until no job is open; return when that was.  Raises `Broken`."""
        deadline = time.monotonic() + at_most
        # What is asked takes its time, too, and not the peer's.
        while True:
            asked = time.monotonic()
            if not (left := await self.store.open_jobs()):
                return asked
            if asked > deadline:
                raise Broken(f"{left} jobs open after {at_most:.0f} s")
            await asyncio.sleep(_LOOK_SECONDS)


async def enqueue(ground: Ground, options: Options) -> Row:
    """Jobs are created one a call, by 64 callers."""
    return await _creates(
        ground,
        options,
        lambda url, **plan: ground.enqueue(url, callers=_CALLERS, **plan),
    )


async def bulk(ground: Ground, options: Options) -> Row:
    """Jobs are created many a call."""
    return await _creates(ground, options, ground.bulk)


async def work(ground: Ground, options: Options) -> Row:
    """Jobs that wait are handled, nothing being done, until none is open."""
    jobs = _share(ground, options)
    async with ground.store.fresh() as url:
        await _stock(ground, url, jobs)
        meter = Meter(ground.pids)
        async with ground.work(url, ground.peer.nothing, handler="nothing") as workers:
            await workers.until_handled(jobs, at_most=_patience(jobs))
            ended = await ground.finished(at_most=_patience(jobs))
            cpu_seconds, strangers = meter.stop({**ground.pids, **workers.pids})
            await workers.check_handled(jobs)
            return Row(
                name="work",
                jobs=jobs,
                seconds=ended - workers.first,
                cpu_seconds=cpu_seconds,
                strangers=strangers,
            )


async def webhook_drain(ground: Ground, options: Options) -> Row:
    """Webhooks that wait are delivered, from the first arrival until none is open."""
    jobs = _share(ground, options)
    async with ground.store.fresh() as url:
        await _stock(ground, url, jobs)
        await ground.house.forget_arrivals()
        meter = Meter(ground.pids)
        async with ground.work(url, ground.peer.webhook, handler="webhook") as workers:
            await ground.house.arrived(jobs, at_most=_patience(jobs))
            ended = await ground.finished(at_most=_patience(jobs))
            cpu_seconds, strangers = meter.stop({**ground.pids, **workers.pids})
            await workers.check_handled(jobs)
            arrivals = await ground.house.arrivals(jobs)
            return Row(
                name="webhook_drain",
                jobs=jobs,
                seconds=ended - min(arrivals.values()),
                cpu_seconds=cpu_seconds,
                strangers=strangers,
            )


async def webhook_sustained(ground: Ground, options: Options) -> Row:
    """Webhooks are created one a call, from the first call to the last arrival."""
    async with (
        ground.store.fresh() as url,
        ground.work(url, ground.peer.webhook, handler="webhook") as workers,
    ):
        through = partial(_through, ground, url, callers=_CALLERS)
        await through(seconds=WARM_SECONDS)
        meter = Meter({**ground.pids, **workers.pids})
        passage = await through(seconds=options.seconds)
        cpu_seconds, strangers = meter.stop(
            {**ground.pids, **workers.pids}, load=passage.load_cpu_seconds
        )
        await ground.finished(at_most=_START_SECONDS)
        return Row(
            name="webhook_sustained",
            jobs=len(passage.created),
            seconds=passage.seconds,
            cpu_seconds=cpu_seconds,
            strangers=strangers,
        )


async def latency_idle(ground: Ground, options: Options) -> Row:
    """A webhook, from accepted to arrived, fifty a second."""
    async with (
        ground.store.fresh() as url,
        ground.work(url, ground.peer.idle, handler="webhook") as workers,
    ):
        through = partial(_through, ground, url, idle=True, rate=IDLE_RATE)
        await through(seconds=WARM_SECONDS)
        meter = Meter({**ground.pids, **workers.pids})
        passage = await through(seconds=options.seconds)
        cpu_seconds, strangers = meter.stop(
            {**ground.pids, **workers.pids}, load=passage.load_cpu_seconds
        )
        await ground.finished(at_most=_START_SECONDS)
        return _latency(passage.waits, options, cpu_seconds, strangers)


async def latency_worker(ground: Ground, options: Options) -> Row:
    """From the call that creates a job until its handler has it, fifty a second."""
    async with (
        ground.store.fresh() as url,
        ground.work(url, ground.peer.idle, handler="clock") as workers,
    ):
        pace = partial(ground.enqueue, url, idle=True, rate=IDLE_RATE, stamped=True)
        warm = (await pace(seconds=WARM_SECONDS)).jobs
        await workers.until_handled(warm, at_most=_START_SECONDS)
        meter = Meter({**ground.pids, **workers.pids})
        result = await pace(seconds=options.seconds)
        await workers.until_handled(warm + result.jobs, at_most=_START_SECONDS)
        cpu_seconds, strangers = meter.stop(
            {**ground.pids, **workers.pids}, load=result.cpu_seconds
        )
        await ground.finished(at_most=_START_SECONDS)
        await workers.check_handled(warm + result.jobs)
        return _latency(workers.waits()[warm:], options, cpu_seconds, strangers)


Measure = Callable[[Ground, Options], Awaitable[Row]]

#: What is measured of a peer, and the rows of Bellhop's that it stands beside.
BESIDE: Final[dict[Measure, tuple[str, ...]]] = {
    enqueue: ("rest_create", "grpc_enqueue"),
    bulk: ("rest_bulk",),
    work: ("rest_worker_50", "worker_batch_50"),
    webhook_drain: ("webhook_drain",),
    webhook_sustained: ("webhook_sustained",),
    latency_idle: ("latency_idle",),
    latency_worker: ("latency_worker",),
}


async def _creates(
    ground: Ground, options: Options, create: Callable[..., Awaitable[Result]]
) -> Row:
    async with ground.store.fresh() as url:
        warm = (await create(url, seconds=WARM_SECONDS)).jobs
        meter = Meter(ground.pids)
        result = await create(url, seconds=options.seconds)
        cpu_seconds, strangers = meter.stop(ground.pids, load=result.cpu_seconds)
        if (found := await ground.store.open_jobs()) != warm + result.jobs:
            raise Broken(f"{warm + result.jobs} jobs created, {found} there")
    return Row(
        name="creates",
        jobs=result.jobs,
        seconds=result.seconds,
        p50_ms=result.p50_ms,
        p99_ms=result.p99_ms,
        cpu_seconds=cpu_seconds,
        strangers=strangers,
    )


async def _stock(ground: Ground, url: str, jobs: int) -> None:
    """Create that many jobs, and let the store rest from it."""
    await ground.bulk(url, jobs=jobs)
    if (found := await ground.store.open_jobs()) != jobs:
        raise Broken(f"{jobs} jobs created, {found} there")
    await ground.store.rest()


async def _through(ground: Ground, url: str, **plan: Any) -> Passage:
    """Create webhooks and wait until all have arrived, once each."""
    await ground.house.forget_arrivals()
    records = ground.house.directory / "created.records"
    result = await ground.enqueue(url, records=str(records), **plan)
    await ground.house.arrived(result.jobs, at_most=_patience(result.jobs))
    return Passage(
        read_created(records),
        await ground.house.arrivals(result.jobs),
        result.cpu_seconds,
    )


def _latency(
    waits: list[float],
    options: Options,
    cpu_seconds: dict[str, float],
    strangers: float,
) -> Row:
    return Row(
        name="latency",
        jobs=len(waits),
        seconds=options.seconds,
        p50_ms=milliseconds(waits, 0.5),
        p99_ms=milliseconds(waits, 0.99),
        about_latency=True,
        cpu_seconds=cpu_seconds,
        strangers=strangers,
    )


def _share(ground: Ground, options: Options) -> int:
    return max(int(options.jobs * ground.peer.share), 1)


def _patience(jobs: int) -> float:
    return jobs / _RATE_MIN + _START_SECONDS
