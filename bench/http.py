"""Just enough of HTTP/1.1 to be in nobody's way: whole messages off a connection.

Both ends are ours or aiohttp's, so every message has a Content-Length or no body.
"""

import asyncio
from abc import abstractmethod
from typing import cast

_LENGTH = b"\r\ncontent-length: "


class Messages(asyncio.Protocol):
    """Cuts what arrives into messages, and hands each to `take`."""

    def __init__(self) -> None:
        self._rest = b""
        self.transport: asyncio.Transport

    @abstractmethod
    def take(self, head: bytes, body: bytes) -> None:
        """Take one message; *head* has no empty line."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to write."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Take all messages that are whole; keep the rest."""
        if self._rest:
            data = self._rest + data
        begins = 0
        while (ends := data.find(b"\r\n\r\n", begins)) >= 0:
            head = data[begins:ends]
            body_begins = ends + 4
            body_ends = body_begins + _body_length(head)
            if len(data) < body_ends:
                break
            self.take(head, data[body_begins:body_ends])
            begins = body_ends
        self._rest = data[begins:]


def field(head: bytes, name: bytes) -> bytes | None:
    """Return a header's value; *name* is in lower case."""
    begins = head.lower().find(b"\r\n" + name + b": ")
    if begins < 0:
        return None
    begins += len(name) + 4
    ends = head.find(b"\r\n", begins)
    return head[begins:] if ends < 0 else head[begins:ends]


def _body_length(head: bytes) -> int:
    begins = head.lower().find(_LENGTH)
    if begins < 0:
        return 0
    begins += len(_LENGTH)
    ends = head.find(b"\r\n", begins)
    return int(head[begins:] if ends < 0 else head[begins:ends])
