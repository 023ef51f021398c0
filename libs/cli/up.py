"""``bellhop up``: run the stack until told to stop."""

import asyncio
import contextlib
import os
import signal
from functools import partial

import click

from libs.cli.commands import Command
from libs.cli.guide import guide
from libs.cli.lock import take_lock
from libs.cli.options import replicas_option
from libs.cli.output import Output
from libs.cli.settings import StackSettings
from libs.cli.stack import run_stack
from libs.cli.stack_file import StackFile
from libs.common.log import start_logging


@click.command(cls=Command)
@replicas_option
@click.pass_obj
def up(out: Output, replicas: int | None) -> None:
    """Run the stack until Ctrl-C or SIGTERM.

    With --json it prints one line when everything is ready: what `stack.json` has.
    """
    settings = StackSettings.from_env()
    if replicas is not None:
        settings = settings.model_copy(update={"replicas": replicas})
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    start_logging("stack", level="warning")
    pid = os.getpid()
    take_lock(settings.data_dir, pid=pid)
    _say(out, f"Bellhop starts in {settings.data_dir}.")
    asyncio.run(_until_told(settings, out, pid=pid))
    _say(out, "Bellhop has stopped.")


async def _until_told(settings: StackSettings, out: Output, *, pid: int) -> None:
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
        _say(out, "\nStopping (again to hurry) …")

    def ready(stack: StackFile) -> None:
        with contextlib.suppress(OSError):
            out.result(stack.model_dump(), f"{guide(stack, settings)}\n")

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, tell)
    try:
        await run_stack(
            settings, pid=pid, hurry=hurry, say=partial(_say, out), ready=ready
        )
    except asyncio.CancelledError:
        if not told:
            raise


def _say(out: Output, text: str) -> None:
    # A terminal that was closed, or a pipe, must not keep us from stopping well.
    with contextlib.suppress(OSError):
        out.say(text)
