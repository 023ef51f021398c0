"""A request as it is written (pure): where it goes, and its head, line by line.

Whatever is said of a header is checked here once more, where it becomes a line: no
name and no value can end one and begin another.  Where a request goes is taken from a
URL that `libs.common.addresses` has built, so nobody reads it in two ways.
"""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from libs.common.headers import is_token

_URL: Final = re.compile(
    r"(?P<scheme>https?)://"
    r"(?P<authority>(?P<host>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(?P<port>[0-9]+))?)"
    r"(?P<path>/[\x21\x22\x24-\x7e]*)"
)
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}

#: The methods that there are.
METHODS: Final = frozenset({"POST", "PUT", "PATCH", "DELETE", "GET"})


class Destination(NamedTuple):
    """Where a request goes; *host* is as it is looked up, *authority* as it is said."""

    secure: bool
    host: str
    port: int
    authority: str
    path: str


class Request(NamedTuple):
    """What is asked; *lines* are the headers, as `lines_of` returns them."""

    method: str
    destination: Destination
    lines: str
    body: bytes


def destination_of(url: str) -> Destination:
    """Return where *url* leads, which was checked, and built by `checked_url`."""
    parts = _URL.fullmatch(url)
    if parts is None:
        raise ValueError("not a URL that was checked")
    scheme = parts["scheme"]
    return Destination(
        secure=scheme == "https",
        host=parts["host"].strip("[]"),
        port=int(parts["port"] or _DEFAULT_PORTS[scheme]),
        authority=parts["authority"],
        path=parts["path"],
    )


def lines_of(headers: Iterable[tuple[str, str]]) -> str:
    """Return *headers* as lines; raises `ValueError` for what is none."""
    lines = []
    for name, value in headers:
        if not is_token(name) or not value.isprintable():
            raise ValueError("not a header")
        lines.append(f"{name}: {value}\r\n")
    return "".join(lines)


def head_of(request: Request) -> bytes:
    """Return all of *request* that comes before its body.

    Raises `ValueError` for a method that we do not know, or text that is none.
    """
    method, destination, lines, body = request
    if method not in METHODS:
        raise ValueError("not a method")
    return (
        f"{method} {destination.path} HTTP/1.1\r\nHost: {destination.authority}\r\n"
        f"{lines}Content-Length: {len(body)}\r\n\r\n"
    ).encode()
