"""Who works in a service: named actors, each with one loop and its own state.

An actor is a coroutine that runs until *stopping* is set and then returns when its
work in hand is finished.  `keep` starts it again, with backoff, when it fails: one
broken message must not take the neighbours along.  An actor that keeps failing ends
the process, because a service that is wrong should not look healthy.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import structlog

from libs.common.loops import pause
from libs.common.metrics import ACTOR_FAILURES

log = structlog.get_logger()

T = TypeVar("T")

_RESTARTS_MAX: Final = 10
#: An actor that lived this long has recovered: its failures are forgotten.
_FORGET_AFTER_SECONDS: Final = 60.0
_RESTART_SECONDS_MAX: Final = 5.0


async def keep(
    name: str, actor: Callable[[], Awaitable[None]], *, stopping: asyncio.Event
) -> None:
    """Run *actor* until it returns; start it again when it fails.

    Raises what the actor raised when it failed more than ten times without living a
    minute, or when it fails while the service is stopping.
    """
    loop = asyncio.get_running_loop()
    failures = 0
    # Shown before it happens: from nothing to one is no increase to Prometheus.
    counter = ACTOR_FAILURES.labels(actor=name)
    while True:
        started = loop.time()
        try:
            await actor()
        except Exception:
            if loop.time() - started > _FORGET_AFTER_SECONDS:
                failures = 0
            failures += 1
            counter.inc()
            log.exception("actor.failed", actor=name, failures=failures)
            if failures > _RESTARTS_MAX or stopping.is_set():
                raise
            await pause(min(0.1 * 2**failures, _RESTART_SECONDS_MAX), stopping)
        else:
            return


async def spare(name: str, work: Callable[[], Awaitable[T]]) -> T | None:
    """Return what *work* returns, or None when it fails: its neighbours are spared.

    For one piece of work among many in a TaskGroup.  What fails is a bug; it is
    logged and counted under *name*.
    """
    try:
        return await work()
    except Exception:
        ACTOR_FAILURES.labels(actor=name).inc()
        log.exception("work.failed", work=name)
        return None
