"""``python -m services.delivery``: run the delivery service."""

import sys
from functools import partial

from libs.common.runner import run
from services.delivery.service import serve
from services.delivery.settings import Settings


def main() -> int:
    """Run until told to stop; return the exit code."""
    settings = Settings.from_env()
    return run("delivery", partial(serve, settings), settings)


if __name__ == "__main__":
    sys.exit(main())
