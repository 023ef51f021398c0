"""Hands jobs in: one, or many at a time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Self

from libs.common.pb import spooled_pb2 as pb
from libs.worker.connection import Connection, Pause, Refused, Unreachable
from libs.worker.patience import Patience
from libs.worker.structs import stamp_of, struct_of

_BATCH_MAX: Final = 1000
_BATCH_BYTES_MAX: Final = 3 * 1024 * 1024
_ASK_SECONDS: Final = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """A job to be made; what is not said is the queue's to say."""

    payload: Mapping[str, Any] = field(default_factory=dict)
    #: -100 to 100; higher goes first.
    priority: int = 0
    #: 0 to take the queue's.
    max_retries: int = 0
    timeout_seconds: int = 0
    #: Not before this time.
    scheduled_at: datetime | None = None
    #: However often it is handed in with it, it is one job.
    idempotency_key: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    #: Jobs of the queue that share it take turns, in their order.
    concurrency_key: str = ""
    #: Push it here instead of keeping it for a worker.
    url: str = ""


@dataclass(frozen=True, slots=True)
class Enqueued:
    """A job that is committed; not *created* when its idempotency key was known."""

    job_id: str
    created: bool


class Producer:
    """Hands jobs in; use it as an async context manager.

    A job with an idempotency key is handed in again while nobody answers, for up to
    *patience_seconds*; one without might then be there twice, and so `Unreachable` is
    raised at once.  What was only too fast is handed in again in either case, when
    Bellhop said that it may be.
    """

    def __init__(
        self, url: str, api_key: str, *, patience_seconds: float = 60.0
    ) -> None:
        self._connection: Final = Connection(url, api_key)
        self._patience_seconds: Final = patience_seconds

    async def __aenter__(self) -> Self:
        await self._connection.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._connection.__aexit__(kind, error, trace)

    async def enqueue(
        self, queue: str, payload: Mapping[str, Any] | None = None, **job: Any
    ) -> Enqueued:
        """Make a job of *queue*; *job* has the fields of `NewJob`.

        Raises `Refused` and `Unreachable`; `TypeError` or `ValueError` for a payload
        that gRPC cannot carry as it is.
        """
        [made] = await self.enqueue_many(queue, [NewJob(payload=payload or {}, **job)])
        if isinstance(made, Refused):
            raise made
        return made

    async def enqueue_many(
        self, queue: str, jobs: Sequence[NewJob]
    ) -> list[Enqueued | Refused]:
        """Make many jobs; return for each, in order, its id or why it was refused.

        Raises `Refused` when all of them were, and `Unreachable` as the class says:
        what was handed in before that is there.  A payload that gRPC cannot carry as it
        is raises `TypeError` or `ValueError` before anything is handed in.
        """
        items = [_item(job) for job in jobs]
        made: list[Enqueued | Refused] = []
        while len(made) < len(items):
            batch = _fitting(items[len(made) :])
            answer = await self._hand_in(queue, batch)
            made += [_told(place) for place in answer.items]
        return made

    async def _hand_in(self, queue: str, batch: Sequence[pb.EnqueueItem]) -> Any:
        """Hand a batch in, again and again while a repeat is safe and may help."""
        repeatable = all(item.idempotency_key for item in batch)
        request = pb.EnqueueBatchRequest(queue_name=queue, items=batch)
        patience = Patience(self._patience_seconds)
        pause = Pause()
        while True:
            try:
                return await self._connection.ask(
                    self._connection.queues.EnqueueBatch, request, seconds=_ASK_SECONDS
                )
            except Unreachable as error:
                safe = repeatable or error.undone
                if not safe or patience.over(error.wait_seconds):
                    raise
                await pause.wait(error.wait_seconds)


def _fitting(items: Sequence[pb.EnqueueItem]) -> list[pb.EnqueueItem]:
    """Return the first of *items*, as many as a message carries, at least one."""
    batch: list[pb.EnqueueItem] = []
    size = 0
    for item in items[:_BATCH_MAX]:
        size += item.ByteSize()
        if batch and size > _BATCH_BYTES_MAX:
            break
        batch.append(item)
    return batch


def _item(job: NewJob) -> pb.EnqueueItem:
    item = pb.EnqueueItem(
        payload=struct_of(job.payload, field="payload"),
        priority=job.priority,
        max_retries=job.max_retries,
        timeout_seconds=job.timeout_seconds,
        idempotency_key=job.idempotency_key,
        tags=dict(job.tags),
        concurrency_key=job.concurrency_key,
    )
    if job.scheduled_at is not None:
        item.scheduled_at.CopyFrom(stamp_of(job.scheduled_at))
    if job.url:
        item.target.url = job.url
    return item


def _told(place: pb.EnqueueBatchResponse.Item) -> Enqueued | Refused:
    if place.HasField("error"):
        return Refused(place.error.code, place.error.message)
    return Enqueued(place.job_id, place.created)
