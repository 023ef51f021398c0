"""What the bare parts do on this machine, now: what our rates are held against."""

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import asyncpg

from bench import bare_client, bodies, grpc_load
from bench.children import carry_out, listening
from bench.cpu import Meter
from bench.house import House
from bench.load import Plan, Result
from bench.records import milliseconds
from libs.common.db import BY_KEY
from libs.common.ids import new_id
from libs.common.migrate import migrate
from libs.common.store import claims, jobs, settlement
from libs.common.store.claims import Asked, ClaimedWork
from libs.common.store.jobs import NewJob
from libs.common.store.lanes import LaneName, open_lanes
from libs.common.store.settlement import Settled

_DATABASE = "bench_ceilings"
_BATCH = 500
_ROWS = 20_000
_POSTS = 8_000
#: Commits and posts, one after the other.
_STEPS = 200
_ORGANIZATION = UUID(int=1)
_LANE = 1
_WORKER = "worker"
_LEASE = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What a bare part does: jobs per second, and its CPU seconds a job."""

    rate: float
    cpu_seconds: float


async def server(house: House, *, kind: str, seconds: float) -> Ceiling:
    """Measure a server that checks the same requests, and no more."""
    async with listening("bare_server", directory=house.directory) as (port, pid):
        meter = Meter({"server": pid})
        result = await carry_out(
            "load",
            Plan(port=port, key=house.api_key, kind=kind, seconds=seconds),
            Result,
            directory=house.directory,
        )
        cpu, _ = meter.stop({"server": pid})
    done = result.requests * (bodies.BULK if kind == "bulk" else 1)
    return Ceiling(done / result.seconds, cpu["server"] / done)


async def client(house: House) -> Ceiling:
    """Measure a client that signs, and posts to the same sink."""
    result = await carry_out(
        "bare_client",
        bare_client.Plan(url=house.sink_url, requests=_POSTS),
        bare_client.Result,
        directory=house.directory,
    )
    return Ceiling(result.rate, result.cpu_seconds_each)


async def grpc(house: House, *, kind: str, seconds: float) -> Ceiling:
    """Measure a gRPC server that says yes to the same messages, and no more."""
    async with listening("bare_grpc_server", directory=house.directory) as (port, pid):
        meter = Meter({"server": pid})
        result = await carry_out(
            "grpc_load",
            grpc_load.Plan(port=port, key=house.api_key, kind=kind, seconds=seconds),
            grpc_load.Result,
            directory=house.directory,
        )
        cpu, _ = meter.stop({"server": pid})
    return Ceiling(result.jobs / result.seconds, cpu["server"] / result.jobs)


async def inserts(house: House) -> Ceiling:
    """Measure Postgres writing the same rows, 500 at a time, on one connection."""
    rows = [_row(number) for number in range(_ROWS)]
    pids = {"postgres": house.pids["postgres"]}
    async with _database(house) as conn:
        meter, began = Meter(pids), time.monotonic()
        for first in range(0, _ROWS, _BATCH):
            await jobs.create(conn, jobs=rows[first : first + _BATCH])
        seconds = time.monotonic() - began
        cpu, _ = meter.stop(pids)
    return Ceiling(_ROWS / seconds, cpu["postgres"] / _ROWS)


async def work(house: House, *, batch: int, jobs_in_all: int = _ROWS) -> Ceiling:
    """Measure Postgres leasing and completing such jobs, on one connection."""
    pids = {"postgres": house.pids["postgres"]}
    async with _database(house) as conn:
        lane = LaneName(_ORGANIZATION, bodies.QUEUE, "")
        lane_id = (await open_lanes(conn, names=[lane]))[lane]
        rows = [_row(number, lane_id=lane_id) for number in range(jobs_in_all)]
        for first in range(0, jobs_in_all, _BATCH):
            await jobs.create(conn, jobs=rows[first : first + _BATCH])
        done, meter, began = 0, Meter(pids), time.monotonic()
        while given := await _claim(conn, lane_id, batch):
            closed = await settlement.settle(
                conn,
                attempts=[
                    Settled(
                        job_id=one.job_id,
                        lease_id=one.lease_id,
                        how="completed",
                        owner=_WORKER,
                        organization_id=_ORGANIZATION,
                    )
                    for one in given
                ],
                actor=_WORKER,
            )
            done += len(closed)
        seconds = time.monotonic() - began
        cpu, _ = meter.stop(pids)
    return Ceiling(done / seconds, cpu["postgres"] / done)


async def _claim(
    conn: asyncpg.Connection, lane_id: int, limit: int
) -> list[ClaimedWork]:
    lease_id = new_id()
    asked = Asked(
        lane_id=lane_id, limit=limit, lease_id=lease_id, owner=_WORKER, lease=_LEASE
    )
    return (await claims.claim_work(conn, asked=[asked])).work.get(lease_id, [])


async def one_by_one_ms(house: House) -> float:
    """Return the p50 of one commit of one job, and one post to the sink."""
    body = json.dumps(bodies.payload(1)).encode()
    seconds = []
    async with _database(house) as conn:
        for number in range(_STEPS):
            row = _row(number)
            began = time.monotonic()
            await jobs.create(conn, jobs=[row])
            async with house.http.post(house.sink_url, data=body) as answer:
                await answer.read()
            seconds.append(time.monotonic() - began)
    return milliseconds(seconds, 0.5)


def _row(number: int, *, lane_id: int = _LANE) -> NewJob:
    return NewJob(
        id=new_id(),
        organization_id=_ORGANIZATION,
        queue_name=bodies.QUEUE,
        lane_id=lane_id,
        payload=json.dumps(bodies.payload(number)),
        rank=100,
        max_retries=3,
        timeout_seconds=300,
    )


@asynccontextmanager
async def _database(house: House) -> AsyncIterator[asyncpg.Connection]:
    """Make a database that no service looks at, until the block ends."""
    await house.conn.execute(f"CREATE DATABASE {_DATABASE}")
    try:
        url = house.postgres.url_of(_DATABASE)
        await migrate(url)
        # Planned once, as the house has it.
        conn = await asyncpg.connect(url, server_settings={"jit": "off", **BY_KEY})
        try:
            yield conn
        finally:
            await conn.close()
    finally:
        await house.conn.execute(f"DROP DATABASE {_DATABASE} WITH (FORCE)")
