"""``python -m services.scheduler``: run the scheduler service."""

import sys
from functools import partial

from libs.common.runner import run
from services.scheduler.service import serve
from services.scheduler.settings import Settings


def main() -> int:
    """Run until told to stop; return the exit code."""
    settings = Settings.from_env()
    return run("scheduler", partial(serve, settings), settings)


if __name__ == "__main__":
    sys.exit(main())
