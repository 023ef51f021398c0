"""JetStream: streams made, filled, shared out and followed.

A stream may be lost with the server's disk at any moment, and is made anew by whoever
notices first.  Nothing depends on what was in it: the leases in Postgres bring the
batches back, and the journal has every event.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple, TypeVar

import msgspec
import nats.errors
import nats.js.api
import nats.js.errors
import structlog
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js import JetStreamContext

from libs.common.bus import Bus, Undecided, leave, read, sparing
from libs.common.errors import Unavailable
from libs.common.loops import pause
from libs.common.messages import Stream, Word

log = structlog.get_logger()

W = TypeVar("W", bound=Word)

_ACK_SECONDS: Final = 2.0
#: What an outside program has not acknowledged by then comes again.
_ACK_WAIT_SECONDS: Final = 30.0
_HEARTBEAT_SECONDS: Final = 1.0
_LOOK_SECONDS: Final = 0.1
_STREAM_MISSING: Final = nats.js.errors.NoStreamResponseError
#: Where a message of a stream could be acknowledged; the server's own words to who
#: reads have headers by which they are known, but so may anybody's message.
_OF_A_MESSAGE: Final = "$JS.ACK."
_ID: Final = nats.js.api.Header.MSG_ID.value
_AFTER: Final = nats.js.api.Header.EXPECTED_LAST_MSG_ID.value


class Message(NamedTuple):
    """Something for a stream, which keeps a second one of the same *id_* out.

    *head* is its other headers as the protocol has them: ``name: text`` and a line
    break each, of printable ASCII alone, for which whoever writes it answers.
    """

    subject: str
    id_: str
    head: str
    data: bytes


async def send(
    bus: Bus, stream: Stream, subject: str, data: bytes, *, id_: str
) -> None:
    """Put one message into *stream* and wait until the server has it.

    Raises `Undecided` when that is not known, `Unavailable` when it surely does not
    have it.
    """
    message = Message(subject, id_, "", data)
    try:
        await _send(bus, message)
    except _STREAM_MISSING:
        await ensure(bus, stream)
        try:
            await _send(bus, message)
        except _STREAM_MISSING as error:
            raise Unavailable(f"nats: no stream {stream.name}") from error


async def pour(bus: Bus, stream: Stream, messages: Sequence[Message]) -> None:
    """Put *messages* into *stream*, in this order, and know that it has them all.

    Each names the one before it, and the server takes it only right behind that one:
    whatever is lost on the way, nothing comes too early.  So the last one is
    acknowledged for all.  Raises `Undecided` or `Unavailable`; the caller then pours
    them all again, and their ids keep out what the stream has.
    """
    if not bus.connected:
        raise Unavailable("nats: not connected")
    *others, last = _chained(messages)
    try:
        # The client's own way takes each through a dozen calls, and costs as much as
        # all the rest of announcing.
        written = b"".join([_written(message) for message in others])
        await bus.client._send_command(written)  # noqa: SLF001
        await _send(bus, last)
    except _STREAM_MISSING as error:
        await ensure(bus, stream)
        raise Undecided(f"nats: {stream.name} was missing") from error
    except (nats.errors.Error, OSError) as error:
        raise Undecided(f"nats: {error!r}") from error


def _chained(messages: Sequence[Message]) -> Iterator[Message]:
    """Yield messages, each but the first with the id of the one before it."""
    before = None
    for message in messages:
        subject, id_, head, data = message
        if before is None:
            yield message
        else:
            yield Message(subject, id_, f"{_AFTER}: {before}\r\n{head}", data)
        before = id_


def _written(message: Message) -> bytes:
    """Return a message as the protocol has it."""
    subject, id_, head, data = message
    block = f"NATS/1.0\r\n{_ID}: {id_}\r\n{head}\r\n".encode()
    sizes = len(block), len(block) + len(data)
    return b"HPUB %s %d %d\r\n%s%s\r\n" % (subject.encode(), *sizes, block, data)


async def _send(bus: Bus, message: Message) -> nats.js.api.PubAck:
    if not bus.connected:
        raise Unavailable("nats: not connected")
    try:
        return await bus.jetstream.publish(
            message.subject,
            message.data,
            timeout=_ACK_SECONDS,
            headers={
                _ID: message.id_,
                **dict(line.split(": ", 1) for line in message.head.splitlines()),
            },
        )
    except _STREAM_MISSING:
        raise
    except nats.errors.TimeoutError as error:
        raise Undecided(f"nats: {message.subject} was not acknowledged") from error
    except (nats.errors.Error, nats.js.errors.Error, OSError) as error:
        raise Unavailable(f"nats: {error!r}") from error


async def ensure(bus: Bus, stream: Stream) -> None:
    """Create *stream*, or bring it to the shape we want; raises `Unavailable`."""
    kinds = nats.js.api.StorageType
    retentions = nats.js.api.RetentionPolicy
    config = nats.js.api.StreamConfig(
        name=stream.name,
        subjects=list(stream.subjects),
        storage=kinds.FILE if stream.durable else kinds.MEMORY,
        retention=retentions.WORK_QUEUE if stream.work_queue else retentions.LIMITS,
        discard=nats.js.api.DiscardPolicy.OLD,
        max_age=stream.age_max.total_seconds(),
        max_bytes=stream.bytes_max,
        duplicate_window=stream.duplicate_window.total_seconds(),
    )
    try:
        try:
            await bus.jetstream.add_stream(config)
        except nats.js.errors.BadRequestError:
            await bus.jetstream.update_stream(config)
    except (nats.errors.Error, nats.js.errors.Error, OSError) as error:
        raise Unavailable(f"nats: stream {stream.name}: {error!r}") from error


async def server_time(bus: Bus, stream: Stream) -> float:
    """Ask whoever keeps *stream* for the time, in seconds since 1970.

    Raises `Unavailable`.
    """
    if not bus.connected:
        raise Unavailable("nats: not connected")
    told = await _told_of(bus, stream)
    if told.ts is None:
        await ensure(bus, stream)
        told = await _told_of(bus, stream)
    if told.ts is None:
        raise Unavailable(f"nats: no stream {stream.name}")
    return told.ts.timestamp()


class _StreamInfo(msgspec.Struct):
    """When something was told of a stream; nothing is of one that is not there."""

    ts: datetime | None = None


async def _told_of(bus: Bus, stream: Stream) -> _StreamInfo:
    try:
        letter = await bus.client.request(
            f"$JS.API.STREAM.INFO.{stream.name}", timeout=_ACK_SECONDS
        )
        return msgspec.json.decode(letter.data, type=_StreamInfo)
    except (nats.errors.Error, msgspec.DecodeError, OSError) as error:
        raise Unavailable(f"nats: stream {stream.name}: {error!r}") from error


async def give_consumer(
    bus: Bus, stream: Stream, consumer: str, *, filter_subject: str
) -> None:
    """Let there be a durable pull consumer of a part of *stream*.

    One that is there keeps its place and gets this filter.  Raises `Unavailable`.
    """
    if not bus.connected:
        raise Unavailable("nats: not connected")
    await ensure(bus, stream)
    try:
        await bus.jetstream.add_consumer(
            stream.name,
            nats.js.api.ConsumerConfig(
                durable_name=consumer,
                filter_subject=filter_subject,
                ack_policy=nats.js.api.AckPolicy.EXPLICIT,
                ack_wait=_ACK_WAIT_SECONDS,
            ),
        )
    except (nats.errors.Error, nats.js.errors.Error, OSError) as error:
        raise Unavailable(f"nats: consumer {consumer}: {error!r}") from error


async def pull(
    bus: Bus,
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
    to *listener*; what cannot be read, or makes it fail, is counted and skipped.
    Before each pull *has_room* is awaited.  A subscription that falls silent (no
    message, no heartbeat) is made anew.
    """
    subscription: JetStreamContext.PullSubscription | None = None
    while not stopping.is_set():
        await has_room()
        if not await bus.until_connected(stopping):
            break
        try:
            if subscription is None:
                subscription = await _join(bus, stream, consumer)
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
                with sparing(word.__name__):
                    await listener(spoken)
    await _drop(subscription)


async def _join(
    bus: Bus, stream: Stream, consumer: str
) -> JetStreamContext.PullSubscription:
    await ensure(bus, stream)
    await bus.jetstream.add_consumer(
        stream.name,
        nats.js.api.ConsumerConfig(
            durable_name=consumer,
            ack_policy=nats.js.api.AckPolicy.EXPLICIT,
            ack_wait=5,
            max_deliver=1,
            max_ack_pending=100_000,
        ),
    )
    return await bus.jetstream.pull_subscribe_bind(
        consumer=consumer, stream=stream.name
    )


async def follow(
    bus: Bus,
    stream: Stream,
    listener: Callable[[bytes], Awaitable[None]],
    *,
    back: int,
    caught_up: Callable[[], Awaitable[None]],
    stopping: asyncio.Event,
) -> None:
    """Hand every message that enters *stream* to *listener*, in order.

    It begins with the last *back* messages.  *caught_up* is awaited when those were
    handed out, and again after each interruption.  No acknowledgements: when the reader
    falls silent or misses something it is made anew, behind the last message that it
    handed out, and when the stream was wiped, at the first message of the new one.
    What is lost with a stream nobody hears here: who must not miss it looks elsewhere
    when *caught_up* is awaited.
    """
    mark: _Mark | None = None
    while not stopping.is_set() and await bus.until_connected(stopping):
        try:
            mark, last, subscription = await _read_on(bus, stream, mark, back)
        except (nats.errors.Error, nats.js.errors.Error, Unavailable) as error:
            log.warning("bus.follow_lost", stream=stream.name, cause=repr(error))
            await pause(0.2, stopping)
            continue
        reader = _Reader(bus, subscription, mark, last, listener, caught_up)
        try:
            await reader.run(stopping)
        except (nats.errors.Error, nats.js.errors.Error, Unavailable) as error:
            log.warning("bus.follow_lost", stream=stream.name, cause=repr(error))
            await pause(0.2, stopping)
        finally:
            await leave(subscription)


async def _read_on(
    bus: Bus, stream: Stream, mark: "_Mark | None", back: int
) -> tuple["_Mark", int, Subscription]:
    """Begin to read *stream* behind *mark*, or *back* messages before its end.

    Returned are the mark, the last message there is, and the subscription.
    """
    await ensure(bus, stream)
    info = await bus.jetstream.stream_info(stream.name)
    last = info.state.last_seq
    if mark is None:
        mark = _Mark(created=info.created, seq=max(last - back, 0))
    elif mark.created != info.created or mark.seq > last:
        mark = _Mark(created=info.created, seq=0)
    inbox = bus.client.new_inbox()
    subscription = await bus.client.subscribe(inbox)
    try:
        await bus.jetstream.add_consumer(
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
        await leave(subscription)
        raise
    return mark, last, subscription


@dataclass(slots=True)
class _Reader:
    """Reads one subscription of `follow`."""

    bus: Bus
    subscription: Subscription
    mark: "_Mark"
    #: The last message that there was when it began.
    last: int
    listener: Callable[[bytes], Awaitable[None]]
    caught_up: Callable[[], Awaitable[None]]
    heard: int = 0

    async def run(self, stopping: asyncio.Event) -> None:
        """Hand messages on until one is missing, all is silent, or we stop."""
        connections, silent_seconds = self.bus.connections, 0.0
        behind = self.mark.seq < self.last
        if not behind:
            await self.caught_up()
        while not stopping.is_set() and connections == self.bus.connections:
            try:
                letter = await self.subscription.next_msg(timeout=_LOOK_SECONDS)
            except nats.errors.TimeoutError:
                silent_seconds += _LOOK_SECONDS
                if silent_seconds > 3 * _HEARTBEAT_SECONDS:
                    return
                continue
            silent_seconds = 0.0
            if not letter.reply.startswith(_OF_A_MESSAGE):
                if not await self._answered(letter):
                    return
                continue
            sequence = letter.metadata.sequence
            if sequence.consumer != self.heard + 1:
                return
            await self.listener(letter.data)
            self.heard, self.mark.seq = sequence.consumer, sequence.stream
            if behind and self.mark.seq >= self.last:
                behind = False
                await self.caught_up()

    async def _answered(self, letter: Msg) -> bool:
        """Answer a heartbeat, or whether we keep up; return whether we do."""
        headers = letter.headers or {}
        stalled = headers.get("Nats-Consumer-Stalled")
        if address := letter.reply or stalled:
            await self.bus.client.publish(address)
        return int(headers.get("Nats-Last-Consumer", self.heard)) == self.heard


@dataclass(slots=True)
class _Mark:
    """How far a stream was read, and which: a wiped one counts from one again."""

    created: datetime | None
    seq: int


async def _drop(subscription: JetStreamContext.PullSubscription | None) -> None:
    if subscription is not None:
        try:
            await subscription.unsubscribe()
        except (nats.errors.Error, ValueError, OSError) as error:
            log.debug("bus.unsubscribe_lost", cause=repr(error))
