"""``python -m bench``: measure the house on this machine."""

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from bench import table
from bench.children import Broken
from bench.house import open_house
from bench.row import Options, Row
from bench.rows import NAMES, measure_all
from libs.common.errors import BellhopError
from libs.common.log import start_logging

LATEST = Path(__file__).parent / "latest.json"

_LEGEND = """\
jobs/s     in rows about events, frames that clients were told
p50, p99   of a request; for latency, from accepted to arrived; for events, until told
events     how long after the row its last event was announced
ratio      our rate to that of the slowest part beside it; for latency, the p50 from
           the request on to that of a commit and a post
beside     the bare parts on the same machine, with their CPU a job; for events, how
           much memory the streamer took
strangers  cores that other programs kept busy meanwhile: above 0.1, look at ratios only
"""


def main() -> int:
    """Measure and print; return 0 when everything that was measured was also right."""
    arguments = _arguments()
    start_logging("bench", level="warning")
    try:
        return uvloop.run(_measure(arguments))
    except (Broken, BellhopError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except ExceptionGroup as group:
        # What went wrong beside something else that goes on, as those who watch do.
        told, bugs = group.split((Broken, BellhopError))
        if told is None or bugs is not None:
            raise
        print(f"bench: {told.exceptions[0]}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("bench: stopped", file=sys.stderr)
        return 130


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure jobs per second and latency, with Postgres, NATS, all "
        "services, the load and the receiver on this machine. Nothing outside of it "
        "is used, and nothing stays behind.",
    )
    parser.add_argument(
        "--jobs", type=int, default=20_000, help="webhooks to drain (default: 20000)"
    )
    parser.add_argument(
        "--seconds", type=float, default=5.0, help="length of the other rows (5)"
    )
    parser.add_argument(
        "--runs",
        type=int,
        default=3,
        help="times to measure each row, of which the middle one counts (3)",
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=NAMES,
        metavar="NAME",
        help="measure only this row, and write no file; may be repeated: "
        + ", ".join(NAMES),
    )
    arguments = parser.parse_args()
    if not 100 <= arguments.jobs <= 1_000_000:
        parser.error("--jobs: between 100 and 1000000")
    if not 1 <= arguments.seconds <= 300:
        parser.error("--seconds: between 1 and 300")
    if not 1 <= arguments.runs <= 99:
        parser.error("--runs: between 1 and 99")
    return arguments


async def _measure(arguments: argparse.Namespace) -> int:
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    options = Options(
        jobs=arguments.jobs, seconds=arguments.seconds, runs=arguments.runs
    )
    began = time.monotonic()

    def tell(row: Row) -> None:
        p50 = "" if row.p50_ms is None else f"   p50 {row.p50_ms:,.1f} ms"
        print(f"  {row.name:<19} {row.rate:>9,.0f} {row.unit}/s{p50}", flush=True)

    with tempfile.TemporaryDirectory(prefix="bellhop-bench-") as directory:
        async with open_house(Path(directory)) as house:
            print(f"The house runs after {time.monotonic() - began:.1f} s.", flush=True)
            rows = await measure_all(
                house, options, arguments.only or list(NAMES), tell
            )
    # As they stand in RESULTS.md.
    print(f"\n{table.results(rows)}\n\n{table.cpu(rows)}\n")
    print(_LEGEND)
    if not arguments.only:
        table.write(LATEST, rows)
        print(f"Written to {LATEST}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
