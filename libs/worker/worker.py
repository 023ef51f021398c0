"""A worker: its handlers, its place in the list of workers, and how it stops."""

import asyncio
import logging
import os
import secrets
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVar

from libs.common.pb import spooled_pb2 as pb
from libs.worker.connection import Connection, Pause, Refused, Unreachable
from libs.worker.handling import Function, Handler, Handling
from libs.worker.settling import Settling

log = logging.getLogger("bellhop.worker")

F = TypeVar("F", bound=Function)

_ASK_SECONDS: Final = 10.0
_LEASE_SECONDS_MIN: Final = 5
_LEASE_SECONDS_MAX: Final = 3600


class Worker:
    """Works on the jobs of some queues until it is told to stop."""

    def __init__(
        self,
        url: str,
        api_key: str,
        *,
        worker_id: str | None = None,
        drain_seconds: float = 30.0,
        register: bool = True,
    ) -> None:
        """Describe a worker; nothing is asked yet.

        Args:
            url: where gRPC is: ``http://host:50051``, or ``https://`` with TLS.
            api_key: a key for all of its queues.
            worker_id: its name, 1-128 letters, digits, ``.``, ``_``, ``-``; made up
                when absent.  Two processes never share one.
            drain_seconds: how long jobs in hand may go on after `stop`.  What is not
                done by then is cancelled, and given back.
            register: whether it stands in the list of workers, and gives back what it
                has when it leaves; counts in the plan.
        """
        self._connection: Final = Connection(url, api_key)
        self.id: Final = worker_id or _made_up()
        self._drain_seconds: Final = drain_seconds
        self._register: Final = register
        self._handlers: Final[list[Handler]] = []
        self._stopping: Final = asyncio.Event()

    def handler(
        self, queue: str, *, concurrency: int = 10, lease_seconds: int = 30
    ) -> Callable[[F], F]:
        """Let a function work on the jobs of *queue* (a decorator).

        It is called with a `Job`, and what it returns, an object or None, is the job's
        result.  A coroutine runs in the loop; any other function in a thread of its
        own.  An exception fails the attempt: `Retry` and `Fatal` say what is next.

        Args:
            queue: the queue's name.
            concurrency: how many jobs it works on at once.
            lease_seconds: after how long without a word from this process somebody
                else gets a job, 5 to 3600.  Heartbeats go on by themselves, so it need
                not be as long as the work; a loop that is blocked sends none.
        """
        if concurrency < 1:
            raise ValueError("concurrency: must be at least 1")
        if not _LEASE_SECONDS_MIN <= lease_seconds <= _LEASE_SECONDS_MAX:
            raise ValueError("lease_seconds: must be 5 to 3600")

        def register(function: F) -> F:
            self._handlers.append(Handler(queue, function, concurrency, lease_seconds))
            return function

        return register

    def stop(self) -> None:
        """Take no more jobs; `run` returns when those in hand are done."""
        self._stopping.set()

    def main(self) -> None:
        """Run until SIGTERM or Ctrl-C; a second one does not wait for jobs in hand."""
        with suppress(asyncio.CancelledError):
            asyncio.run(self._until_told())

    async def _until_told(self) -> None:
        running = asyncio.current_task()
        assert running is not None  # noqa: S101 - this is a coroutine of asyncio.run
        signalled = asyncio.Event()

        def tell() -> None:
            if signalled.is_set():
                running.cancel()
            signalled.set()
            self.stop()

        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, tell)
        await self.run()

    async def run(self) -> None:
        """Work until `stop`; while Bellhop is away, wait for it.

        Raises `Refused` when the key is none, or not for these queues: once what is in
        hand is done, as after `stop`.
        """
        if not self._handlers:
            raise ValueError("a worker without a handler has nothing to do")
        refusals: list[Refused] = []
        async with self._connection as connection:
            settling = Settling(connection, self.id)
            works = [Handling(h, connection, settling, self.id) for h in self._handlers]
            keepers = [settling.run(), *(work.leases.keep() for work in works)]
            if self._register:
                keepers.append(self._show(works))
            try:
                async with asyncio.TaskGroup() as tasks:
                    keeping = [tasks.create_task(one) for one in keepers]
                    claiming = [
                        tasks.create_task(self._claim(work, refusals)) for work in works
                    ]
                    await self._stopping.wait()
                    for task in claiming:
                        task.cancel()
                    await self._finish(works)
                    for task in keeping:
                        task.cancel()
            except ExceptionGroup as failures:
                raise failures.exceptions[0] from None
            finally:
                for work in works:
                    await work.finish(ends_at=time.monotonic())
                await self._leave()
        if refusals:
            raise refusals[0]

    async def _claim(self, work: Handling, refusals: list[Refused]) -> None:
        """Claim until cancelled; who is refused lets the worker stop (an actor)."""
        try:
            await work.claim()
        except Refused as error:
            log.error("%s; stopping", error)  # noqa: TRY400 - its words are enough
            refusals.append(error)
            self.stop()

    async def _finish(self, works: list[Handling]) -> None:
        ends_at = time.monotonic() + self._drain_seconds
        await asyncio.gather(*(work.finish(ends_at=ends_at) for work in works))

    async def _show(self, works: list[Handling]) -> None:
        """Stand in the list of workers, and say that we live (an actor)."""
        first = self._handlers[0]
        request = pb.RegisterWorkerRequest(
            worker_id=self.id,
            queue_name=first.queue,
            hostname=_hostname(),
            worker_type="bellhop-python",
            max_concurrency=sum(handler.concurrency for handler in self._handlers),
            metadata={"queues": ",".join(handler.queue for handler in self._handlers)},
        )
        workers = self._connection.workers
        pause = Pause()
        interval = 0.0
        status = "healthy"
        while True:
            try:
                if not interval:
                    told = await self._connection.ask(
                        workers.Register, request, seconds=_ASK_SECONDS
                    )
                    interval = float(told.heartbeat_interval_secs)
                    status = "healthy"
                status = await self._next_status(status, interval)
                jobs = sum(len(work.leases.holds) for work in works)
                beat = await self._connection.ask(
                    workers.Heartbeat,
                    pb.HeartbeatRequest(
                        worker_id=self.id, current_jobs=jobs, status=status
                    ),
                    seconds=_ASK_SECONDS,
                )
            except Unreachable as error:
                log.warning("heartbeat: %s", error)
                await pause.wait(error.wait_seconds)
                continue
            except Refused as error:
                log.warning("works without standing in the list of workers: %s", error)
                return
            pause.reset()
            if not beat.acknowledged:
                interval = 0.0
            elif beat.should_drain and not self._stopping.is_set():
                log.info("worker %s was told to drain", self.id)
                self.stop()

    async def _next_status(self, status: str, seconds: float) -> str:
        """Wait until it is time for a sign of life; that we stop is said at once."""
        if status == "draining":
            await asyncio.sleep(seconds)
            return status
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        return "draining" if self._stopping.is_set() else "healthy"

    async def _leave(self) -> None:
        """Leave the list of workers: what is still ours goes to others at once."""
        if not self._register:
            return
        try:
            await self._connection.ask(
                self._connection.workers.Deregister,
                pb.DeregisterRequest(worker_id=self.id),
                seconds=_ASK_SECONDS,
            )
        except (Refused, Unreachable) as error:
            log.warning("worker %s could not say good-bye: %s", self.id, error)


def _made_up() -> str:
    return f"{_hostname()[:80]}-{os.getpid()}-{secrets.token_hex(4)}"


def _hostname() -> str:
    kept = (c if c.isalnum() and c.isascii() else "-" for c in socket.gethostname())
    return "".join(kept).strip("-") or "worker"
