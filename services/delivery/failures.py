"""Why there was no answer, in words for whoever owns the receiver (pure).

Never what a library says: that may name machines, addresses and files of this house.
What OpenSSL says of a certificate is the exception: it names the receiver's own.
"""

import errno
import ssl
from typing import Final

from libs.common.tls import BadTls
from services.delivery.guard import Forbidden

#: What can be wrong with an answer.
MALFORMED: Final = "answer is malformed or its headers are too large"
BROKEN: Final = "answer broke off or is malformed"
CLOSED: Final = "connection closed before the answer"
#: What can be wrong on the way to a receiver.
UNKNOWN: Final = "name not resolved"
LATE: Final = "no connection in time"
HUNG_UP: Final = "connection closed during the handshake"


class NoAnswer(Exception):  # noqa: N818
    """There was no answer; its words say why, and may be shown."""


class NoRoom(Exception):  # noqa: N818
    """This machine is out of something, and nothing was sent.

    *of_files*: what idle connections hold, too.
    """

    def __init__(self, *, of_files: bool = False) -> None:
        super().__init__()
        self.of_files = of_files


#: What can become of a request instead of an answer.  `ValueError` is a method or a
#: header that cannot be written, or certificates that cannot be used.
FAILURES: Final = (NoAnswer, NoRoom, Forbidden, TimeoutError, ValueError)

_FILES: Final = {errno.EMFILE, errno.ENFILE}
_OURS: Final = {*_FILES, errno.ENOMEM, errno.ENOBUFS, errno.EADDRNOTAVAIL}
_UNREACHABLE: Final = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN}


def reason(failure: BaseException, *, timeout_seconds: float = 0.0) -> str:
    """Say why a request failed, for which there were *timeout_seconds*."""
    match failure:
        case NoAnswer():
            return str(failure)
        case TimeoutError():
            return f"timeout after {timeout_seconds:g} s"
        case Forbidden():
            return "address not allowed"
        case BadTls(field=field):
            return f"TLS: the {field} cannot be used"
        case _:
            return "request cannot be sent as it is"


def not_found(error: OSError) -> NoAnswer | NoRoom:
    """Return what it means that a look-up failed."""
    return _no_room(error.errno) or NoAnswer(UNKNOWN)


def not_connected(
    error: OSError | RuntimeError, *, by_six: bool = False
) -> NoAnswer | NoRoom:
    """Return what it means that no connection was made, *by_six*: over IPv6 only.

    A machine without IPv6 has no address to connect from, and will have none.
    """
    number = error.errno if isinstance(error, OSError) else None
    if by_six and number == errno.EADDRNOTAVAIL:
        number = errno.ENETUNREACH
    room = _no_room(number)
    if room is not None:
        return room
    if number == errno.ECONNREFUSED:
        return NoAnswer("connection refused")
    if number in _UNREACHABLE:
        return NoAnswer("no route to the receiver")
    return NoAnswer("no connection")


def _no_room(number: int | None) -> NoRoom | None:
    return NoRoom(of_files=number in _FILES) if number in _OURS else None


def not_secured(error: OSError) -> NoAnswer | NoRoom:
    """Return what it means that there is a connection, but no TLS on it."""
    match error:
        case ssl.SSLCertVerificationError(verify_message=str(text)) if text:
            return NoAnswer(f"TLS: {text}")
        case ssl.SSLError(reason=str(text)) if text:
            return NoAnswer(f"TLS: {text.replace('_', ' ').lower()}")
        case ssl.SSLError():
            return NoAnswer("TLS: no secure connection")
        case ConnectionError():
            return NoAnswer(HUNG_UP)
        case _:
            return not_connected(error)
