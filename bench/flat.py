"""``python -m bench.flat``: whether the house is as fast with a history as without one.

Some rows of the benchmark are measured three times: in a fresh house; in one with
millions of finished jobs and many that are scheduled, dead, or wait for a worker; and
then while somebody holds a view from before, so that nothing is vacuumed away.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final

import uvloop

from bench import bodies, history
from bench.children import Broken
from bench.history import Line
from bench.house import House, open_house
from bench.row import Options, Row
from bench.rows import measure_all
from libs.common.errors import BellhopError
from libs.common.log import start_logging
from libs.common.store import partitions
from libs.common.store.lanes import LaneName, open_lanes

_OPEN: Final = {
    fill.__name__: fill for fill in (history.scheduled, history.dead, history.ready)
}
_ROWS: Final = ("rest_create", "webhook_drain", "worker_batch_50", "rest_worker_50")
_QUEUE: Final = "history"
#: One statement's jobs.
_PIECE: Final = 50_000
#: What is slower than this part of what it was is not flat.
_FLAT: Final = 0.85
_INVARIANTS_SECONDS: Final = 1200.0
_WEEK: Final = timedelta(weeks=1)


def main() -> int:
    """Measure and print; return 0 when every row is flat."""
    arguments = _arguments()
    start_logging("bench", level="warning")
    try:
        return uvloop.run(_measure(arguments))
    except (Broken, BellhopError) as error:
        print(f"bench.flat: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("bench.flat: stopped", file=sys.stderr)
        return 130


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.flat",
        description="Measure whether drains and claims are as fast with a long history "
        "and a transaction held open as in a fresh house.",
    )
    for name, jobs, what in (
        ("finished", 5_000_000, "jobs that ended, over four weeks"),
        ("scheduled", 1_000_000, "jobs for the days to come"),
        ("dead", 100_000, "dead letters"),
        ("ready", 100_000, "jobs that wait for a worker"),
    ):
        parser.add_argument(
            f"--{name}", type=int, default=jobs, help=f"{what} ({jobs:,})"
        )
    parser.add_argument("--runs", type=int, default=3, help="times a row (3)")
    parser.add_argument("--jobs", type=int, default=20_000, help="jobs a run (20000)")
    return parser.parse_args()


async def _measure(arguments: argparse.Namespace) -> int:
    options = Options(jobs=arguments.jobs, seconds=5.0, runs=arguments.runs)
    with tempfile.TemporaryDirectory(prefix="bellhop-flat-") as directory:
        async with open_house(Path(directory)) as house:
            house.invariants_seconds = _INVARIANTS_SECONDS
            fresh = await _rows(house, options, "fresh")
            for name in ("finished", *_OPEN):
                await _fill(house, name, getattr(arguments, name))
            await house.conn.execute("VACUUM ANALYZE")
            full = await _rows(house, options, "with a history")
            async with _held(house):
                held = await _rows(house, options, "with a view held, too")
    return _tell(fresh, full, held)


async def _rows(house: House, options: Options, when: str) -> list[Row]:
    print(f"{when}:", flush=True)

    def tell(row: Row) -> None:
        print(f"  {row.name:<16} {row.rate:>9,.0f} {row.unit}/s", flush=True)

    return await measure_all(house, options, list(_ROWS), tell)


async def _fill(house: House, name: str, jobs: int) -> None:
    """Put *jobs* in their place, as if they had come there long ago."""
    conn, began = house.conn, time.monotonic()
    organization_id = await conn.fetchval("SELECT id FROM organizations")
    lane = LaneName(organization_id, f"{_QUEUE}-{name}", "")
    lane_id = (await open_lanes(conn, names=[lane]))[lane]
    await partitions.create_ahead(conn, back=5 * _WEEK, ahead=_WEEK)
    line = Line(
        organization_id, lane.queue_name, lane_id, json.dumps(bodies.payload(1))
    )
    for first in range(0, jobs, _PIECE):
        numbers = range(first, min(first + _PIECE, jobs))
        if name == "finished":
            await history.finished(conn, line=line, numbers=numbers, of=jobs)
        else:
            await _OPEN[name](conn, line=line, numbers=numbers)
        print(f"\r  {numbers.stop:,} {name}", end="", flush=True)
    print(f" in {time.monotonic() - began:.0f} s", flush=True)


@asynccontextmanager
async def _held(house: House) -> AsyncIterator[None]:
    """Hold a view of the database, as a dump does, until the block ends."""
    conn = await house.connect()
    try:
        async with conn.transaction(isolation="repeatable_read", readonly=True):
            await conn.fetch("SELECT FROM ready LIMIT 1")
            yield
    finally:
        await conn.close()


def _tell(fresh: list[Row], full: list[Row], held: list[Row]) -> int:
    print(f"\n| {'row':<16} |   fresh | history | ratio |    held | ratio |")
    print(f"| {'-' * 16} | ------: | ------: | ----: | ------: | ----: |")
    flat = True
    for one, two, three in zip(fresh, full, held, strict=True):
        ratios = two.rate / one.rate, three.rate / one.rate
        flat = flat and min(ratios) >= _FLAT
        print(
            f"| {one.name:<16} | {one.rate:>7,.0f} | {two.rate:>7,.0f} "
            f"| {ratios[0]:>5.2f} | {three.rate:>7,.0f} | {ratios[1]:>5.2f} |"
        )
    print(f"\n{'Flat' if flat else 'Not flat'}: {_FLAT:.0%} of fresh is the least.")
    return 0 if flat else 1


if __name__ == "__main__":
    sys.exit(main())
