"""Group commit: callers of the same moment share one statement.

While a batch is under way the next one gathers, so an idle service answers at once
and a busy one fills its batches by itself.  A second batch beside the first would only
make both smaller, and each statement has its price; so it starts when the first is
slow: it waits for a lock or a disk, or is a large one.

Where many came during a batch many more are on their way, still unread: the next one
waits for some of those, too.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Final, Generic, TypeVar

from libs.common.errors import Rejected
from libs.common.metrics import BATCH_SIZE, Distribution

Item = TypeVar("Item")
Answer = TypeVar("Answer")

#: How long a batch may be under way before the next one no longer waits for it.
_PATIENCE_SECONDS: Final = 0.005
#: How many turns of the loop a batch may wait for more.
_TURNS_MAX: Final = 16
#: How many come during a batch where the next one lets more gather, for how many times
#: as long as that batch took, and how long at most.
_MANY: Final = 8
_GATHER_TIMES: Final = 1
_GATHER_SECONDS_MAX: Final = 0.01


class Batcher(Generic[Item, Answer]):
    """Carries items to *flush* in batches, and each answer back to its caller.

    *flush* takes up to *batch_max* items and returns one answer each, in order.
    What a batch holds weighs up to *weight_max* together, as *weigh* says, or it is one
    item.  Up to *lanes* batches are under way at once, where some are slow.
    *took* observes how long each took that was carried (seconds).

    When a batch is `Rejected` its items are tried one by one, so that one bad item
    spoils nobody else's.  Any other error reaches every caller of the batch.

    A cancelled caller's item is dropped if it is not under way yet; if it is, it is
    carried all the same: cancelling says nothing about the commit.
    """

    def __init__(
        self,
        name: str,
        flush: Callable[[Sequence[Item]], Awaitable[Sequence[Answer]]],
        *,
        batch_max: int,
        lanes: int,
        weigh: Callable[[Item], int] | None = None,
        weight_max: int = 0,
        took: Distribution | None = None,
    ) -> None:
        # Asking which loop runs is a system call.
        self._loop: Final = asyncio.get_running_loop()
        self._flush = flush
        self._batch_max: Final = batch_max
        self._lanes: Final = lanes
        self._weigh = weigh
        self._weight_max: Final = weight_max
        #: Each with those that it came with, if they keep their order.
        self._waiting: list[tuple[Item, asyncio.Future[Answer], object]] = []
        #: Those of whom a part is under way while the rest waits for it.
        self._split: set[object] = set()
        self._under_way: set[asyncio.Task[None]] = set()
        self._carrying = 0
        self._is_patient = False
        self._began_at = 0.0
        self._size = BATCH_SIZE.labels(batch=name)
        self._took = took

    async def put(self, item: Item) -> Answer:
        """Carry *item* in the next batch; return its answer or raise its error."""
        future: asyncio.Future[Answer] = self._loop.create_future()
        self._waiting.append((item, future, None))
        self._start()
        return await future

    async def put_all(
        self, items: Sequence[Item], *, in_order: bool = False
    ) -> list[Answer]:
        """Carry *items* in as few batches as they fit in; return their answers.

        Those that are *in_order* never go in two batches at once, of which the second
        could overtake the first.  Raises the first error among them, after all of them
        have ended.
        """
        futures: list[asyncio.Future[Answer]] = [
            self._loop.create_future() for _ in items
        ]
        company = object() if in_order else None
        self._waiting += [
            (item, future, company) for item, future in zip(items, futures, strict=True)
        ]
        self._start()
        # Cancels them all with its caller, and looks at every error.
        await asyncio.gather(*futures, return_exceptions=True)
        return [future.result() for future in futures]

    async def drain(self) -> None:
        """Return when nothing waits and nothing is under way."""
        while self._under_way:
            await asyncio.wait(self._under_way)

    def _start(self) -> None:
        if not self._waiting:
            return
        if self._carrying == 0:
            self._begin()
        elif self._carrying < self._lanes and not self._is_patient:
            self._is_patient = True
            self._own(self._lose_patience())

    def _begin(self) -> None:
        self._carrying += 1
        self._own(self._carry())

    def _own(self, work: Coroutine[None, None, None]) -> None:
        # Owned by the set, awaited by `drain`.
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _carry(self) -> None:
        took_seconds = 0.0
        try:
            while self._waiting and self._waiting[0][2] not in self._split:
                if _MANY <= len(self._waiting) < self._batch_max:
                    await self._gather(_GATHER_TIMES * took_seconds)
                await self._board()
                # Meanwhile another lane may have gone with the first of those.
                if not self._waiting or self._waiting[0][2] in self._split:
                    break
                began_at = self._loop.time()
                await self._carry_next()
                took_seconds = self._loop.time() - began_at
        finally:
            self._carrying -= 1
            self._start()

    async def _carry_next(self) -> None:
        size = self._next_size()
        aboard = self._waiting[:size]
        del self._waiting[:size]
        company = aboard[-1][2]
        if company is not None and self._waiting and self._waiting[0][2] is company:
            self._split.add(company)
        try:
            batch = [(item, future) for item, future, _ in aboard if not future.done()]
            if batch:
                await self._try(batch)
        finally:
            self._split.discard(company)

    def _next_size(self) -> int:
        """Return how many of those who wait go together."""
        most = min(len(self._waiting), self._batch_max)
        if self._weigh is None:
            return most
        weight = 0
        for size, (item, *_) in enumerate(self._waiting[:most]):
            weight += self._weigh(item)
            if size and weight > self._weight_max:
                return size
        return most

    async def _gather(self, seconds: float) -> None:
        """Wait for more; nobody loses patience with a batch that has not begun."""
        seconds = min(seconds, _GATHER_SECONDS_MAX)
        self._began_at = self._loop.time() + seconds
        await asyncio.sleep(seconds)

    async def _board(self) -> None:
        """Wait while every turn of the loop brings more: a busy process fills batches.

        An idle one waits for two turns, that is for nothing.
        """
        aboard = 0
        for _ in range(_TURNS_MAX):
            if len(self._waiting) == aboard:
                break
            aboard = min(len(self._waiting), self._batch_max)
            await asyncio.sleep(0)

    async def _lose_patience(self) -> None:
        """Begin another batch when the one that began last is slow."""
        left = _PATIENCE_SECONDS
        try:
            while left > 0:
                await asyncio.sleep(left)
                # Meanwhile the next one may have begun, which is waited for anew.
                left = self._began_at + _PATIENCE_SECONDS - self._loop.time()
        finally:
            self._is_patient = False
        if self._waiting:
            self._begin()
            self._start()

    async def _try(self, batch: list[tuple[Item, asyncio.Future[Answer]]]) -> None:
        self._size.observe(len(batch))
        began_at = self._began_at = self._loop.time()
        try:
            answers = await self._flush([item for item, _ in batch])
            answered = list(zip(batch, answers, strict=True))
        except Rejected as error:
            if len(batch) == 1:
                _fail(batch, error)
                return
            for one in batch:
                await self._try([one])
        except BaseException as error:
            _fail(batch, error)
            if not isinstance(error, Exception):
                raise
        else:
            if self._took is not None:
                self._took.observe(self._loop.time() - began_at)
            for (_, future), answer in answered:
                if not future.done():
                    future.set_result(answer)


def _fail(
    batch: Sequence[tuple[object, asyncio.Future[Answer]]], error: BaseException
) -> None:
    for _, future in batch:
        if future.done():
            continue
        if isinstance(error, Exception):
            future.set_exception(error)
        else:
            future.cancel()
