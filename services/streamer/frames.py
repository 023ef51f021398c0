"""Frames: what is written to watchers, in both framings (pure).

A frame is ``{"type": …, "data": {…, "timestamp": …}}`` (contract 3.1) and carries a
mark, so that a client knows how far it has seen.  Which frames an event becomes stands
in `tidings`; here is how they are written, and those that are about no event.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any, ClassVar, Final

import msgspec

from libs.common.lifecycle import Status

_ENCODER: Final = msgspec.json.Encoder()


class Kind(StrEnum):
    """The kinds of frame of the contract, and ours.

    `NAMES` has what filters and named frames call them.
    """

    JOB_CREATED = "JobCreated"
    JOB_STATUS_CHANGE = "JobStatusChange"
    JOB_COMPLETED = "JobCompleted"
    JOB_FAILED = "JobFailed"
    QUEUE_STATS = "QueueStats"
    SYSTEM_HEALTH = "SystemHealth"
    PING = "Ping"
    EVENTS_LOST = "EventsLost"
    ERROR = "Error"


NAMES: Final[Mapping[Kind, str]] = MappingProxyType(
    {
        Kind.JOB_CREATED: "job.created",
        Kind.JOB_STATUS_CHANGE: "job.status",
        Kind.JOB_COMPLETED: "job.completed",
        Kind.JOB_FAILED: "job.failed",
        Kind.QUEUE_STATS: "queue.stats",
        Kind.SYSTEM_HEALTH: "system.health",
        Kind.PING: "ping",
        Kind.EVENTS_LOST: "events.lost",
        Kind.ERROR: "error",
    }
)


class Frame:
    """One frame; each way to write it is encoded once, for however many take it."""

    __slots__ = (
        "_message",
        "_named",
        "_text",
        "body",
        "kind",
        "mark",
        "name",
        "unnamed",
    )

    #: Whether it ends the stream of a job.
    is_last: ClassVar[bool] = False

    def __init__(self, kind: str, name: str, data: Any, mark: str | None) -> None:
        self.kind: Final = kind
        self.name: Final = name
        #: What a client says to go on behind it.
        self.mark: Final = mark
        #: JSON holds no line break of its own.
        self.body = _ENCODER.encode({"type": kind, "data": data})
        line = b"" if mark is None else b"id: %s\n" % mark.encode()
        self.unnamed = b"%sdata: %s\n\n" % (line, self.body)
        self._named: bytes | None = None
        self._text: str | None = None
        self._message: bytes | None = None

    @property
    def named(self) -> bytes:
        """The event stream's frame with its name (decision D14)."""
        if self._named is None:
            self._named = b"event: %s\n%s" % (self.name.encode(), self.unnamed)
        return self._named

    @property
    def text(self) -> str:
        """The WebSocket's message: there the mark is a member, ``id``."""
        if self._text is None:
            envelope = self.body.decode()
            if self.mark is not None:
                envelope = f'{envelope[:-1]},"id":"{self.mark}"}}'
            self._text = envelope
        return self._text

    @property
    def message(self) -> bytes:
        """The WebSocket's message, framed (RFC 6455, 5.2)."""
        if self._message is None:
            self._message = _framed(self.text.encode())
        return self._message


class Last(Frame):
    """No frame at all: after the one before it a job's stream ends."""

    __slots__ = ()
    is_last = True

    def __init__(self) -> None:
        super().__init__("", "", None, None)
        self.body = self.unnamed = self._named = self._message = b""


#: How frames are written to a connection, as one piece.
Spelling = Callable[[Sequence[Frame]], bytes]


def unnamed(frames: Sequence[Frame]) -> bytes:
    """Spell frames of an event stream."""
    return b"".join([frame.unnamed for frame in frames])


def named(frames: Sequence[Frame]) -> bytes:
    """Spell frames of an event stream, with their names."""
    return b"".join([frame.named for frame in frames])


def unnamed_in_chunk(frames: Sequence[Frame]) -> bytes:
    """Spell frames as HTTP/1.1 carries them."""
    return chunk(unnamed(frames))


def named_in_chunk(frames: Sequence[Frame]) -> bytes:
    """Spell frames with their names, as HTTP/1.1 carries them."""
    return chunk(named(frames))


def messages(frames: Sequence[Frame]) -> bytes:
    """Spell frames as messages of a WebSocket."""
    return b"".join([frame.message for frame in frames])


def chunk(data: bytes) -> bytes:
    """Return *data* as one chunk (RFC 9112, 7.1); nothing stays nothing.

    A chunk without data would end the body.
    """
    return b"%x\r\n%s\r\n" % (len(data), data) if data else b""


def system_health(
    *,
    database: bool,
    bus: bool,
    jobs: Mapping[Status, int] | None = None,
    as_of: str | None = None,
) -> Frame:
    """Return how the house is; ``redis`` is what clients call the bus.

    *jobs* are those of the organization that is told, *as_of* a mark.  It is not the
    frame's own: who was told more elsewhere would go back to it, and be told again.
    """
    data: dict[str, Any] = {"database": database, "redis": bus}
    if jobs is not None:
        data |= {"jobs": _counted(jobs), "as_of": as_of}
    return _frame(Kind.SYSTEM_HEALTH, {**data, "timestamp": _now()}, None)


def queue_stats(queue_name: str, counts: Mapping[Status, int]) -> Frame:
    """Return how many jobs of a queue there are, by status (contract 3.1).

    It has no mark: who comes back is told anew.
    """
    data = {"queue_name": queue_name, **_counted(counts), "timestamp": _now()}
    return _frame(Kind.QUEUE_STATS, data, None)


def ping(mark: str | None) -> Frame:
    """Return a sign of life, for who cannot see a comment."""
    return _frame(Kind.PING, {"timestamp": _now()}, mark)


def standing(
    *, job_id: str, queue_name: str, status: str, at: datetime, mark: str | None
) -> Frame:
    """Return how a job stands when somebody begins to watch it (contract 3.3)."""
    data = {
        "job_id": job_id,
        "queue_name": queue_name,
        "old_status": "",
        "new_status": status,
        "timestamp": at.isoformat(),
    }
    return _frame(Kind.JOB_STATUS_CHANGE, data, mark)


def events_lost(since: str) -> Frame:
    """Return that what happened since is not kept, or not known to be all."""
    message = (
        "What happened since then is not kept any more; the stream goes on from now"
    )
    data = {"message": message, "since": since, "timestamp": _now()}
    return _frame(Kind.EVENTS_LOST, data, None)


def error(message: str) -> Frame:
    """Return the last frame of a stream that we end, or why we did not as told."""
    return _frame(Kind.ERROR, {"message": message, "timestamp": _now()}, None)


def comment(text: str, mark: str | None) -> bytes:
    """Return a block that no client shows, and after which it knows *mark*.

    A block without data sets the last event id and is no event (WHATWG HTML, 9.2.6).
    """
    line = "" if mark is None else f"id: {mark}\n"
    return f": {text}\n{line}\n".encode()


def _counted(counts: Mapping[Status, int]) -> dict[str, int]:
    """Return counts by their names: *completed* ever did, *failed* are dead letters."""
    return {
        "pending": counts[Status.PENDING],
        "processing": counts[Status.PROCESSING],
        "completed": counts[Status.COMPLETED],
        "failed": counts[Status.DEADLETTER],
        "scheduled": counts[Status.SCHEDULED],
    }


_FINAL_TEXT: Final = 0x81
_IN_ONE_BYTE: Final = 126
_IN_TWO_BYTES: Final = 127


def _framed(text: bytes) -> bytes:
    """Return a whole message of a server, which masks nothing."""
    size = len(text)
    if size < _IN_ONE_BYTE:
        return bytes((_FINAL_TEXT, size)) + text
    if size < 1 << 16:
        return bytes((_FINAL_TEXT, _IN_ONE_BYTE)) + size.to_bytes(2) + text
    return bytes((_FINAL_TEXT, _IN_TWO_BYTES)) + size.to_bytes(8) + text


def _frame(kind: Kind, data: dict[str, Any], mark: str | None) -> Frame:
    return Frame(kind, NAMES[kind], data, mark)


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")
