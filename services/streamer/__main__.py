"""``python -m services.streamer``: run the streamer."""

import sys
from functools import partial

from libs.common.runner import run
from services.streamer.service import serve
from services.streamer.settings import Settings


def main() -> int:
    """Run until told to stop; return the exit code."""
    settings = Settings.from_env()
    return run("streamer", partial(serve, settings), settings)


if __name__ == "__main__":
    sys.exit(main())
