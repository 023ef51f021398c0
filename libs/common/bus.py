"""NATS: with ``streams`` the only place that speaks it.

The bus may be away: at the start, for a while, or with its disk wiped.  A process
starts without it, says so (`Bus.connected`), and carries on when it is back.  Hints
said meanwhile are dropped; a request raises `Unavailable`.  Here are the connection,
hints and requests; JetStream stands in ``streams``.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, TypeVar

import nats.errors
import nats.js.errors
import structlog
from nats.aio.client import Client, Server
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from libs.common import messages
from libs.common.errors import Unavailable
from libs.common.loops import pause
from libs.common.messages import JournalGrew, LanesReady, Unreadable, Word, WorkReady
from libs.common.metrics import (
    BUS_CONNECTED,
    BUS_RECONNECTS,
    MESSAGES_FAILED,
    MESSAGES_UNREADABLE,
)

log = structlog.get_logger()

T = TypeVar("T")
W = TypeVar("W", bound=Word)
Listener = Callable[[Any], Awaitable[None] | None]

_RECONNECT_SECONDS: Final = 0.25
_DRAIN_SECONDS: Final = 2.0
#: How soon after one word that the journal grew another one is of use: who hears it
#: lets as many gather where many come.
_GROWTHS_APART_SECONDS: Final = 0.02
_PENDING_BYTES_MAX: Final = 8 * 1024 * 1024
#: NATS limits a message; what it does not tell us we do not assume.
_PAYLOAD_BYTES_DEFAULT: Final = 1024 * 1024


# Shown before it happens: from nothing to one is no increase to Prometheus.
for _word in (*(kind.__name__ for kind in Word.__subclasses__()), "Event"):
    MESSAGES_UNREADABLE.labels(word=_word)
    MESSAGES_FAILED.labels(word=_word)


class NobodyListens(Unavailable):
    """The request reached the bus, and there is nobody to answer it."""


class Undecided(Unavailable):
    """It may have arrived or not: no answer came in time."""


class Bus:
    """A connection to NATS that comes back by itself."""

    def __init__(self, client: Client) -> None:
        #: The connection itself, for ``streams`` only.
        self.client = client
        self.jetstream = client.jetstream()
        #: Counts the times we got connected: a caller that remembers the number
        #: knows whether hints may have been lost since.
        self.connections = 0
        self._first = asyncio.Event()
        self._grew_at = float("-inf")
        #: The word that the journal grew, while it waits to be said for many.
        self._growth: asyncio.Task[None] | None = None
        #: Who hears, in this process, by subject.
        self._listeners: dict[str, tuple[Listener, ...]] = {}

    # --- the connection ------------------------------------------------------------

    @property
    def connected(self) -> bool:
        """Whether NATS is there right now."""
        return self.client.is_connected

    @property
    def payload_bytes_max(self) -> int:
        """How large one message may be, as the server says."""
        return self.client.max_payload or _PAYLOAD_BYTES_DEFAULT

    async def until_connected(self, stopping: asyncio.Event) -> bool:
        """Wait for NATS; return whether it is there, or false when stopping."""
        while not self.connected and not stopping.is_set():
            await pause(0.05, self._first, stopping)
            if self._first.is_set() and not self.connected:
                await pause(0.05, stopping)
        return self.connected

    async def answers(self, *, seconds: float) -> bool:
        """Return whether the server answers in time.

        All that it had said to us before was heard by then.  That nothing comes through
        any more the connection itself says only after ten seconds or more.
        """
        if not self.connected:
            return False
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        try:
            await self.client._send_ping(answer)  # noqa: SLF001
        except (nats.errors.Error, OSError):
            return False
        # It stays the client's, who tells it of an answer that comes late.
        await asyncio.wait([answer], timeout=seconds)
        return answer.done()

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
        # What was said into the cut is not said after it: a batch that arrived so
        # late could be one that somebody else has by then.
        self.client._pending.clear()  # noqa: SLF001
        self.client._pending_data_size = 0  # noqa: SLF001
        if not self.client.is_closed:
            log.warning("bus.disconnected")

    # --- hints ---------------------------------------------------------------------

    async def ring(self, word: Word) -> None:
        """Say a hint, or drop it when the bus is away: whoever needs it looks again.

        Who hears in this process does so at once, with the bus or without.
        """
        for listener in self._listeners.get(word.subject, ()):
            waiting = listener(word)
            if waiting is not None:
                await waiting
        if not self.connected:
            return
        try:
            await self.client.publish(word.subject, word.encode())
        except (nats.errors.Error, OSError) as error:
            log.warning("bus.hint_dropped", subject=word.subject, cause=repr(error))

    async def ring_lanes(self, lanes: Iterable[tuple[int, bool]]) -> None:
        """Say in which lanes there is work now: (lane id, whether it is pushed)."""
        push: set[int] = set()
        work: set[int] = set()
        for lane_id, pushed in lanes:
            (push if pushed else work).add(lane_id)
        if push:
            await self.ring(LanesReady(lanes=sorted(push)))
        if work:
            await self.ring(WorkReady(lanes=sorted(work)))

    async def ring_journal(self) -> None:
        """Say that the journal grew: at once, or for all who ask in a few milliseconds.

        Every batch says it, of every process; each word wakes several that listen.
        """
        if self._growth is not None:
            return
        loop = asyncio.get_running_loop()
        apart = self._grew_at + _GROWTHS_APART_SECONDS - loop.time()
        if apart > 0:
            self._growth = asyncio.create_task(self._ring_later(apart))
            return
        self._grew_at = loop.time()
        await self.ring(JournalGrew())

    async def _ring_later(self, seconds: float) -> None:
        try:
            await asyncio.sleep(seconds)
        finally:
            self._growth = None
        self._grew_at = asyncio.get_running_loop().time()
        await self.ring(JournalGrew())

    async def hear(
        self,
        word: type[W],
        listener: Callable[[W], Awaitable[None] | None],
        *,
        stopping: asyncio.Event,
    ) -> None:
        """Call *listener* with every hint of this kind until stopped.

        What cannot be read, or makes the listener fail, is counted and skipped.  The
        listener must be quick: it stands in the way of the next word.
        """

        async def heard(letter: Msg) -> None:
            spoken = read(word, letter.data)
            if spoken is not None:
                with sparing(word.__name__):
                    waiting = listener(spoken)
                    if waiting is not None:
                        await waiting

        with self._hearing(word.subject, listener):
            if not await self.until_connected(stopping):
                return
            subscription = await self.client.subscribe(word.subject, cb=heard)
            try:
                await stopping.wait()
            finally:
                await leave(subscription)

    @contextmanager
    def _hearing(self, subject: str, listener: Listener) -> Iterator[None]:
        others = self._listeners.get(subject, ())
        self._listeners[subject] = (*others, listener)
        try:
            yield
        finally:
            self._listeners[subject] = tuple(
                one for one in self._listeners[subject] if one is not listener
            )

    # --- requests ------------------------------------------------------------------

    async def ask(self, subject: str, data: bytes, *, seconds: float) -> bytes:
        """Ask and return the answer.

        Raises `NobodyListens` when nobody does, `Undecided` when no answer came
        within *seconds*, `Unavailable` when the bus is away.
        """
        if not self.connected:
            raise Unavailable("nats: not connected")
        try:
            letter = await self.client.request(subject, data, timeout=seconds)
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
        question into a mailbox and returns at once.  What was on its way here when we
        were stopped is handed over, too.
        """

        async def heard(letter: Msg) -> None:
            listener(Question(self, letter))

        if not await self.until_connected(stopping):
            return
        subscription = await self.client.subscribe(subject, queue=group, cb=heard)
        try:
            await stopping.wait()
            await drain(subscription)
        finally:
            await leave(subscription)

    async def reply(
        self, address: str, data: bytes, headers: dict[str, str] | None = None
    ) -> None:
        """Answer a question; an answer that cannot be sent is asked for again."""
        if not (self.connected and address):
            return
        try:
            await self.client.publish(address, data, headers=headers)
        except (nats.errors.Error, OSError) as error:
            log.warning("bus.answer_dropped", cause=repr(error))


class Question:
    """A request somebody waits for; answer it once."""

    __slots__ = ("_bus", "_letter")

    def __init__(self, bus: Bus, letter: Msg) -> None:
        self._bus = bus
        self._letter = letter

    @property
    def data(self) -> bytes:
        """What is asked."""
        return self._letter.data

    @property
    def subject(self) -> str:
        """Where it was asked."""
        return self._letter.subject

    @property
    def is_awaited(self) -> bool:
        """Whether anybody waits for the answer."""
        return bool(self._letter.reply)

    def headers(self) -> dict[str, str]:
        """Return all headers, as they are written."""
        return self._letter.headers or {}

    def header(self, name: str) -> str | None:
        """Return a header, whatever its capitals."""
        for given, text in (self._letter.headers or {}).items():
            if given.lower() == name.lower():
                return str(text)
        return None

    async def answer(
        self, data: bytes = b"", headers: dict[str, str] | None = None
    ) -> None:
        """Send the answer."""
        await self._bus.reply(self._letter.reply, data, headers)


def read(word: type[W], data: bytes) -> W | None:
    """Read a word; what cannot be read is logged, counted and skipped."""
    return _read(word.__name__, word.decode, data)


def read_event(data: bytes) -> messages.Event | None:
    """Read an event; what cannot be read is logged, counted and skipped."""
    return _read("Event", messages.read_event, data)


def _read(name: str, decode: Callable[[bytes], T], data: bytes) -> T | None:
    try:
        return decode(data)
    except Unreadable as error:
        MESSAGES_UNREADABLE.labels(word=name).inc()
        log.warning("bus.unreadable", word=name, cause=str(error)[:200])
        return None


@contextmanager
def sparing(word: str) -> Iterator[None]:
    """Let what fails over a message end with it: logged, counted and skipped.

    It was read, and yet nobody thought of it: a bug.  Heard again it would fail again,
    and whoever hears would hear nothing else.
    """
    try:
        yield
    except Exception:
        MESSAGES_FAILED.labels(word=word).inc()
        log.exception("bus.message_failed", word=word)


@asynccontextmanager
async def open_bus(url: str, *, service: str) -> AsyncIterator[Bus]:
    """Open the bus; return at once, connected or not, and keep trying for ever."""
    client = Client()
    bus = Bus(client)

    async def noticed(error: Exception) -> None:
        log.debug("bus.trouble", cause=repr(error))

    def next_server(servers: list[Server], _: object) -> tuple[Server, float]:
        # Spread a house full of clients over the second in which NATS comes back.
        return servers[0], _RECONNECT_SECONDS * (0.5 + random.random())  # noqa: S311

    async def connect() -> None:
        await client.connect(
            url.split(","),
            name=f"bellhop-{service}",
            inbox_prefix=f"_INBOX_{service}",  # that its user alone may hear
            error_cb=noticed,
            disconnected_cb=bus._left,  # noqa: SLF001
            reconnected_cb=bus._came_back,  # noqa: SLF001
            reconnect_time_wait=_RECONNECT_SECONDS,  # type: ignore[arg-type]
            reconnect_to_server_handler=next_server,
            max_reconnect_attempts=-1,
            connect_timeout=2,
            # What we say ourselves we hear at once: see `Bus.ring`.
            no_echo=True,
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
        if bus._growth is not None:  # noqa: SLF001
            await bus._growth  # noqa: SLF001
        await _say_goodbye(client)


async def _say_goodbye(client: Client) -> None:
    if client.is_connected:
        try:
            await asyncio.wait_for(client.flush(timeout=1), 2)
        except (nats.errors.Error, OSError, RuntimeError, TimeoutError) as error:
            log.debug("bus.flush_lost", cause=repr(error))
    try:
        await client.close()
    except (OSError, RuntimeError) as error:
        # There was something left to say, and the server is gone already: uvloop
        # calls that no error of the system's.
        log.debug("bus.close_lost", cause=repr(error))


async def drain(subscription: Subscription) -> None:
    """Hear no more than what is on its way already; return when it was heard."""
    try:
        async with asyncio.timeout(_DRAIN_SECONDS):
            await subscription.drain()  # type: ignore[no-untyped-call]
    except (nats.errors.Error, nats.js.errors.Error, OSError, TimeoutError) as error:
        log.debug("bus.drain_lost", cause=repr(error))


async def leave(subscription: Subscription) -> None:
    """Give a subscription up; that it is gone already is no trouble."""
    try:
        await subscription.unsubscribe()
    except (nats.errors.Error, nats.js.errors.Error, OSError) as error:
        log.debug("bus.unsubscribe_lost", cause=repr(error))
