"""The rows about workers, and about the gRPC door that most of them use."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from bench import bodies, ceilings, grpc_load, rest_workers
from bench.children import carry_out
from bench.cpu import Meter
from bench.house import House
from bench.row import Options, Row, close
from libs.common.ids import new_id

WORKERS: Final = 8
_BATCH: Final = 50
_WARM_SECONDS: Final = 1.0
_CEILING_SECONDS: Final = 4.0
#: Parts of the jobs of a drain that one-by-one rows settle.
_SHARE_SINGLE: Final = 2
#: How often the statements alone are run.
_SQL_JOBS: Final = 400


async def grpc_enqueue(house: House, options: Options) -> Row:
    """Jobs for workers, one a call."""
    await over_grpc(house, kind="enqueue", seconds=_WARM_SECONDS)
    row = await timed(
        house,
        "grpc_enqueue",
        lambda: over_grpc(house, kind="enqueue", seconds=options.seconds),
    )
    row.target_ratio = 0.6
    row.ceilings["grpc echo"] = await ceilings.grpc(
        house, kind="enqueue", seconds=_CEILING_SECONDS
    )
    return row


async def grpc_enqueue_batch(house: House, options: Options) -> Row:
    """Jobs for workers, fifty a call."""
    row = await timed(
        house,
        "grpc_enqueue_batch",
        lambda: over_grpc(
            house,
            kind="enqueue_batch",
            batch=_BATCH,
            callers=WORKERS,
            channels=WORKERS,
            seconds=options.seconds,
        ),
    )
    row.target = 10_000
    row.ceilings["inserts"] = await ceilings.inserts(house)
    return row


async def grpc_complete(house: House, options: Options) -> Row:
    """Claimed jobs completed, one a call."""
    jobs = await _stock(house, options.jobs // _SHARE_SINGLE)
    row = await timed(
        house, "grpc_complete", lambda: over_grpc(house, kind="complete", jobs=jobs)
    )
    row.target_ratio = 0.5
    row.ceilings["grpc echo"] = await ceilings.grpc(
        house, kind="echo", seconds=_CEILING_SECONDS
    )
    return row


async def grpc_complete_batch(house: House, options: Options) -> Row:
    """Claimed jobs completed, fifty a call."""
    jobs = await _stock(house, options.jobs)
    row = await timed(
        house,
        "grpc_complete_batch",
        lambda: over_grpc(
            house,
            kind="complete",
            batch=_BATCH,
            callers=WORKERS,
            channels=WORKERS,
            jobs=jobs,
        ),
    )
    row.target = 10_000
    return row


async def worker_batch_1(house: House, options: Options) -> Row:
    """Jobs claimed and completed over gRPC by eight workers, one at a time."""
    jobs = await _stock(house, options.jobs // _SHARE_SINGLE)
    row = await timed(
        house,
        "worker_batch_1",
        lambda: over_grpc(
            house, kind="work", callers=WORKERS, channels=WORKERS, jobs=jobs
        ),
    )
    return await _beside_sql(house, row, batch=1)


async def worker_batch_50(house: House, options: Options) -> Row:
    """Jobs claimed and completed over gRPC by eight workers, fifty at a time."""
    jobs = await _stock(house, options.jobs)
    row = await timed(
        house,
        "worker_batch_50",
        lambda: over_grpc(
            house,
            kind="work",
            batch=_BATCH,
            callers=WORKERS,
            channels=WORKERS,
            jobs=jobs,
        ),
    )
    return await _beside_sql(house, row, batch=_BATCH)


async def rest_worker_1(house: House, options: Options) -> Row:
    """Jobs claimed and completed over REST by eight workers, one at a time."""
    jobs = await _stock(house, options.jobs // _SHARE_SINGLE)
    row = await timed(house, "rest_worker_1", lambda: over_rest(house, jobs=jobs))
    return await _beside_sql(house, row, batch=1)


async def rest_worker_50(house: House, options: Options) -> Row:
    """Jobs claimed and completed over REST by eight workers, fifty at a time."""
    jobs = await _stock(house, options.jobs)
    row = await timed(
        house, "rest_worker_50", lambda: over_rest(house, jobs=jobs, batch=_BATCH)
    )
    return await _beside_sql(house, row, batch=_BATCH)


async def rest_complete_batch(house: House, options: Options) -> Row:
    """Claimed jobs completed over REST, fifty a call."""
    jobs = await _stock(house, options.jobs)
    row = await timed(
        house,
        "rest_complete_batch",
        lambda: over_rest(house, jobs=jobs, batch=_BATCH, claimed_ahead=True),
    )
    row.target = 10_000
    return row


async def latency_worker(house: House, options: Options) -> Row:
    """From the call that enqueues until a streaming worker has the job, idle."""
    row = await timed(
        house,
        "latency_worker",
        lambda: over_grpc(
            house,
            kind="handle",
            queue=f"idle-{new_id().hex}",
            callers=1,
            channels=1,
            seconds=options.seconds,
        ),
    )
    row.target_p50_ms = 5.0
    return row


Measure = Callable[[House, Options], Awaitable[Row]]

ROWS: Final[tuple[Measure, ...]] = (
    grpc_enqueue,
    grpc_enqueue_batch,
    grpc_complete,
    grpc_complete_batch,
    worker_batch_1,
    worker_batch_50,
    rest_worker_1,
    rest_worker_50,
    rest_complete_batch,
    latency_worker,
)

Result = grpc_load.Result | rest_workers.Result


async def timed(house: House, name: str, load: Callable[[], Awaitable[Result]]) -> Row:
    """Run *load* and make a row of what it did."""
    await house.announced()
    meter = Meter(house.pids)
    result = await load()
    cpu_seconds, strangers = meter.stop(house.pids, load=result.cpu_seconds)
    row = Row(
        name=name,
        jobs=result.jobs,
        seconds=result.seconds,
        p50_ms=result.p50_ms,
        p99_ms=result.p99_ms,
        cpu_seconds=cpu_seconds,
        strangers=strangers,
    )
    await close(house, row)
    return row


async def _beside_sql(house: House, row: Row, *, batch: int) -> Row:
    """Hold a row about leasing and completing against the statements alone."""
    row.ceilings["statements"] = await ceilings.work(
        house, batch=batch, jobs_in_all=_SQL_JOBS * batch
    )
    return row


async def _stock(house: House, jobs: int) -> int:
    """Create that many jobs for workers, by the hundred; return how many."""
    requests = max(jobs // bodies.BULK, 1)
    await house.load(kind="bulk", connections=4, requests=requests)
    return requests * bodies.BULK


async def over_grpc(house: House, **plan: Any) -> grpc_load.Result:
    """Carry out a plan of `grpc_load`."""
    return await carry_out(
        "grpc_load",
        grpc_load.Plan(port=house.grpc_port, key=house.api_key, **plan),
        grpc_load.Result,
        directory=house.directory,
    )


async def over_rest(house: House, **plan: Any) -> rest_workers.Result:
    """Carry out a plan of `rest_workers`."""
    return await carry_out(
        "rest_workers",
        rest_workers.Plan(port=house.port, key=house.api_key, **plan),
        rest_workers.Result,
        directory=house.directory,
    )
