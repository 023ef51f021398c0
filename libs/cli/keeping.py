"""What ends by itself is started again."""

import asyncio
import time
from collections.abc import Callable
from typing import Final, Protocol

from libs.cli.embedded.program import DidNotStart

_RESTART_SECONDS_MIN: Final = 0.2
_RESTART_SECONDS_MAX: Final = 10.0
#: What lived this long has recovered: its failures are forgotten.
_FORGET_AFTER_SECONDS: Final = 60.0


class Restartable(Protocol):
    """What can end by itself and be started again."""

    async def start(self) -> None:
        """Start it; return when it is ready; raises `DidNotStart`."""

    async def wait(self) -> int:
        """Return the exit code once it has ended."""


async def keep(
    name: str,
    program: Restartable,
    *,
    say: Callable[[str], None],
    note: Callable[[], object] | None = None,
) -> None:
    """Start *program* again whenever it ends, ever more slowly while it fails.

    *note* is called each time that it is back.
    """
    pause_seconds = _RESTART_SECONDS_MIN
    while True:
        started = time.monotonic()
        code = await program.wait()
        if time.monotonic() - started > _FORGET_AFTER_SECONDS:
            pause_seconds = _RESTART_SECONDS_MIN
        say(f"  {name} ended with code {code}; starting it again")
        await asyncio.sleep(pause_seconds)
        pause_seconds = min(pause_seconds * 2, _RESTART_SECONDS_MAX)
        try:
            await program.start()
        except DidNotStart as error:
            say(f"  {error}")
        else:
            say(f"  {name} is back")
            if note is not None:
                note()
