"""The rows of the table: how each is measured, and beside which ceilings."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from bench import bodies, ceilings, event_rows, worker_rows, workflow_rows
from bench.ceilings import Ceiling
from bench.cpu import Meter
from bench.house import House
from bench.records import Created, milliseconds, read_created
from bench.row import REQUEST_P50, REQUEST_P99, Options, Row, close, middle
from libs.cli.service_process import ServiceProcess

#: Runs before the clock starts: connections, caches and plans are as in daily life.
WARM_SECONDS = 1.0
#: What counts as an idle house.
IDLE_RATE = 50.0
_CEILING_SECONDS = 4.0
#: A house slower than this is broken, not slow (jobs per second, and a start).
_RATE_MIN = 200.0
_START_SECONDS = 30.0
#: What counts as no slower than what it is held against: runs differ by as much.
_NO_SLOWER: Final = 0.95


@dataclass(frozen=True, slots=True)
class Passage:
    """Webhooks that were created and have arrived."""

    created: list[Created]
    arrivals: dict[bytes, float]
    load_cpu_seconds: float

    @property
    def seconds(self) -> float:
        """From the first request to the last arrival."""
        began = min(one.sent for one in self.created)
        return max(self.arrivals.values()) - began

    @property
    def waits(self) -> list[float]:
        """How long each took from accepted to arrived."""
        # Some are there before their producer hears that they were accepted.
        return [
            max(self.arrivals[one.job_id] - one.accepted, 0.0) for one in self.created
        ]

    @property
    def ways(self) -> list[float]:
        """How long each took from the request to its arrival."""
        return [self.arrivals[one.job_id] - one.sent for one in self.created]


async def rest_create(house: House, options: Options) -> Row:
    """Jobs for workers, one a request."""
    return await _creates(house, options, kind="single")


async def rest_bulk(house: House, options: Options) -> Row:
    """Jobs for workers, a hundred a request."""
    return await _creates(house, options, kind="bulk")


async def webhook_drain(house: House, options: Options) -> Row:
    """Webhooks that wait, from the first arrival until the last is settled."""
    row = await _drain(house, options, [house.services["dispatcher"]])
    row.target = 2500
    row.ceilings["signing client"] = await ceilings.client(house)
    return row


async def webhook_drain_two(house: House, options: Options) -> Row:
    """The same with two dispatchers and two deliveries, beside one of each."""
    dispatcher = house.services["dispatcher"]
    one = await _drain(house, options, [dispatcher])
    second, delivery = house.spares
    try:
        await delivery.start()
        row = await _drain(house, options, [dispatcher, second])
    finally:
        # Whoever handed the work out is told how it went to the end.
        await delivery.stop()
        await second.stop()
    row.name = "webhook_drain_two"
    row.target_ratio = _NO_SLOWER
    row.ceilings["one of each"] = Ceiling(
        one.rate, sum(one.cpu_seconds.values()) / one.jobs
    )
    return row


async def _drain(
    house: House, options: Options, dispatchers: list[ServiceProcess]
) -> Row:
    """Create webhooks while nobody hands them out, then have them delivered."""
    jobs = options.jobs // bodies.BULK * bodies.BULK
    for dispatcher in dispatchers:
        await dispatcher.stop()
    await house.load(
        kind="bulk", target=house.sink_url, connections=4, requests=jobs // bodies.BULK
    )
    await house.announced()
    await house.forget_arrivals()
    await asyncio.gather(*(dispatcher.start() for dispatcher in dispatchers))
    meter = Meter(house.pids)
    await house.arrived(jobs, at_most=jobs / _RATE_MIN + _START_SECONDS)
    await house.settled()
    ended = time.monotonic()
    cpu_seconds, strangers = meter.stop(house.pids)
    arrivals = await house.arrivals(jobs)
    row = Row(
        name="webhook_drain",
        jobs=jobs,
        seconds=ended - min(arrivals.values()),
        cpu_seconds=cpu_seconds,
        strangers=strangers,
    )
    await close(house, row, since=ended)
    return row


async def webhook_sustained(house: House, options: Options) -> Row:
    """Webhooks created one a request, from the first request to the last arrival."""
    await _through(house, seconds=WARM_SECONDS)
    meter = Meter(house.pids)
    passage = await _through(house, seconds=options.seconds)
    ended = time.monotonic()
    cpu_seconds, strangers = meter.stop(house.pids, load=passage.load_cpu_seconds)
    row = Row(
        name="webhook_sustained",
        jobs=len(passage.created),
        seconds=passage.seconds,
        cpu_seconds=cpu_seconds,
        strangers=strangers,
    )
    await close(house, row, since=ended)
    row.ceilings["checking server"] = await ceilings.server(
        house, kind="single", seconds=_CEILING_SECONDS
    )
    row.ceilings["inserts"] = await ceilings.inserts(house)
    row.ceilings["signing client"] = await ceilings.client(house)
    return row


async def latency_idle(house: House, options: Options) -> Row:
    """From accepted to arrived, with nothing else to do."""
    return await _latency(house, options, name="latency_idle", rate=IDLE_RATE)


async def latency_half_load(house: House, options: Options, *, sustained: Row) -> Row:
    """From accepted to arrived, at half of what the house can sustain."""
    return await _latency(
        house, options, name="latency_half_load", rate=sustained.rate / 2
    )


Measure = Callable[[House, Options], Awaitable[Row]]

_ROWS: Final[dict[str, Measure]] = {
    measure.__name__: measure
    for measure in (
        rest_create,
        rest_bulk,
        webhook_drain,
        webhook_drain_two,
        webhook_sustained,
        latency_idle,
        *worker_rows.ROWS,
        *workflow_rows.ROWS,
        *event_rows.ROWS,
    )
}
_SUSTAINED: Final = webhook_sustained.__name__
#: Measured with what `webhook_sustained` found.
_HALF_LOAD: Final = latency_half_load.__name__
NAMES: Final = (*_ROWS, _HALF_LOAD)


async def measure_all(
    house: House, options: Options, names: list[str], tell: Callable[[Row], None]
) -> list[Row]:
    """Measure the rows named, in our order, and those they need."""
    wanted = {*names, *([_SUSTAINED] if _HALF_LOAD in names else [])}
    rows: dict[str, Row] = {}
    for name in NAMES:
        if name not in wanted:
            continue
        measure = _ROWS.get(name) or partial(
            latency_half_load, sustained=rows[_SUSTAINED]
        )
        runs = []
        for _ in range(options.runs):
            runs.append(await measure(house, options))
            tell(runs[-1])
        rows[name] = middle(runs)
    return list(rows.values())


async def _creates(house: House, options: Options, *, kind: str) -> Row:
    """Create as fast as answers come."""
    await house.load(kind=kind, seconds=WARM_SECONDS)
    await house.announced()
    meter = Meter(house.pids)
    result = await house.load(kind=kind, seconds=options.seconds)
    ended = time.monotonic()
    cpu_seconds, strangers = meter.stop(house.pids, load=result.cpu_seconds)
    row = Row(
        name="rest_bulk" if kind == "bulk" else "rest_create",
        jobs=result.requests * (bodies.BULK if kind == "bulk" else 1),
        seconds=result.seconds,
        p50_ms=result.p50_ms,
        p99_ms=result.p99_ms,
        target=3000,
        cpu_seconds=cpu_seconds,
        strangers=strangers,
    )
    await close(house, row, since=ended)
    row.ceilings["checking server"] = await ceilings.server(
        house, kind=kind, seconds=_CEILING_SECONDS
    )
    row.ceilings["inserts"] = await ceilings.inserts(house)
    return row


async def _latency(house: House, options: Options, *, name: str, rate: float) -> Row:
    await _through(house, seconds=WARM_SECONDS, rate=rate)
    meter = Meter(house.pids)
    passage = await _through(house, seconds=options.seconds, rate=rate)
    ended = time.monotonic()
    cpu_seconds, strangers = meter.stop(house.pids, load=passage.load_cpu_seconds)
    waits, ways = passage.waits, passage.ways
    row = Row(
        name=name,
        jobs=len(passage.created),
        seconds=options.seconds,
        p50_ms=milliseconds(waits, 0.5),
        p99_ms=milliseconds(waits, 0.99),
        cpu_seconds=cpu_seconds,
        strangers=strangers,
        more={
            REQUEST_P50: milliseconds(ways, 0.5),
            REQUEST_P99: milliseconds(ways, 0.99),
        },
    )
    await close(house, row, since=ended)
    row.floor_ms = await ceilings.one_by_one_ms(house)
    return row


async def _through(
    house: House, *, seconds: float, rate: float | None = None
) -> Passage:
    """Create webhooks and wait until all have arrived."""
    await house.forget_arrivals()
    records = house.directory / "created.records"
    result = await house.load(
        target=house.sink_url, seconds=seconds, rate=rate, records=str(records)
    )
    await house.arrived(
        result.requests, at_most=result.requests / _RATE_MIN + _START_SECONDS
    )
    return Passage(
        read_created(records),
        await house.arrivals(result.requests),
        result.cpu_seconds,
    )
