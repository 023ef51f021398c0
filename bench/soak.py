"""``python -m bench.soak``: whether the memory of the services stays where it is.

The house carries webhooks at half of what it can sustain, while workers claim and
complete.  Every few seconds the resident memory of each process is noted.  A service
grows when the line through what it had after the first third rises by more than chance.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import uvloop

from bench import memory, worker_rows
from bench.children import Broken
from bench.house import House, open_house
from bench.row import Options
from bench.rows import webhook_sustained
from libs.common.errors import BellhopError
from libs.common.log import start_logging

LATEST: Final = Path(__file__).parent / "soak-latest.json"
_LOOK_SECONDS: Final = 5.0
#: Load comes in pieces of this length, so that nothing of ours grows with the soak.
_PIECE_SECONDS: Final = 20.0
_WORK_PER_SECOND: Final = 20
_TRIAL_SECONDS: Final = 5.0
_WARM_SHARE: Final = 1 / 3
#: Rising by less than this, and by less than this part, is the allocator's business.
_GROWTH_MB: Final = 8.0
_GROWTH_SHARE: Final = 0.05

#: When (seconds), and what each process had then (MB).
Sample = tuple[float, dict[str, float]]


def main() -> int:
    """Soak and print; return 0 when no service grows."""
    arguments = _arguments()
    start_logging("bench", level="warning")
    try:
        return uvloop.run(_soak(arguments.seconds))
    except (Broken, BellhopError) as error:
        print(f"bench.soak: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("bench.soak: stopped", file=sys.stderr)
        return 130


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.soak",
        description="Note the memory of every process while the house carries half of "
        "what it can, and fail when a service grows.",
    )
    parser.add_argument(
        "--seconds", type=float, default=600.0, help="for how long (600)"
    )
    arguments = parser.parse_args()
    if not 60 <= arguments.seconds <= 86_400:
        parser.error("--seconds: between 60 and 86400")
    return arguments


async def _soak(seconds: float) -> int:
    with tempfile.TemporaryDirectory(prefix="bellhop-soak-") as directory:
        async with open_house(Path(directory)) as house:
            trial = await webhook_sustained(house, Options(0, _TRIAL_SECONDS))
            rate = trial.rate / 2
            print(f"{seconds:.0f} s at {rate:,.0f} webhooks a second.", flush=True)
            samples: list[Sample] = []
            looking = asyncio.create_task(_look(house, samples))
            try:
                await _carry(house, seconds=seconds, rate=rate)
            finally:
                looking.cancel()
            await house.settled()
            await house.announced()
            await house.check_invariants()
            kinds = [one.kind for one in house.services.values() if one.running]
    return _tell(samples, kinds, rate)


async def _look(house: House, samples: list[Sample]) -> None:
    began = time.monotonic()
    while True:
        had = {name: memory.resident_mb(pid) for name, pid in house.pids.items()}
        samples.append((time.monotonic() - began, had))
        if len(samples) == 1:
            print(f"{'s':>6}  {'  '.join(f'{name:>10}' for name in had)}")
        line = "  ".join(f"{mb:>10.1f}" for mb in had.values())
        print(f"{samples[-1][0]:>6.0f}  {line}", flush=True)
        await asyncio.sleep(_LOOK_SECONDS)


async def _carry(house: House, *, seconds: float, rate: float) -> None:
    """Keep the house half busy for so long, and see that everything arrived, once."""
    ends_at = time.monotonic() + seconds
    while (left := ends_at - time.monotonic()) > 0:
        piece = min(left, _PIECE_SECONDS)
        await house.forget_arrivals()
        webhooks, _ = await asyncio.gather(
            house.load(target=house.sink_url, seconds=piece, rate=rate),
            _work(house, seconds=piece),
        )
        await house.arrived(webhooks.requests, at_most=piece + 60)
        await house.arrivals(webhooks.requests)


async def _work(house: House, *, seconds: float) -> None:
    result = await house.load(connections=1, seconds=seconds, rate=_WORK_PER_SECOND)
    await worker_rows.over_grpc(
        house, kind="work", callers=4, channels=4, jobs=result.requests
    )


def _tell(samples: Sequence[Sample], services: Sequence[str], rate: float) -> int:
    growing = []
    for name in services:
        grown = growth_mb([(at, had[name]) for at, had in samples if name in had])
        last = samples[-1][1][name]
        grows = grown > max(_GROWTH_MB, _GROWTH_SHARE * last)
        growing += [name] * grows
        print(f"  {name:<11} {grown:+6.1f} MB {'grows' if grows else 'flat'}")
    data = {"webhooks_per_second": rate, "growing": growing, "samples": samples}
    LATEST.write_text(json.dumps(data, indent=1) + "\n")
    print(f"Written to {LATEST}.")
    return 1 if growing else 0


def growth_mb(had: Sequence[tuple[float, float]]) -> float:
    """Return by how much the line through *had* (seconds, MB) rises, warm-up left out.

    The line is that of least squares; what is returned is its rise from the first to
    the last that counts.
    """
    counted = had[int(len(had) * _WARM_SHARE) :]
    if len(counted) < 2:
        return 0.0
    middle_at = sum(at for at, _ in counted) / len(counted)
    middle_mb = sum(mb for _, mb in counted) / len(counted)
    spread = sum((at - middle_at) ** 2 for at, _ in counted)
    together = sum((at - middle_at) * (mb - middle_mb) for at, mb in counted)
    return together / spread * (counted[-1][0] - counted[0][0])


if __name__ == "__main__":
    sys.exit(main())
