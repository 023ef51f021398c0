"""Why there was no answer, in words for whoever owns the receiver (pure).

Never what a library says: that may name machines, addresses and files of this house.
"""

import errno
import ssl
from typing import Final

import aiohttp

from libs.common.tls import BadTls
from services.delivery.guard import Forbidden

#: What a receiver, or the way there, can do to a request.  `ValueError` is a method
#: or a header that cannot be written.
FAILURES: Final = (aiohttp.ClientError, OSError, ValueError)

#: This machine is out of something: not the receiver's fault, and not sent either.
_OURS: Final = {
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.ENOBUFS,
    errno.EADDRNOTAVAIL,
}
_UNREACHABLE: Final = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN}


def is_ours(error: BaseException) -> bool:
    """Tell whether the attempt failed for a reason of this pod's own."""
    return isinstance(error, aiohttp.ClientConnectorError) and error.errno in _OURS


def reason(error: BaseException, *, timeout_seconds: float = 0.0) -> str:  # noqa: C901, PLR0911, PLR0912
    """Say why a request failed, for which there were *timeout_seconds*."""
    match error:
        case aiohttp.ConnectionTimeoutError():
            return "no connection in time"
        case TimeoutError():
            return f"timeout after {timeout_seconds:g} s"
        case aiohttp.ClientConnectorError(os_error=Forbidden()) | Forbidden():
            return "address not allowed"
        case BadTls(field=field):
            return f"TLS: the {field} cannot be used"
        case aiohttp.ClientConnectorDNSError():
            return "name not resolved"
        case aiohttp.ClientConnectorCertificateError(certificate_error=cause):
            return _tls(cause)
        case aiohttp.ClientConnectorSSLError(os_error=cause):
            return _tls(cause)
        case aiohttp.ClientConnectorError(os_error=ConnectionResetError()):
            return "connection closed during the handshake"
        case aiohttp.ClientConnectorError():
            return _no_connection(error.errno)
        case aiohttp.ClientOSError(__cause__=ssl.SSLError() as cause):
            # Who wants a certificate of ours says so after the handshake.
            return _tls(cause)
        case aiohttp.ClientPayloadError():
            return "answer broke off or is malformed"
        case aiohttp.ClientResponseError():
            return "answer is malformed or its headers are too large"
        case aiohttp.ServerDisconnectedError() | OSError():
            return "connection closed before the answer"
        case _:
            return "request cannot be sent as it is"


def _tls(error: BaseException) -> str:
    match error:
        case ssl.SSLCertVerificationError(verify_message=str(text)) if text:
            return f"TLS: {text}"
        case ssl.SSLError(reason=str(text)) if text:
            return f"TLS: {text.replace('_', ' ').lower()}"
        case _:
            return "TLS: no secure connection"


def _no_connection(number: int | None) -> str:
    if number == errno.ECONNREFUSED:
        return "connection refused"
    if number in _UNREACHABLE:
        return "no route to the receiver"
    return "no connection"
