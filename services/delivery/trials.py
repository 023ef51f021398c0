"""Attempts that somebody waits for: tests, outside every queue.

They are made like any other, by the same sender, signed by the same keys, and through
the same guard; but nothing is leased or reported.  They have places of their own, so
that they take none from the deliveries and wait for none: who finds them all taken is
told at once that nothing was sent.
"""

import asyncio
from functools import partial
from typing import Final

import msgspec

from libs.common.actors import spare
from libs.common.bus import Bus, Question, read
from libs.common.messages import AttemptWanted, Verdict
from services.delivery.inbox import tell
from services.delivery.manners import Manners
from services.delivery.sender import Sender, unsent

#: Each question goes to one of the pods.
_GROUP: Final = "pods"
#: How many tests a pod makes at once.
_TRIALS_MAX: Final = 16


class Trials:
    """Makes tests (an actor)."""

    def __init__(
        self,
        bus: Bus,
        *,
        sender: Sender,
        manners: Manners,
        stopping: asyncio.Event,
    ) -> None:
        self._bus = bus
        self._sender = sender
        self._manners = manners
        self._stopping = stopping
        self._under_way = 0

    async def run(self) -> None:
        """Make tests until stopped; return when the last has been answered."""
        async with asyncio.TaskGroup() as trials:
            await self._bus.answer(
                AttemptWanted.subject,
                partial(self._begin, trials),
                stopping=self._stopping,
                group=_GROUP,
            )

    def _begin(self, trials: asyncio.TaskGroup, question: Question) -> None:
        if self._stopping.is_set():
            return  # Whoever asks, asks again.
        self._under_way += 1
        task = trials.create_task(spare("trial", partial(self._try, question)))
        task.add_done_callback(self._ended)

    def _ended(self, _: asyncio.Task[None]) -> None:
        self._under_way -= 1

    async def _try(self, question: Question) -> None:
        wanted = read(AttemptWanted, question.data)
        if wanted is None:
            return
        verdict = await self._verdict(wanted)
        await question.answer(msgspec.json.encode(verdict))

    async def _verdict(self, wanted: AttemptWanted) -> Verdict:
        job = wanted.job
        if self._under_way > _TRIALS_MAX:
            return unsent(job, lease_id="")
        manner = self._manners.of_job(
            job, secrets=wanted.secrets, receiver=wanted.receiver
        )
        if manner is None:
            return unsent(job, lease_id="")
        body = bytes(job.body) if job.body_bytes else b""
        verdict = await self._sender.attempt(job, body, manner, lease_id="")
        if verdict.sent:
            tell(job, verdict)
        return verdict
