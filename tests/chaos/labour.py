"""Workers and their jobs: most are diligent, some fail, vanish, or sleep too long."""

import asyncio
import random
from dataclasses import dataclass
from itertools import count
from typing import Final

from tests.chaos.asking import Client
from tests.chaos.hands import LEASE_SECONDS, Hands, Held
from tests.chaos.history import History
from tests.chaos.producers import PATIENT

WORK: Final = "work"
#: Whoever takes a job from here first sleeps through its lease; the next one keeps it.
NAPS: Final = "naps"
STEPS: Final = "steps"
_RENEW_SECONDS: Final = 1.5
_OVERSLEPT_SECONDS: Final = LEASE_SECONDS + 3.0
_PAUSE_SECONDS: Final = 0.2


async def hand_in_work(
    client: Client, luck: random.Random, stopping: asyncio.Event, *, rate: float
) -> None:
    """Create jobs for workers until stopped, each until it is answered."""
    tenant = str(client.tenant.id)

    async def one(number: int) -> None:
        queue = NAPS if number % 20 == 0 else WORK
        key = f"{tenant} work {number}"
        body = {
            "queue_name": queue,
            "payload": {"n": number},
            "max_retries": PATIENT,
            "retry": {"strategy": "schedule", "schedule_seconds": [0.3], "jitter": 0},
            "idempotency_key": key,
        }
        answer = await client.surely("POST", "/jobs", body)
        if answer is not None:
            assert answer.status in {200, 201}, answer
            client.history.note(
                "accepted", answer.body["id"], kind=queue, key=key, tenant=tenant
            )

    numbers = count()
    async with asyncio.TaskGroup() as tasks:
        while not stopping.is_set():
            if not client.has_enough:
                tasks.create_task(one(next(numbers)))
            await asyncio.sleep(luck.expovariate(rate))


@dataclass
class Labourer:
    """One worker: claims a few, does what chance has with each of them."""

    name: str
    queue: str
    hands: Hands
    history: History
    luck: random.Random
    #: Set when the worker is to go home; what it has it finishes.
    over: asyncio.Event

    async def work(self) -> None:
        """Work until told that it is over."""
        async with asyncio.TaskGroup() as tasks:
            while not self.over.is_set():
                held = await self.hands.claim(self.queue, self.name, 3)
                if held is None:
                    await asyncio.sleep(_PAUSE_SECONDS)
                    continue
                for one in held:
                    self.history.note(
                        "claimed",
                        one.job,
                        asked_at=one.asked_at,
                        lease=one.lease,
                        worker=self.name,
                        seconds=LEASE_SECONDS,
                    )
                    tasks.create_task(self._work_on(one))

    async def _work_on(self, held: Held) -> None:
        chance = self.luck.random()
        if self.queue == NAPS:
            if held.tries == 0:
                await asyncio.sleep(_OVERSLEPT_SECONDS)
            else:
                await self._keep(held, turns=4)
            await self._settle(held, "completed")
        elif chance < 0.02:
            # Nobody hears of this worker again.
            return
        elif chance < 0.04:
            await asyncio.sleep(_OVERSLEPT_SECONDS)
            await self._settle(held, "completed")
        elif chance < 0.12:
            await self._keep(held, turns=2)
            await self._settle(held, "completed")
        elif chance < 0.2:
            await self._settle(held, "failed")
        else:
            await asyncio.sleep(self.luck.uniform(0, 0.1))
            await self._settle(held, "completed")

    async def _keep(self, held: Held, *, turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(_RENEW_SECONDS)
            asked_at = asyncio.get_running_loop().time()
            ours = await self.hands.renew(held, self.name)
            self.history.note(
                "renewed",
                held.job,
                asked_at=asked_at,
                lease=held.lease,
                worker=self.name,
                ours=ours,
                seconds=LEASE_SECONDS,
            )
            if ours is False:
                return

    async def _settle(self, held: Held, how: str) -> None:
        """Say how it ended until that is answered, or the lease is surely over."""
        settle = self.hands.complete if how == "completed" else self.hands.fail
        for _ in range(20):
            asked_at = asyncio.get_running_loop().time()
            ours = await settle(held, self.name)
            self.history.note(
                "settled",
                held.job,
                asked_at=asked_at,
                lease=held.lease,
                worker=self.name,
                how=how,
                ours=ours,
            )
            if ours is not None:
                return
            await asyncio.sleep(_PAUSE_SECONDS)
