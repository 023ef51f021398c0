"""Which headers a target may have on top of the sender's own (pure).

Asked twice: of whoever names a target, and again before a request is sent.  Reserved
are the headers that frame the request or its connection, those of the signature and
of traces, and those that mean something to a cloud's own services.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

#: How many headers a target may have, and how large they may be, each and together:
#: 64 jobs with their headers, but without their bodies, fit into one message.
HEADERS_MAX: Final = 32
HEADER_VALUE_CHARS_MAX: Final = 4096
HEADERS_CHARS_MAX: Final = 8 * 1024

#: RFC 9110, section 5.6.2: what a method or the name of a header may be.
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
#: RFC 9110, section 5.5, without the obsolete: what a header may say.
_VALUE: Final = re.compile(r"[\x21-\x7e]([\x20-\x7e\t]*[\x21-\x7e])?|")

_RESERVED: Final = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-length",
        "expect",
        "host",
        "http2-settings",
        "keep-alive",
        "te",  # codespell:ignore te
        "traceparent",
        "tracestate",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_RESERVED_PREFIXES: Final = ("proxy-", "webhook-", "x-amz-", "x-azure-", "x-goog-")


#: How often what is in the body came to Bellhop before: how a loop is known.  Whoever
#: names a target cannot say it (see above); a delivery brings it where it is not 0.
HOPS: Final = "webhook-hops"


class BadHeader(ValueError):  # noqa: N818 - what is wrong, no "Error" at the end
    """A header that a target may not have; *code* is what is wrong in one word."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def is_token(text: str) -> bool:
    """Tell whether *text* may be a method, or the name of a header."""
    return _TOKEN.fullmatch(text) is not None


@lru_cache(maxsize=4096)
def is_reserved(name: str) -> bool:
    """Tell whether the header *name* is the sender's business."""
    lowered = name.lower()
    return lowered in _RESERVED or lowered.startswith(_RESERVED_PREFIXES)


def check_header(name: str, value: str) -> None:
    """Raise `BadHeader` unless a target may have this header."""
    if not is_token(name):
        raise BadHeader("header_name", f"{name!r} is no header name")
    if is_reserved(name):
        raise BadHeader("header_reserved", f"{name} is set by the sender")
    if len(value) > HEADER_VALUE_CHARS_MAX or _VALUE.fullmatch(value) is None:
        raise BadHeader(
            "header_value",
            f"the value of {name} is too long or not printable ASCII",
        )


def check_headers(headers: Mapping[str, str]) -> None:
    """Raise `BadHeader` unless a target may have all of these."""
    if len(headers) > HEADERS_MAX:
        raise BadHeader("headers_size", f"there are more than {HEADERS_MAX} headers")
    for name, value in headers.items():
        check_header(name, value)
    if len({name.lower() for name in headers}) < len(headers):
        raise BadHeader("header_name", "a header is there twice")
    if sum(map(len, headers)) + sum(map(len, headers.values())) > HEADERS_CHARS_MAX:
        raise BadHeader("headers_size", "headers exceed 8 KiB")
