"""``python -m services.dispatcher``: run the dispatcher service."""

import sys
from functools import partial

from libs.common.runner import run
from services.dispatcher.service import serve
from services.dispatcher.settings import Settings


def main() -> int:
    """Run until told to stop; return the exit code."""
    settings = Settings.from_env()
    return run("dispatcher", partial(serve, settings), settings)


if __name__ == "__main__":
    sys.exit(main())
