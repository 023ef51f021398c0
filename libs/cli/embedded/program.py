"""A child process that never outlives its parent.

A child gets no Ctrl-C from the terminal (it has a session of its own): whoever
started it stops it, in the right order.  Should the parent be killed outright, the
kernel tells the child (``PR_SET_PDEATHSIG``, set by util-linux's ``setpriv``, which
every Debian has; without it, on other systems, such a child stays behind).
"""

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from io import BufferedWriter
from pathlib import Path
from typing import Final

from libs.common.errors import BellhopError

#: A log that has grown past this is put aside at the next start; one is kept.
_LOG_BYTES_MAX: Final = 16 * 1024 * 1024
_TAIL_BYTES: Final = 2000
#: How long a killed process may take to be gone.
_KILLED_SECONDS: Final = 10.0

#: Embedded servers see nothing of the user's environment (PGDATA, PGOPTIONS, …).
CLEAN_ENVIRONMENT: Final = {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "TZ": "UTC"}


class DidNotStart(BellhopError):  # noqa: N818 - what is wrong, no "Error" at the end
    """A program ended, or kept us waiting too long, before it was ready."""


class Program:
    """A program that can be started, stopped and started again.

    It logs to a file, or, without one, to where this process does.
    """

    def __init__(self, log: Path | None) -> None:
        self._log: Final = log
        self._process: asyncio.subprocess.Process | None = None
        self._log_begins = 0

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int:
        """The id of the process; raises `DidNotStart` when it was never started."""
        if self._process is None:
            raise DidNotStart("it was not started")
        return self._process.pid

    async def start(
        self, command: Sequence[str | Path], *, environment: Mapping[str, str]
    ) -> None:
        """Start *command*, which must say by itself how it dies with its parent."""
        with (
            contextlib.nullcontext()
            if self._log is None
            else _open_log(self._log) as log
        ):
            self._log_begins = 0 if log is None else log.tell()
            self._process = await asyncio.create_subprocess_exec(
                *command,
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def wait(self) -> int:
        """Return the exit code once the process has ended; minus a signal's number."""
        return 0 if self._process is None else await self._process.wait()

    async def stop(
        self, number: signal.Signals, *, patience_seconds: float = 10.0
    ) -> None:
        """Ask the process to end; kill it when that takes too long.  Safe to repeat."""
        self.send(number)
        try:
            async with asyncio.timeout(patience_seconds):
                await self.wait()
        except TimeoutError:
            await self.kill()

    async def kill(self) -> None:
        """End the process the hard way."""
        self.send(signal.SIGKILL)
        async with asyncio.timeout(_KILLED_SECONDS):
            await self.wait()

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if the process is there."""
        if self._process is not None and self.running:
            self._process.send_signal(number)

    def last_words(self) -> str:
        """Return the end of what the program logged since it was started last."""
        if self._log is None:
            return ""
        with self._log.open("rb") as log:
            end = log.seek(0, os.SEEK_END)
            log.seek(max(self._log_begins, end - _TAIL_BYTES))
            return log.read().decode(errors="replace").strip()


def dying_with_parent(
    command: Sequence[str | Path], *, by: signal.Signals
) -> list[str | Path]:
    """Return *command* so that it gets the signal *by* when its parent is gone."""
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        return [*command]
    return [setpriv, f"--pdeathsig={by.name.removeprefix('SIG')}", "--", *command]


def _open_log(path: Path) -> BufferedWriter:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > _LOG_BYTES_MAX:
        path.replace(path.with_suffix(".log.1"))
    return path.open("ab")
