"""One handler: claims what there is room for, runs it, and tells how it went."""

import asyncio
import inspect
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, Final

from libs.common.pb import spooled_pb2 as pb
from libs.worker.connection import Connection, Pause, Unreachable
from libs.worker.endings import Ending, completed, failed
from libs.worker.hold import Hold
from libs.worker.jobs import _CURRENT, Fatal, Job, Retry
from libs.worker.leases import Leases
from libs.worker.settling import Settling

log = logging.getLogger("bellhop.worker")

Result = Mapping[str, Any] | None
Function = Callable[[Job], Awaitable[Result]] | Callable[[Job], Result]

_WAIT_SECONDS: Final = 20.0
#: An answer to a claim that waits is this much later at most.
_MARGIN_SECONDS: Final = 10.0
_CLAIM_MAX: Final = 100


@dataclass(frozen=True, slots=True)
class Handler:
    """A function for the jobs of a queue, and how much of it at once."""

    queue: str
    function: Function
    #: How many jobs at once.
    concurrency: int
    #: For how long a job is ours without a word of us.
    lease_seconds: int


class Handling:
    """A handler at work."""

    def __init__(
        self,
        handler: Handler,
        connection: Connection,
        settling: Settling,
        worker_id: str,
    ) -> None:
        self._handler: Final = handler
        self._connection: Final = connection
        self._settling: Final = settling
        self._worker_id: Final = worker_id
        self.leases: Final = Leases(
            connection, worker_id, lease_seconds=handler.lease_seconds
        )
        self._ended: Final = asyncio.Event()
        self._threads: Final = (
            None
            if inspect.iscoroutinefunction(handler.function)
            else ThreadPoolExecutor(
                handler.concurrency, thread_name_prefix=f"bellhop-{handler.queue}"
            )
        )

    async def claim(self) -> None:
        """Claim and begin jobs, until cancelled (an actor); those begun go on.

        A claim that is cancelled hands nothing out: Bellhop takes back at once what it
        could not deliver.  Raises `Refused` when asking again cannot help.
        """
        pause = Pause()
        while True:
            room = self._handler.concurrency - len(self.leases.holds)
            if room == 0:
                self._ended.clear()
                await self._ended.wait()
                continue
            request = pb.DequeueRequest(
                queue_name=self._handler.queue,
                worker_id=self._worker_id,
                lease_duration_secs=self._handler.lease_seconds,
                batch_size=min(room, _CLAIM_MAX),
                wait_seconds=_WAIT_SECONDS,
            )
            try:
                answer = await self._connection.ask(
                    self._connection.queues.Dequeue,
                    request,
                    seconds=_WAIT_SECONDS + _MARGIN_SECONDS,
                )
            except Unreachable as error:
                log.warning("queue %s: %s; trying again", self._handler.queue, error)
                await pause.wait(error.wait_seconds)
                continue
            pause.reset()
            for told in answer.jobs:
                self._begin(told)

    async def finish(self, *, ends_at: float) -> int:
        """Let what was begun end until *ends_at*, then cancel it; return how many."""
        tasks = self._tasks()
        if tasks:
            patience = max(0.0, ends_at - time.monotonic())
            _, late = await asyncio.wait(tasks, timeout=patience)
            for hold in [*self.leases.holds]:
                hold.lose()
            if late:
                await asyncio.wait(late)
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
        return len(tasks)

    def _tasks(self) -> set[asyncio.Task[None]]:
        return {hold.task for hold in self.leases.holds if hold.task is not None}

    def _begin(self, told: pb.Job) -> None:
        job = Job.read(told)
        ends_at = time.monotonic() + self._handler.lease_seconds
        hold = Hold(job, ends_at)
        context = copy_context()
        context.run(_CURRENT.set, job)
        self.leases.holds.add(hold)
        hold.task = asyncio.get_running_loop().create_task(
            self._carry(hold), name=f"job {job.id}", context=context
        )

    async def _carry(self, hold: Hold) -> None:
        """Run the handler and tell how it went; nothing is told of a lost job."""
        try:
            ending = await self._outcome(hold)
            if hold.is_ours:
                await self._settling.settle(hold, ending)
        except asyncio.CancelledError:
            if not hold.job.lost.is_set():
                raise
        finally:
            self.leases.holds.discard(hold)
            self._ended.set()

    async def _outcome(self, hold: Hold) -> Ending:
        """Run the handler; return how it went.  A bug of a handler ends here."""
        job = hold.job
        try:
            return completed(job, await self._run(job))
        except Retry as asked:
            return failed(job, str(asked), retry_after_seconds=asked.after)
        except Fatal as error:
            return failed(job, str(error) or "given up", retry=False)
        except asyncio.CancelledError:
            if job.lost.is_set() or _is_cancelled():
                raise
            # Not us: what the handler waited for.
            log.warning("job %s failed: it let a cancellation out", job.id)
            return failed(job, "CancelledError: what it waited for was cancelled")
        except Exception as error:
            log.exception("job %s failed", job.id)
            return failed(job, f"{type(error).__name__}: {error}")

    async def _run(self, job: Job) -> Result:
        function = self._handler.function
        if self._threads is None:
            answer = function(job)
        else:
            loop = asyncio.get_running_loop()
            run = copy_context().run
            answer = await loop.run_in_executor(self._threads, run, function, job)
        return await answer if inspect.isawaitable(answer) else answer


def _is_cancelled() -> bool:
    """Return whether somebody has cancelled the task that runs."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
