"""``python -m bench.peers``: measure Bellhop beside other queues on this machine."""

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from bench.children import Broken
from bench.house import open_house
from bench.peers import comparison
from bench.peers.environments import Environments
from bench.peers.measuring import NAMES, compare, install
from bench.peers.roster import PEERS
from bench.row import Options
from libs.common.errors import BellhopError
from libs.common.log import start_logging

BENCH = Path(__file__).parents[1]
LATEST = BENCH / "peers-latest.json"
ENVIRONMENTS = BENCH / ".peers"
_PEERS = {peer.name.lower(): peer for peer in PEERS}

_LEGEND = """\
Bellhop    its own figure, measured just before: jobs a second, or the p50 if it is
           the latency that counts
ratio      Bellhop's figure to the peer's: it is faster above 1, for latency below 1
strangers  cores that other programs kept busy meanwhile: above 0.1, measure again
"""


def main() -> int:
    """Measure and print; return 0 when what could be measured was also right."""
    arguments = _arguments()
    start_logging("bench", level="warning")
    try:
        return uvloop.run(_measure(arguments))
    except (Broken, BellhopError) as error:
        print(f"bench.peers: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("bench.peers: stopped", file=sys.stderr)
        return 130


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.peers",
        description="Measure Bellhop beside other queues, on one Postgres and with one "
        "receiver, all on this machine. Each peer is installed into an environment of "
        "its own below bench/.peers; one that cannot be is skipped.",
    )
    parser.add_argument(
        "--peers",
        type=lambda text: _named(text.lower(), _PEERS),
        default=list(_PEERS),
        metavar="A,B",
        help="only these: " + ", ".join(_PEERS),
    )
    parser.add_argument(
        "--rows",
        type=lambda text: _named(text, NAMES),
        default=list(NAMES),
        metavar="A,B",
        help="only these: " + ", ".join(NAMES),
    )
    parser.add_argument(
        "--runs",
        type=int,
        default=3,
        help="times to measure each row, of which the middle one counts (3)",
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=20_000,
        help="jobs of a drain, of which a faster peer has more (20000)",
    )
    parser.add_argument(
        "--seconds", type=float, default=5.0, help="length of the other rows (5)"
    )
    arguments = parser.parse_args()
    if not 100 <= arguments.jobs <= 1_000_000:
        parser.error("--jobs: between 100 and 1000000")
    if not 1 <= arguments.seconds <= 300:
        parser.error("--seconds: between 1 and 300")
    if not 1 <= arguments.runs <= 99:
        parser.error("--runs: between 1 and 99")
    return arguments


def _named(text: str, known: object) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in known:  # type: ignore[operator]
            raise argparse.ArgumentTypeError(f"there is no {name!r}")
    return names


async def _measure(arguments: argparse.Namespace) -> int:
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    began = time.monotonic()

    def tell(sentence: str) -> None:
        print(f"{time.monotonic() - began:6.0f} s  {sentence}", flush=True)

    options = Options(
        jobs=arguments.jobs, seconds=arguments.seconds, runs=arguments.runs
    )
    peers = [_PEERS[name] for name in arguments.peers]
    installed = await asyncio.to_thread(
        install, peers, Environments(ENVIRONMENTS), tell
    )
    with tempfile.TemporaryDirectory(prefix="bellhop-peers-") as directory:
        async with open_house(Path(directory)) as house:
            tell("the house runs")
            found = await compare(house, installed, arguments.rows, options, tell)
    print(f"\n{comparison.as_table(found)}\n\n{comparison.in_words(found)}\n")
    print(_LEGEND)
    comparison.write(LATEST, found)
    print(f"Written to {LATEST}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
