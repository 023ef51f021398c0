"""Waiting for something to become true, with a deadline, and never for time to pass."""

import asyncio
import inspect
from collections.abc import Callable
from typing import Any, Final

_LOOK_SECONDS_MIN: Final = 0.005
_LOOK_SECONDS_MAX: Final = 0.1


async def until(check: Callable[[], Any], *, at_most: float = 10.0) -> Any:
    """Ask *check* until it says something true, and return that.

    A check may be async, and may assert: an `AssertionError` means not yet.  Raises
    `AssertionError` after *at_most* seconds, with what was last seen.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + at_most
    look_seconds = _LOOK_SECONDS_MIN
    while True:
        last: object
        try:
            answer = check()
            value = await answer if inspect.isawaitable(answer) else answer
        except AssertionError as error:
            last = error
        else:
            if value:
                return value
            last = value
        if loop.time() > deadline:
            name = getattr(check, "__qualname__", repr(check))
            raise AssertionError(f"{name}: not within {at_most} s, last: {last!r}")
        await asyncio.sleep(look_seconds)
        look_seconds = min(look_seconds * 1.5, _LOOK_SECONDS_MAX)
