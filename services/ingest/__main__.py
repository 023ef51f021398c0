"""``python -m services.ingest``: run the ingest service."""

import sys
from functools import partial

from libs.common.runner import run
from services.ingest.service import serve
from services.ingest.settings import Settings


def main() -> int:
    """Run until told to stop; return the exit code."""
    settings = Settings.from_env()
    return run("ingest", partial(serve, settings), settings)


if __name__ == "__main__":
    sys.exit(main())
