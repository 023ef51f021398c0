"""``python -m services.delivery``: run the delivery service."""

import gc
import resource
import sys
from functools import partial

from libs.common.runner import run
from services.delivery.service import serve
from services.delivery.settings import Settings


def main() -> int:
    """Run until told to stop; return the exit code."""
    settings = Settings.from_env()
    make_room()
    return run(
        "delivery",
        partial(serve, settings),
        drain_seconds=settings.drain_seconds,
        log_level=settings.log_level,
    )


def make_room() -> None:
    """Let this process have many connections, and many objects that soon go again."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    # A thousand attempts under way are a hundred thousand objects, and almost none
    # is in a cycle: looking for cycles as often as Python does by default takes a
    # third of the processor (measured).
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


if __name__ == "__main__":
    sys.exit(main())
