"""An answer as it is heard (pure): what it says, whether it is whole, within bounds.

llhttp reads, through httptools, as lenient as aiohttp is with answers: bare line
feeds, folded headers and spaces behind the size of a chunk are understood.  Behind an
answer whose end others might see elsewhere, nothing more is asked.  What llhttp
does not bound is bounded here: lines, their number, interim answers (1xx), and all
that comes besides a body (heads, extensions of chunks, trailers), which is what costs
us most by the byte.  Of a body a beginning is kept, and no more of it is heard than
a bound; nothing is inflated.

A `Reader` hears one answer after the other off one connection.
"""

from dataclasses import dataclass
from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from services.delivery.failures import BROKEN, CLOSED, MALFORMED, NoAnswer

#: How much of a body is kept, and how much is heard before the connection is cut.
KEPT_BYTES_MAX: Final = 16 * 1024
READ_BYTES_MAX: Final = 64 * 1024

#: How much an answer may take on the wire besides its body.
AROUND_BYTES_MAX: Final = 64 * 1024
#: How much is heard before somebody looks whether it is too much.
_SLICE_BYTES: Final = 32 * 1024
#: The longest line of an answer's head, and how many there may be, trailers included.
LINE_BYTES_MAX: Final = 8190
LINES_MAX: Final = 128
#: How many interim answers may come before the answer.
INTERIM_MAX: Final = 16

_SWITCHING: Final = 101
_FINAL: Final = 200
_LOWEST: Final = 100
_LINE_ENDS: Final = b"\r\n"

_KEEP_ALIVE: Final = b"keep-alive"
_TRANSFER_ENCODING: Final = b"transfer-encoding"
_CHUNKED: Final = b"chunked"
_SPACE: Final = ord(b" ")
#: How answers begin of which we know what they mean.
_VERSIONS: Final = ("1.1", "1.0")


@dataclass(slots=True)
class Answer:
    """What a server said; *body* is the beginning of it, *headers* as they came."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def header(self, name: bytes) -> bytes | None:
        """Return what the first header of *name*, in lower case, says."""
        for one, value in self.headers:
            if one.lower() == name:
                return value
        return None


class Reader:
    """Hears answers; whoever feeds it says when the next one is expected."""

    __slots__ = (
        "_around",
        "_begun",
        "_codings",
        "_headers",
        "_interim",
        "_interims",
        "_kept",
        "_lines",
        "_odd",
        "_parser",
        "_reason_bytes",
        "_seen",
        "_status",
        "idle_seconds",
        "keeps",
        "whole",
    )

    def __init__(self) -> None:
        self._parser = HttpResponseParser(self)
        self._parser.set_dangerous_leniencies(
            lenient_headers=True,
            lenient_optional_cr_before_lf=True,
            lenient_spaces_after_chunk_size=True,
        )
        self.expect()

    def expect(self) -> None:
        """Forget the last answer: the next one may come."""
        #: Whether the answer is whole.
        self.whole = False
        #: Whether another request may be made where this answer came from, and for
        #: how long the server says it waits for one.
        self.keeps = False
        self.idle_seconds: float | None = None
        self._status = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._kept: list[bytes] = []
        self._seen = 0
        self._around = 0
        self._interim = False
        self._interims = 0
        self._begun = False
        self._lines = 0
        self._reason_bytes = 0
        #: Whether the head says in an odd way where the answer ends, or may be read so.
        self._odd = False
        self._codings = 0

    def close(self) -> None:
        """Hear nothing more."""
        # Who reads and who is told hold each other.
        del self._parser

    def answer(self) -> Answer:
        """Return the answer, once it is whole."""
        kept = b"".join(self._kept)
        return Answer(self._status, self._headers, kept[:KEPT_BYTES_MAX])

    def feed(self, data: bytes) -> bool:
        """Hear more; return whether the answer is whole.  Raises `NoAnswer`."""
        if len(data) <= _SLICE_BYTES:
            self._feed(data)
            return self.whole
        for start in range(0, len(data), _SLICE_BYTES):
            if self.whole:
                self.keeps = False
                break
            self._feed(data[start : start + _SLICE_BYTES])
        return self.whole

    def end(self, *, cleanly: bool) -> None:
        """Hear that no more will come.  Raises `NoAnswer` unless that ends the answer.

        A body of no said length ends with its connection, when that ends *cleanly*.
        """
        if not self._begun:
            raise NoAnswer(CLOSED)
        if not cleanly or not self._is_open_ended():
            raise NoAnswer(BROKEN)
        self.whole = True
        self.keeps = False

    def _feed(self, data: bytes) -> None:
        parser, seen = self._parser, self._seen
        try:
            if data[-1] in _LINE_ENDS:
                # An empty line behind an answer would be passed over in silence.
                parser.feed_data(data[:-1])
                if self.whole:
                    self.keeps = False
                    return
                parser.feed_data(data[-1:])
            else:
                parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            self.keeps = False
            if not self.whole:
                raise NoAnswer(MALFORMED) from None
        if self.whole:
            return
        self._around += len(data) - (self._seen - seen)
        if self._around > AROUND_BYTES_MAX:
            raise NoAnswer(BROKEN if self._begun else MALFORMED)

    def _is_open_ended(self) -> bool:
        """Tell whether the body goes on until the connection ends (RFC 9112, 6.3)."""
        names = {name.strip().lower() for name, _ in self._headers}
        if b"transfer-encoding" in names:
            codings = b",".join(
                value
                for name, value in self._headers
                if name.strip().lower() == b"transfer-encoding"
            )
            return codings.rpartition(b",")[2].strip().lower() != b"chunked"
        return b"content-length" not in names

    # --- what llhttp tells ---------------------------------------------------------

    def on_message_begin(self) -> None:
        """Begin a head: of an answer, or of one too many."""
        if self.whole:
            self.keeps = False
            raise NoAnswer(MALFORMED)
        self._headers = []
        self._lines = 0
        self._reason_bytes = 0
        self._odd = False
        self._codings = 0

    def on_status(self, reason: bytes) -> None:
        """Count the words behind a status."""
        self._reason_bytes += len(reason)
        if self._reason_bytes > LINE_BYTES_MAX:
            raise NoAnswer(MALFORMED)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; trailers are counted only."""
        self._lines += 1
        if (
            self._lines > LINES_MAX
            or len(name) + len(value) > LINE_BYTES_MAX
            or b"\0" in value
        ):
            raise NoAnswer(MALFORMED)
        if self._begun:
            return
        value = value.rstrip(b" \t")
        self._headers.append((name, value))
        size = len(name)
        if name[-1] <= _SPACE:
            self._odd = True
        elif size == len(_KEEP_ALIVE) and name.lower() == _KEEP_ALIVE:
            self.idle_seconds = _seconds_in(value)
        elif size == len(_TRANSFER_ENCODING) and name.lower() == _TRANSFER_ENCODING:
            self._codings += 1
            if value.lower() != _CHUNKED:
                self._odd = True

    def on_headers_complete(self) -> None:
        """Begin a body, unless the answer is interim."""
        status = self._parser.get_status_code()
        self._interim = status < _FINAL and status != _SWITCHING
        if self._interim:
            self._interims += 1
            if self._interims > INTERIM_MAX or status < _LOWEST:
                raise NoAnswer(MALFORMED)
            return
        version = self._parser.get_http_version()
        if version not in _VERSIONS:
            raise NoAnswer(MALFORMED)
        self._begun = True
        self._status = status
        if status == _SWITCHING:
            # To what nobody has asked for.
            self.whole = True
        else:
            # RFC 9112, 6.1: before HTTP/1.1 nobody can say chunked and be believed.
            codings_max = 1 if version == "1.1" else 0
            self.keeps = (
                self._parser.should_keep_alive()
                and not self._odd
                and self._codings <= codings_max
            )

    def on_body(self, data: bytes) -> None:
        """Take a piece of a body; stop where it is longer than we hear."""
        if self._interim:
            return
        if self._seen < KEPT_BYTES_MAX:
            self._kept.append(data)
        self._seen += len(data)
        if self._seen >= READ_BYTES_MAX:
            self.whole = True
            self.keeps = False
            raise NoAnswer(BROKEN)

    def on_message_complete(self) -> None:
        """End an answer."""
        if not self._interim:
            self.whole = True


def _seconds_in(value: bytes) -> float | None:
    """Return for how long a server waits, of what it says in ``Keep-Alive``."""
    for part in value.lower().split(b","):
        name, _, text = part.strip().partition(b"=")
        if name.strip() == b"timeout" and text.strip().isdigit():
            return float(text)
    return None
