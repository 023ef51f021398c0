"""The rows of the table: how each is measured, and beside which ceilings."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from bench import bodies, ceilings, worker_rows
from bench.cpu import Meter
from bench.house import House
from bench.records import Created, milliseconds, read_created
from bench.row import REQUEST_P50, REQUEST_P99, Options, Row, close

#: Runs before the clock starts: connections, caches and plans are as in daily life.
_WARM_SECONDS = 1.0
#: What counts as an idle house.
_IDLE_RATE = 50.0
_CEILING_SECONDS = 2.0
#: A house slower than this is broken, not slow (jobs per second, and a start).
_RATE_MIN = 200.0
_START_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Passage:
    """Webhooks that were created and have arrived."""

    created: list[Created]
    arrivals: dict[bytes, float]
    load_cpu_seconds: float


async def rest_create(house: House, options: Options) -> Row:
    """Jobs for workers, one a request."""
    return await _creates(house, options, kind="single")


async def rest_bulk(house: House, options: Options) -> Row:
    """Jobs for workers, a hundred a request."""
    return await _creates(house, options, kind="bulk")


async def webhook_drain(house: House, options: Options) -> Row:
    """Webhooks that wait, from the first arrival until the last is settled."""
    jobs = options.jobs // bodies.BULK * bodies.BULK
    dispatcher = house.services["dispatcher"]
    await dispatcher.stop()
    await house.load(
        kind="bulk", target=house.sink_url, connections=4, requests=jobs // bodies.BULK
    )
    await house.announced()
    await house.forget_arrivals()
    await dispatcher.start()
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
        target=2500,
        cpu_seconds=cpu_seconds,
        strangers=strangers,
    )
    await close(house, row, since=ended)
    row.ceilings["signing client"] = await ceilings.client(house)
    return row


async def webhook_sustained(house: House, options: Options) -> Row:
    """Webhooks created one a request, from the first request to the last arrival."""
    await _through(house, seconds=_WARM_SECONDS)
    meter = Meter(house.pids)
    passage = await _through(house, seconds=options.seconds)
    ended = time.monotonic()
    cpu_seconds, strangers = meter.stop(house.pids, load=passage.load_cpu_seconds)
    began = min(one.sent for one in passage.created)
    row = Row(
        name="webhook_sustained",
        jobs=len(passage.created),
        seconds=max(passage.arrivals.values()) - began,
        cpu_seconds=cpu_seconds,
        strangers=strangers,
    )
    await close(house, row, since=ended)
    return row


async def latency_idle(house: House, options: Options) -> Row:
    """From accepted to arrived, with nothing else to do."""
    return await _latency(house, options, name="latency_idle", rate=_IDLE_RATE)


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
        webhook_sustained,
        latency_idle,
        *worker_rows.ROWS,
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
        rows[name] = await measure(house, options)
        tell(rows[name])
    return list(rows.values())


async def _creates(house: House, options: Options, *, kind: str) -> Row:
    """Create as fast as answers come."""
    await house.load(kind=kind, seconds=_WARM_SECONDS)
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
    await _through(house, seconds=_WARM_SECONDS, rate=rate)
    meter = Meter(house.pids)
    passage = await _through(house, seconds=options.seconds, rate=rate)
    ended = time.monotonic()
    cpu_seconds, strangers = meter.stop(house.pids, load=passage.load_cpu_seconds)
    created, arrivals = passage.created, passage.arrivals
    # Some are there before their producer hears that they were accepted.
    waits = [max(arrivals[one.job_id] - one.accepted, 0.0) for one in created]
    ways = [arrivals[one.job_id] - one.sent for one in created]
    row = Row(
        name=name,
        jobs=len(created),
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
