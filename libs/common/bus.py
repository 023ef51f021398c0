"""NATS: the only place that speaks it.

The bus may be away: at the start, for a while, or with its disk wiped.  A process
starts without it, says so (`Bus.connected`), and carries on when it is back.  Hints
said meanwhile are dropped; a request or a command raises `Unavailable`.  Streams are
created when they are missing, whoever notices first.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeVar

import nats
import nats.errors
import nats.js.api
import nats.js.errors
import structlog
from nats.aio.client import Client, Server
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js import JetStreamContext

from libs.common.errors import Unavailable
from libs.common.loops import pause
from libs.common.messages import Stream, Unreadable, Word
from libs.common.metrics import BUS_CONNECTED, BUS_RECONNECTS, MESSAGES_UNREADABLE

log = structlog.get_logger()

W = TypeVar("W", bound=Word)

_RECONNECT_SECONDS: Final = 0.25
_PENDING_BYTES_MAX: Final = 8 * 1024 * 1024
#: NATS limits a message; what it does not tell us we do not assume.
_PAYLOAD_BYTES_DEFAULT: Final = 1024 * 1024
_ACK_SECONDS: Final = 2.0
#: How often a followed stream that has nothing to tell says so.
_HEARTBEAT_SECONDS: Final = 1.0
#: How long a reader waits before it looks whether it is to stop.
_LOOK_SECONDS: Final = 0.1


class NobodyListens(Unavailable):
    """The request reached the bus, and there is nobody to answer it."""


class Undecided(Unavailable):
    """It may have arrived or not: no answer came in time."""


class Bus:
    """A connection to NATS that comes back by itself."""

    def __init__(self, client: Client, jetstream: JetStreamContext) -> None:
        self._client = client
        self._jetstream = jetstream
        #: Counts the times we got connected: a caller that remembers the number
        #: knows whether hints may have been lost since.
        self.connections = 0
        self._first = asyncio.Event()

    # --- the connection ------------------------------------------------------------

    @property
    def connected(self) -> bool:
        """Whether NATS is there right now."""
        return self._client.is_connected

    @property
    def payload_bytes_max(self) -> int:
        """How large one message may be, as the server says."""
        return self._client.max_payload or _PAYLOAD_BYTES_DEFAULT

    async def until_connected(self, stopping: asyncio.Event) -> bool:
        """Wait for NATS; return whether it is there, or false when stopping."""
        while not self.connected and not stopping.is_set():
            await pause(0.05, self._first, stopping)
            if self._first.is_set() and not self.connected:
                await pause(0.05, stopping)
        return self.connected

    async def _came(self) -> None:
        self.connections += 1
        self._first.set()
        BUS_CONNECTED.set(1)
        log.info("bus.connected", connections=self.connections)

    async def _came_back(self) -> None:
        BUS_RECONNECTS.inc()
        await self._came()

    async def _left(self) -> None:
        BUS_CONNECTED.set(0)
        if not self._client.is_closed:
            log.warning("bus.disconnected")

    # --- hints ---------------------------------------------------------------------

    async def ring(self, word: Word) -> None:
        """Say a hint, or drop it when the bus is away: whoever needs it looks again."""
        if not self.connected:
            return
        try:
            await self._client.publish(word.subject, word.encode())
        except (nats.errors.Error, OSError) as error:
            log.warning("bus.hint_dropped", subject=word.subject, cause=repr(error))

    async def hear(
        self,
        word: type[W],
        listener: Callable[[W], Awaitable[None] | None],
        *,
        stopping: asyncio.Event,
    ) -> None:
        """Call *listener* with every hint of this kind until stopped.

        What cannot be read is counted and skipped.  The listener must be quick: it
        stands in the way of the next word.
        """

        async def heard(letter: Msg) -> None:
            spoken = read(word, letter.data)
            if spoken is not None:
                waiting = listener(spoken)
                if waiting is not None:
                    await waiting

        if not await self.until_connected(stopping):
            return
        subscription = await self._client.subscribe(word.subject, cb=heard)
        try:
            await stopping.wait()
        finally:
            await _leave(subscription)

    # --- requests ------------------------------------------------------------------

    async def ask(self, subject: str, data: bytes, *, seconds: float) -> bytes:
        """Ask and return the answer.

        Raises `NobodyListens` when nobody does, `Undecided` when no answer came
        within *seconds*, `Unavailable` when the bus is away.
        """
        if not self.connected:
            raise Unavailable("nats: not connected")
        try:
            letter = await self._client.request(subject, data, timeout=seconds)
        except nats.errors.NoRespondersError as error:
            raise NobodyListens(f"nats: nobody hears {subject}") from error
        except nats.errors.TimeoutError as error:
            raise Undecided(f"nats: no answer to {subject}") from error
        except (nats.errors.Error, OSError) as error:
            raise Unavailable(f"nats: {error!r}") from error
        return letter.data

    async def answer(
        self,
        subject: str,
        listener: Callable[["Question"], None],
        *,
        stopping: asyncio.Event,
        group: str = "",
    ) -> None:
        """Hand every question on *subject* to *listener* until stopped.

        Within a *group* each question goes to one member.  The listener puts the
        question into a mailbox and returns at once.
        """

        async def heard(letter: Msg) -> None:
            listener(Question(self, letter.reply, letter.data))

        if not await self.until_connected(stopping):
            return
        subscription = await self._client.subscribe(subject, queue=group, cb=heard)
        try:
            await stopping.wait()
        finally:
            await _leave(subscription)

    async def reply(self, address: str, data: bytes) -> None:
        """Answer a question; an answer that cannot be sent is asked for again."""
        if not (self.connected and address):
            return
        try:
            await self._client.publish(address, data)
        except (nats.errors.Error, OSError) as error:
            log.warning("bus.answer_dropped", cause=repr(error))

    # --- streams -------------------------------------------------------------------

    async def send(
        self, stream: Stream, subject: str, data: bytes, *, id_: str
    ) -> None:
        """Put one message into *stream* and wait until the server has it.

        Raises `Undecided` when that is not known, `Unavailable` when it surely does
        not have it.
        """
        if not self.connected:
            raise Unavailable("nats: not connected")
        headers = {"Nats-Msg-Id": id_}
        try:
            await self._send(subject, data, headers)
        except nats.js.errors.NoStreamResponseError:
            await self.ensure(stream)
            try:
                await self._send(subject, data, headers)
            except nats.js.errors.NoStreamResponseError as error:
                raise Unavailable(f"nats: no stream {stream.name}") from error

    async def _send(self, subject: str, data: bytes, headers: dict[str, str]) -> None:
        try:
            await self._jetstream.publish(
                subject, data, timeout=_ACK_SECONDS, headers=headers
            )
        except nats.js.errors.NoStreamResponseError:
            raise
        except nats.errors.TimeoutError as error:
            raise Undecided(f"nats: {subject} was not acknowledged") from error
        except (nats.errors.Error, nats.js.errors.Error, OSError) as error:
            raise Unavailable(f"nats: {error!r}") from error

    async def pour(
        self,
        stream: Stream,
        messages: list[tuple[str, dict[str, str], bytes]],
    ) -> None:
        """Put *messages* (subject, headers, data) into *stream*, in this order.

        Only the last one is acknowledged: one connection is read in order, so it
        stands for all before it.  Raises like `send`; the caller then pours them all
        again, and the ``Nats-Msg-Id`` header keeps out what had arrived.
        """
        if not self.connected:
            raise Unavailable("nats: not connected")
        try:
            for subject, headers, data in messages[:-1]:
                await self._client.publish(subject, data, headers=headers)
            subject, headers, data = messages[-1]
            await self._send(subject, data, headers)
        except nats.js.errors.NoStreamResponseError as error:
            await self.ensure(stream)
            raise Undecided(f"nats: {stream.name} was missing") from error
        except (nats.errors.Error, OSError) as error:
            raise Undecided(f"nats: {error!r}") from error

    async def ensure(self, stream: Stream) -> None:
        """Create *stream*, or bring it to the shape we want; raises `Unavailable`."""
        config = nats.js.api.StreamConfig(
            name=stream.name,
            subjects=list(stream.subjects),
            storage=(
                nats.js.api.StorageType.FILE
                if stream.durable
                else nats.js.api.StorageType.MEMORY
            ),
            retention=(
                nats.js.api.RetentionPolicy.WORK_QUEUE
                if stream.work_queue
                else nats.js.api.RetentionPolicy.LIMITS
            ),
            discard=nats.js.api.DiscardPolicy.OLD,
            max_age=stream.age_max.total_seconds(),
            max_bytes=stream.bytes_max,
            duplicate_window=stream.duplicate_window.total_seconds(),
        )
        try:
            try:
                await self._jetstream.add_stream(config)
            except nats.js.errors.BadRequestError:
                await self._jetstream.update_stream(config)
        except (nats.errors.Error, nats.js.errors.Error, OSError) as error:
            raise Unavailable(f"nats: stream {stream.name}: {error!r}") from error

    async def pull(
        self,
        stream: Stream,
        consumer: str,
        word: type[W],
        listener: Callable[[W], Awaitable[None]],
        *,
        has_room: Callable[[], Awaitable[None]],
        stopping: asyncio.Event,
    ) -> None:
        """Take messages from a shared *consumer*, one at a time, until stopped.

        Each message goes to one process and is delivered once: whatever goes wrong
        after that is the lease's business.  It is acknowledged on receipt and handed
        to *listener*.  Before each pull *has_room* is awaited.  A subscription that
        falls silent (no message, no heartbeat) is made anew.
        """
        subscription: JetStreamContext.PullSubscription | None = None
        while not stopping.is_set():
            await has_room()
            if not await self.until_connected(stopping):
                break
            try:
                if subscription is None:
                    subscription = await self._join(stream, consumer)
                letters = await subscription.fetch(1, timeout=1.0, heartbeat=0.4)
            except nats.js.errors.FetchTimeoutError:
                continue
            except nats.errors.TimeoutError:
                # Not even a heartbeat came, or the server said that the pull ended.
                await _drop(subscription)
                subscription = None
                continue
            except (nats.errors.Error, nats.js.errors.Error, Unavailable) as error:
                log.warning("bus.pull_lost", stream=stream.name, cause=repr(error))
                await _drop(subscription)
                subscription = None
                await pause(0.1, stopping)
                continue
            for letter in letters:
                await letter.ack()
                spoken = read(word, letter.data)
                if spoken is not None:
                    await listener(spoken)
        await _drop(subscription)

    async def _join(
        self, stream: Stream, consumer: str
    ) -> JetStreamContext.PullSubscription:
        await self.ensure(stream)
        await self._jetstream.add_consumer(
            stream.name,
            nats.js.api.ConsumerConfig(
                durable_name=consumer,
                ack_policy=nats.js.api.AckPolicy.EXPLICIT,
                ack_wait=5,
                max_deliver=1,
                max_ack_pending=100_000,
            ),
        )
        return await self._jetstream.pull_subscribe_bind(
            consumer=consumer, stream=stream.name
        )

    async def follow(
        self,
        stream: Stream,
        listener: Callable[[bytes], None],
        *,
        stopping: asyncio.Event,
        began: asyncio.Event | None = None,
    ) -> None:
        """Hand every message that enters *stream* from now on to *listener*, in order.

        *now* is when *began* is set.  No acknowledgements: when the reader falls silent
        or misses something it is made anew, behind the last message that it handed
        out, and when the stream was wiped, at the first message of the new one.
        """
        mark: _Mark | None = None
        while not stopping.is_set() and await self.until_connected(stopping):
            try:
                mark, subscription = await self._read_on(stream, mark)
            except (nats.errors.Error, nats.js.errors.Error, Unavailable) as error:
                log.warning("bus.follow_lost", stream=stream.name, cause=repr(error))
                await pause(0.2, stopping)
                continue
            if began is not None:
                began.set()
            try:
                await self._follow(subscription, mark, listener, stopping)
            except (nats.errors.Error, nats.js.errors.Error) as error:
                log.warning("bus.follow_lost", stream=stream.name, cause=repr(error))
                await pause(0.2, stopping)
            finally:
                await _leave(subscription)

    async def _read_on(
        self, stream: Stream, mark: "_Mark | None"
    ) -> tuple["_Mark", Subscription]:
        """Begin to read *stream* behind *mark*, or from now on when there is none."""
        await self.ensure(stream)
        info = await self._jetstream.stream_info(stream.name)
        if mark is None:
            mark = _Mark(created=info.created, seq=info.state.last_seq)
        elif mark.created != info.created or mark.seq > info.state.last_seq:
            mark = _Mark(created=info.created, seq=0)
        inbox = self._client.new_inbox()
        subscription = await self._client.subscribe(inbox)
        try:
            await self._jetstream.add_consumer(
                stream.name,
                nats.js.api.ConsumerConfig(
                    deliver_subject=inbox,
                    deliver_policy=nats.js.api.DeliverPolicy.BY_START_SEQUENCE,
                    opt_start_seq=mark.seq + 1,
                    ack_policy=nats.js.api.AckPolicy.NONE,
                    max_deliver=1,
                    flow_control=True,
                    idle_heartbeat=_HEARTBEAT_SECONDS,
                    inactive_threshold=30,
                    num_replicas=1,
                    mem_storage=True,
                ),
            )
        except (nats.errors.Error, nats.js.errors.Error):
            await _leave(subscription)
            raise
        return mark, subscription

    async def _follow(
        self,
        subscription: Subscription,
        mark: "_Mark",
        listener: Callable[[bytes], None],
        stopping: asyncio.Event,
    ) -> None:
        """Hand messages on until one is missing, all is silent, or we stop."""
        connections, heard, silent_seconds = self.connections, 0, 0.0
        while not stopping.is_set() and connections == self.connections:
            try:
                letter = await subscription.next_msg(timeout=_LOOK_SECONDS)
            except nats.errors.TimeoutError:
                silent_seconds += _LOOK_SECONDS
                if silent_seconds > 3 * _HEARTBEAT_SECONDS:
                    return
                continue
            silent_seconds = 0.0
            if letter.headers and "Status" in letter.headers:
                # A heartbeat, or a question whether we keep up.
                stalled = letter.headers.get("Nats-Consumer-Stalled")
                if address := letter.reply or stalled:
                    await self._client.publish(address)
                if int(letter.headers.get("Nats-Last-Consumer", heard)) != heard:
                    return
                continue
            sequence = letter.metadata.sequence
            if sequence.consumer != heard + 1:
                return
            heard, mark.seq = sequence.consumer, sequence.stream
            listener(letter.data)


@dataclass(slots=True)
class _Mark:
    """How far a stream was read, and which: a wiped one counts from one again."""

    created: datetime | None
    seq: int


class Question:
    """A request somebody waits for; answer it once."""

    __slots__ = ("_address", "_bus", "data")

    def __init__(self, bus: Bus, address: str, data: bytes) -> None:
        self._bus = bus
        self._address = address
        self.data = data

    async def answer(self, data: bytes = b"") -> None:
        """Send the answer."""
        await self._bus.reply(self._address, data)


def read(word: type[W], data: bytes) -> W | None:
    """Read a word; what cannot be read is logged, counted and skipped."""
    try:
        return word.decode(data)
    except Unreadable as error:
        MESSAGES_UNREADABLE.labels(word=word.__name__).inc()
        log.warning("bus.unreadable", word=word.__name__, cause=str(error)[:200])
        return None


@asynccontextmanager
async def open_bus(url: str, *, service: str) -> AsyncIterator[Bus]:
    """Open the bus; return at once, connected or not, and keep trying for ever."""
    client = Client()
    bus = Bus(client, client.jetstream())

    async def noticed(error: Exception) -> None:
        log.debug("bus.trouble", cause=repr(error))

    def next_server(servers: list[Server], _: object) -> tuple[Server, float]:
        # Spread a house full of clients over the second in which NATS comes back.
        return servers[0], _RECONNECT_SECONDS * (0.5 + random.random())  # noqa: S311

    async def connect() -> None:
        await client.connect(
            url.split(","),
            name=f"bellhop-{service}",
            error_cb=noticed,
            disconnected_cb=bus._left,  # noqa: SLF001
            reconnected_cb=bus._came_back,  # noqa: SLF001
            reconnect_time_wait=_RECONNECT_SECONDS,  # type: ignore[arg-type]
            reconnect_to_server_handler=next_server,
            max_reconnect_attempts=-1,
            connect_timeout=2,
            ping_interval=5,
            max_outstanding_pings=2,
            pending_size=_PENDING_BYTES_MAX,
        )
        await bus._came()  # noqa: SLF001

    connecting = asyncio.create_task(connect(), name="bus.connect")
    try:
        yield bus
    finally:
        connecting.cancel()
        await asyncio.gather(connecting, return_exceptions=True)
        if client.is_connected:
            try:
                await asyncio.wait_for(client.flush(timeout=1), 2)
            except (nats.errors.Error, OSError, TimeoutError) as error:
                log.debug("bus.flush_lost", cause=repr(error))
        await client.close()


async def _leave(subscription: Subscription) -> None:
    try:
        await subscription.unsubscribe()
    except (nats.errors.Error, nats.js.errors.Error, OSError) as error:
        log.debug("bus.unsubscribe_lost", cause=repr(error))


async def _drop(subscription: JetStreamContext.PullSubscription | None) -> None:
    if subscription is not None:
        try:
            await subscription.unsubscribe()
        except (nats.errors.Error, ValueError, OSError) as error:
            log.debug("bus.unsubscribe_lost", cause=repr(error))
