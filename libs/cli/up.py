"""``bellhop up``: run the stack until told to stop."""

import argparse
import asyncio
import contextlib
import os
import signal

from libs.cli.lock import take_lock
from libs.cli.settings import StackSettings
from libs.cli.stack import run_stack
from libs.common.log import start_logging


def up(_: argparse.Namespace) -> int:
    """Run the stack until Ctrl-C or SIGTERM; return the exit code."""
    settings = StackSettings.from_env()
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    start_logging("stack", level="warning")
    pid = os.getpid()
    take_lock(settings.data_dir, pid=pid)
    _say(f"Bellhop starts in {settings.data_dir}.")
    asyncio.run(_until_told(settings, pid=pid))
    _say("Bellhop has stopped.")
    return 0


async def _until_told(settings: StackSettings, *, pid: int) -> None:
    """Run the stack; the first signal cancels it, the next ones hurry it."""
    loop = asyncio.get_running_loop()
    running = asyncio.current_task()
    assert running is not None  # noqa: S101 - this is a coroutine of asyncio.run
    told = False
    hurry = asyncio.Event()

    def tell() -> None:
        nonlocal told
        if told:
            hurry.set()
            return
        told = True
        running.cancel()
        _say("\nStopping (again to hurry) …")

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, tell)
    try:
        await run_stack(settings, pid=pid, hurry=hurry, say=_say)
    except asyncio.CancelledError:
        if not told:
            raise


def _say(text: str) -> None:
    # A terminal that was closed, or a pipe, must not keep us from stopping well.
    with contextlib.suppress(OSError):
        print(text, flush=True)
