"""``python -m bench.large``: how much memory a backlog of large payloads takes.

A thousand jobs of a mebibyte each are created, wait, and are carried: as webhooks to a
receiver that answers at once and to one that is slow, and to workers that claim in
batches over REST and over gRPC.  Of every process it is told how much memory it had at
most; more than it may have in one of the five services is a failure.
"""

import argparse
import asyncio
import base64
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import aiohttp
import uvloop

from bench import memory, worker_rows
from bench.bodies import QUEUE
from bench.children import Broken
from bench.house import House, open_house
from libs.common.errors import BellhopError
from libs.common.log import start_logging

#: What no service may have (MB), whatever the backlog.
SERVICE_MB_MAX: Final = 300
_PAYLOAD_BYTES: Final = 1024 * 1024
_PRODUCERS: Final = 8
_BATCH: Final = 50
#: How long carrying one job may take.
_JOB_SECONDS_MAX: Final = 1.0

Most = dict[str, float]


def main() -> int:
    """Measure and print; return 0 when no service had more than it may."""
    arguments = _arguments()
    start_logging("bench", level="warning")
    try:
        return uvloop.run(_measure(arguments.jobs))
    except (Broken, BellhopError) as error:
        print(f"bench.large: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("bench.large: stopped", file=sys.stderr)
        return 130


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.large",
        description="Measure the memory of every process while a backlog of payloads "
        "of 1 MiB each is created, waits, and is carried.",
    )
    parser.add_argument("--jobs", type=int, default=1000, help="how many (1000)")
    return parser.parse_args()


async def _measure(jobs: int) -> int:
    rows: dict[str, Most] = {}
    with tempfile.TemporaryDirectory(prefix="bellhop-large-") as directory:
        async with open_house(Path(directory)) as house:
            for name, carry in _CARRYING.items():
                await _stock(house, name, jobs, rows)
                async with _most(house, rows, name):
                    await carry(house, jobs)
                    await house.settled()
                await house.announced()
            await house.check_invariants()
            services = [one.kind for one in house.services.values()]
    return _tell(rows, services)


@asynccontextmanager
async def _most(house: House, rows: dict[str, Most], name: str) -> AsyncIterator[None]:
    """Note how much memory each process has at most until the block ends."""
    for pid in house.pids.values():
        memory.forget_peak(pid)
    yield
    rows[name] = {who: memory.peak_mb(pid) for who, pid in house.pids.items()}
    told = ", ".join(f"{who} {mb:.0f}" for who, mb in rows[name].items())
    print(f"  {name:<18} {told}", flush=True)


async def _stock(house: House, name: str, jobs: int, rows: dict[str, Most]) -> None:
    """Create the backlog; webhooks stay where they are until all are there."""
    target = _TARGETS.get(name)
    dispatcher = house.services["dispatcher"]
    if target is not None:
        await dispatcher.stop()
    await house.forget_arrivals()
    async with _most(house, rows, f"{name}, created"):
        await _create(house, jobs, target)
    if target is not None:
        await dispatcher.start()


async def _create(house: House, jobs: int, target: str | None) -> None:
    # Nothing that could be packed: a receiver of pictures gets such.
    text = base64.b64encode(os.urandom(_PAYLOAD_BYTES * 3 // 4 - 64)).decode()
    body: dict[str, object] = {"queue_name": QUEUE, "payload": text}
    if target is not None:
        body["target"] = {"url": f"http://127.0.0.1:{house.sink_port}{target}"}
    left = iter(range(jobs))
    async with aiohttp.ClientSession(
        headers={"Authorization": f"Bearer {house.api_key}"}
    ) as http:

        async def produce() -> None:
            for _ in left:
                url = f"http://127.0.0.1:{house.port}/api/v1/jobs"
                async with http.post(url, json=body) as answer:
                    if not answer.ok:
                        raise Broken(await answer.text())

        await asyncio.gather(*(produce() for _ in range(_PRODUCERS)))


async def _arrive(house: House, jobs: int) -> None:
    await house.arrived(jobs, at_most=30 + jobs * _JOB_SECONDS_MAX)
    await house.arrivals(jobs)


async def _claim_over_rest(house: House, jobs: int) -> None:
    await worker_rows.over_rest(house, jobs=jobs, batch=_BATCH)


async def _claim_over_grpc(house: House, jobs: int) -> None:
    await worker_rows.over_grpc(
        house,
        kind="work",
        batch=_BATCH,
        callers=worker_rows.WORKERS,
        channels=worker_rows.WORKERS,
        jobs=jobs,
    )


_TARGETS: Final = {"webhooks": "/hook", "slow webhooks": "/slow"}
_CARRYING: Final[dict[str, Callable[[House, int], Awaitable[None]]]] = {
    **dict.fromkeys(_TARGETS, _arrive),
    "REST workers": _claim_over_rest,
    "gRPC workers": _claim_over_grpc,
}


def _tell(rows: dict[str, Most], services: list[str]) -> int:
    names = list(dict.fromkeys(who for most in rows.values() for who in most))
    print(f"\n| {'MB at most':<22} | {' | '.join(names)} |")
    print(f"| {'-' * 22} | {' | '.join('-' * (len(n) - 1) + ':' for n in names)} |")
    for row, most in rows.items():
        cells = (f"{most.get(n, 0):.0f}".rjust(len(n)) for n in names)
        print(f"| {row:<22} | {' | '.join(cells)} |")
    over = sorted(
        {
            who
            for most in rows.values()
            for who, mb in most.items()
            if who in services and mb > SERVICE_MB_MAX
        }
    )
    verdict = f"{', '.join(over)} had more than" if over else "No service had more than"
    print(f"\n{verdict} {SERVICE_MB_MAX} MB.")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
