"""Services as processes that are forked off one that has everything imported.

A fault ends a process every other second, and to start Python anew each time would take
more of the machine than the services themselves.  A fork is a process like any other:
it has a pid, memory and signals of its own, and dies when whoever forked it does.
"""

import asyncio
import ctypes
import importlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Final

import time_machine

from tests.chaos.builds import BUILDS
from tests.support.processes import Process, kind_of

_PR_SET_PDEATHSIG: Final = 1
_LOOK_SECONDS: Final = 0.02
_KINDS: Final = ("ingest", "dispatcher", "delivery", "scheduler", "streamer")


class Forked:
    """A process that was forked, seen as `asyncio.subprocess` shows its own."""

    def __init__(self, process: ForkServerProcess) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    async def wait(self) -> int:
        while (code := self.returncode) is None:
            await asyncio.sleep(_LOOK_SECONDS)
        return code


@dataclass(frozen=True)
class Fork:
    """Starts services of one *build*, each with its clock so many seconds ahead."""

    build: str
    clocks: dict[str, float]

    async def __call__(self, name: str, env: Mapping[str, str], log: Path) -> Process:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(
            [__name__, *(f"services.{kind}.__main__" for kind in _KINDS)]
        )
        process = context.Process(
            target=_serve,
            args=(
                kind_of(name),
                dict(env),
                str(log),
                self.build,
                self.clocks.get(name, 0.0),
            ),
            daemon=True,
        )
        await asyncio.to_thread(process.start)
        return Forked(process)


def _serve(kind: str, env: dict[str, str], log: str, build: str, clock: float) -> None:
    """Be a service, as ``python -m services.KIND`` is."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), 2)
    os.environ.clear()
    os.environ.update(env)
    BUILDS[build]()
    if clock:
        # The clock on the wall, wherever Python asks for it; monotonic time goes on.
        offset = timedelta(seconds=clock)
        time_machine.travel(datetime.now(UTC) + offset, tick=True).start()
    sys.exit(importlib.import_module(f"services.{kind}.__main__").main())
