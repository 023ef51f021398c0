"""The life of a process: logging, the event loop, signals, the deadline to drain."""

import asyncio
import gc
import resource
import signal
from collections.abc import Awaitable, Callable

import structlog
import uvloop

from libs.common.log import start_logging
from libs.common.metrics import BUILD
from libs.common.settings import ServiceSettings
from libs.common.tracing import open_tracing
from libs.common.version import VERSION

log = structlog.get_logger()

Main = Callable[[asyncio.Event], Awaitable[None]]


def run(service: str, main: Main, settings: ServiceSettings) -> int:
    """Run *main* until it returns; return the exit code.

    0: it returned, by itself or within ``drain_seconds`` after SIGINT or SIGTERM.
    1: it failed, or did not stop in time.
    """
    start_logging(service, level=settings.log_level)
    BUILD.labels(version=VERSION).set(1)
    _make_room()
    drain_seconds = settings.drain_seconds
    try:
        with open_tracing(service, on=settings.traced):
            uvloop.run(until_stopped(main, drain_seconds=drain_seconds))
    except TimeoutError:
        log.error("service.drain_timed_out", drain_seconds=drain_seconds)  # noqa: TRY400
        return 1
    except Exception:
        log.exception("service.crashed")
        return 1
    log.info("service.stopped")
    return 0


def _make_room() -> None:
    """Let this process have many connections, and many objects that soon go again."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    # A thousand attempts under way are a hundred thousand objects, and almost none
    # is in a cycle: looking for cycles as often as Python does by default takes a
    # third of the processor (measured).
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


async def until_stopped(main: Main, *, drain_seconds: float) -> None:
    """Hand *main* an event that is set on the first SIGINT or SIGTERM.

    From then on *main* has *drain_seconds* to return before it is cancelled, in
    which case this raises `TimeoutError`.
    """
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()

    async with asyncio.timeout(None) as patience:

        def stop() -> None:
            if not stopping.is_set():
                log.info("service.draining", drain_seconds=drain_seconds)
                stopping.set()
                patience.reschedule(loop.time() + drain_seconds)

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop)
        try:
            await main(stopping)
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)
