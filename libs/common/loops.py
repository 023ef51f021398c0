"""Loops that hear the stop signal: take a turn, then wait for a bell or a while."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from libs.common.errors import Transient

log = structlog.get_logger()


class Doorbell:
    """Wakes whoever waits; rings while nobody waits are remembered as one.

    Hints get lost, so a wait always ends by itself after *at_most* seconds.
    """

    def __init__(self, stopping: asyncio.Event) -> None:
        self._rung = asyncio.Event()
        self._stopping = stopping

    def ring(self) -> None:
        """Wake the one who waits, or the next one."""
        self._rung.set()

    async def wait(self, *, at_most: float) -> None:
        """Return when rung, when stopping, or after *at_most* seconds."""
        await pause(at_most, self._rung, self._stopping)
        # Before the caller looks at the table: a ring during the look must count.
        self._rung.clear()


async def on_bell(
    turn: Callable[[], Awaitable[bool]],
    *,
    bell: Doorbell,
    poll_seconds: float,
    stopping: asyncio.Event,
) -> None:
    """Take turns while there is more, then wait for the bell, until stopped.

    A `Transient` error costs one turn and a wait.  Any other error ends the loop.
    """
    while not stopping.is_set():
        try:
            more = await turn()
        except Transient as error:
            log.warning("loop.turn_lost", turn=_name(turn), cause=str(error))
            more = False
        if not more:
            await bell.wait(at_most=poll_seconds)


async def every(
    seconds: float, turn: Callable[[], Awaitable[object]], *, stopping: asyncio.Event
) -> None:
    """Take a turn every so often until stopped; errors as in `on_bell`."""
    while not stopping.is_set():
        try:
            await turn()
        except Transient as error:
            log.warning("loop.turn_lost", turn=_name(turn), cause=str(error))
        await pause(seconds, stopping)


async def pause(seconds: float, *events: asyncio.Event) -> None:
    """Return after *seconds*, or as soon as one of *events* is set."""
    if any(event.is_set() for event in events):
        return
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


def _name(turn: Callable[..., object]) -> str:
    return getattr(turn, "__qualname__", None) or repr(turn)
