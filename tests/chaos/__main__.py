"""``python -m tests.chaos``: break the house; exit 1 if it broke a promise."""

import argparse
import asyncio
import faulthandler
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.builds import BUILDS
from tests.chaos.plan import LASTING
from tests.chaos.report import complaint, figures, lasted
from tests.chaos.rules import check
from tests.chaos.run import Asked, run
from tests.support import databases


def main() -> int:
    """Run once; return 0 when every promise was kept."""
    asked, keep = _arguments()
    # Says where it is, should it ever stand still.
    faulthandler.register(signal.SIGUSR1)
    print(f"seed {asked.seed}: {len(asked.plan)} faults", flush=True)
    for planned in asked.plan:
        print(planned, flush=True)
    directory = Path(
        tempfile.mkdtemp(prefix="bellhop-chaos-", dir=databases.quick_directory())
    )
    began = time.monotonic()
    kept = True
    try:
        story = asyncio.run(run(asked, directory))
        violations = check(story)
        kept = keep or bool(violations)
        print(
            f"\nafter {lasted(time.monotonic() - began)}:\n"
            + figures(
                story,
                seed=asked.seed,
                seconds=asked.seconds,
                replicas=asked.replicas,
            )
        )
        if not violations:
            print("\nevery promise was kept")
            return 0
        print(f"\n{len(violations)} violations: {complaint(violations, story)}")
        return 1
    finally:
        if kept:
            print(f"\nhistory and logs are kept in {directory}")
        else:
            shutil.rmtree(directory)


def _arguments() -> tuple[Asked, bool]:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300, help="of faults")
    parser.add_argument("--seed", type=int, default=1, help="what chance begins with")
    parser.add_argument("--replicas", type=int, default=2, help="of each service")
    parser.add_argument(
        "--faults",
        default=",".join(LASTING),
        help="which, separated by commas; 'none' for none (default: %(default)s)",
    )
    parser.add_argument(
        "--build", choices=BUILDS, default="sound", help="the others are broken"
    )
    parser.add_argument("--keep", action="store_true", help="keep history and logs")
    given = parser.parse_args()
    faults = [] if given.faults == "none" else given.faults.split(",")
    unknown = set(faults) - LASTING.keys()
    if unknown:
        parser.error(f"no such faults: {', '.join(sorted(unknown))}")
    asked = Asked(given.seconds, given.seed, given.replicas, faults, given.build)
    return asked, given.keep


if __name__ == "__main__":
    sys.exit(main())
