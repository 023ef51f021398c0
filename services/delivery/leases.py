"""What this pod carries, and how it says so.

A lease that no pod names runs out after its time, so the pod names what it carries
once a second.  A batch that arrives is named before its first attempt begins: if the
attempt takes this process down, it is known under which jobs it died.  The same word
gives the dispatchers their credit.  A lease is named until the last of its jobs is
put down, which is when its verdict is committed, and not when its attempt has ended.
"""

import asyncio
from typing import Final

from libs.common.bus import Bus
from libs.common.loops import pause
from libs.common.messages import LeasesHeld
from services.delivery.metrics import IN_FLIGHT

_SAY_SECONDS: Final = 1.0


class Leases:
    """The leases in hand (an actor: it says what it holds until it is closed)."""

    def __init__(
        self, bus: Bus, *, pod: str, slots: int, stopping: asyncio.Event
    ) -> None:
        self._bus = bus
        self._pod = pod
        self._slots = slots
        self._stopping = stopping
        #: dispatcher → lease id → jobs not yet put down.
        self._held: dict[str, dict[str, int]] = {}
        self._jobs = 0
        self._room = asyncio.Event()
        self._closed = asyncio.Event()
        IN_FLIGHT.set_function(lambda: self._jobs)

    async def accept(self, dispatcher: str, lease_id: str) -> None:
        """Say that a batch has arrived, and no more than that."""
        await self._bus.ring(self._word({dispatcher: [lease_id]}))

    def take(self, dispatcher: str, lease_id: str) -> None:
        """Carry one more job of a lease."""
        leases = self._held.setdefault(dispatcher, {})
        leases[lease_id] = leases.get(lease_id, 0) + 1
        self._jobs += 1

    def put_down(self, dispatcher: str, lease_id: str) -> None:
        """Let go of one job: its verdict is committed, or there will be none."""
        leases = self._held[dispatcher]
        leases[lease_id] -= 1
        if not leases[lease_id]:
            del leases[lease_id]
        if not leases:
            del self._held[dispatcher]
        self._jobs -= 1
        if self._jobs < self._slots:
            self._room.set()

    async def room(self) -> None:
        """Return when there is room for a batch, or when stopping."""
        while self._jobs >= self._slots and not self._stopping.is_set():
            self._room.clear()
            await pause(_SAY_SECONDS, self._room, self._stopping)

    async def say(self) -> None:
        """Say what is held until closed, and then that it is nothing (an actor)."""
        while not self._closed.is_set():
            await self._bus.ring(self._word(self._named()))
            await pause(_SAY_SECONDS, self._closed)
        await self._bus.ring(self._word(self._named()))

    def close(self) -> None:
        """Take nothing more; everything is put down."""
        self._closed.set()

    def _named(self) -> dict[str, list[str]]:
        return {name: list(leases) for name, leases in self._held.items()}

    def _word(self, leases: dict[str, list[str]]) -> LeasesHeld:
        return LeasesHeld(
            pod=self._pod,
            # Who is about to go gives no credit.
            slots=0 if self._stopping.is_set() else self._slots,
            leases=leases,
        )
