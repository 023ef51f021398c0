"""Requests that take too long are given up, by one watchdog for all of them.

A timer of its own for each request would cost more than most requests do.  So the
requests under way stand in a set, and while there are any somebody walks through it now
and then: who is over is cancelled, at most a thirtieth of the usual time late.
"""

import asyncio
import math
from types import TracebackType
from typing import Final, Self

#: How often to look, as a part of the usual time.
_LOOKS: Final = 30


class Deadline:
    """When one request must be over; a block that is cancelled when it is not.

    `expired` says whether it was.  Moments are the event loop's.
    """

    __slots__ = ("_cancelling", "_task", "_watchdog", "at", "expired")

    def __init__(self, watchdog: "Watchdog", task: asyncio.Task[object]) -> None:
        self._watchdog = watchdog
        self._task = task
        self._cancelling = task.cancelling()
        self.at = asyncio.get_running_loop().time() + watchdog.seconds
        self.expired = False

    def __enter__(self) -> Self:
        self._watchdog.watch(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave; raises ``TimeoutError`` when the deadline alone ended the block."""
        self._watchdog.leave(self)
        if (
            self.expired
            and self._task.uncancel() <= self._cancelling
            and kind is asyncio.CancelledError
        ):
            raise TimeoutError from error

    def move(self, seconds: float | None) -> None:
        """Be over that many seconds from now; None: whenever it wants."""
        now = asyncio.get_running_loop().time()
        self.at = math.inf if seconds is None else now + seconds

    def expire(self) -> None:
        """Cancel what stands in the block."""
        self.expired = True
        self._task.cancel()


class Watchdog:
    """Watches the deadlines of one event loop; each is *seconds* away at first."""

    def __init__(self, seconds: float) -> None:
        self.seconds: Final = seconds
        self._look_seconds: Final = seconds / _LOOKS
        self._open: set[Deadline] = set()
        self._looks = False

    def deadline(self) -> Deadline:
        """Return the deadline of the task that asks."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("only a task can be given up")
        return Deadline(self, task)

    def watch(self, deadline: Deadline) -> None:
        """Watch one more."""
        self._open.add(deadline)
        if not self._looks:
            self._looks = True
            self._look_later()

    def leave(self, deadline: Deadline) -> None:
        """Watch it no more."""
        self._open.discard(deadline)

    def _look(self) -> None:
        self._looks = bool(self._open)
        if not self._looks:
            return
        now = asyncio.get_running_loop().time()
        for deadline in [one for one in self._open if one.at <= now]:
            self._open.discard(deadline)
            deadline.expire()
        self._look_later()

    def _look_later(self) -> None:
        asyncio.get_running_loop().call_later(self._look_seconds, self._look)
