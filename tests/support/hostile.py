"""Receivers that mean harm: each talks in its own way, until it is hung up on.

``python -m tests.support.hostile`` lets all of them listen and prints, as JSON, where.
"""

import asyncio
import gzip
import json
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from tests.support.receivers import Receiver, Talk, run_receiver

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"

#: What a verdict says of an answer that is none.
MALFORMED = "answer is malformed or its headers are too large"
BROKEN = "answer broke off or is malformed"
CLOSED = "connection closed before the answer"
TIMEOUT = "timeout"
#: There was an answer; what is kept of it is bounded.
CAPPED = "capped"


@dataclass(frozen=True)
class Hostile:
    """How one receiver talks, and what its verdicts may say: words, or `CAPPED`."""

    talk: Talk
    ends: tuple[str, ...]
    status: int | None = None
    #: Whether it waits for a request before it talks.
    listens: bool = True
    scheme: str = "http"
    method: str = "POST"


def saying(data: bytes, *, close: bool = True) -> Talk:
    """Say this, and hang up."""

    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        if close:
            writer.close()

    return talk


def without_end(head: bytes, again: bytes, *, pause_seconds: float = 0.0) -> Talk:
    """Say *head*, and then the same for ever."""

    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(again)
            await writer.drain()
            # A writer whose reader keeps up never gives way by itself.
            await asyncio.sleep(pause_seconds)

    return talk


async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    while await reader.read(65536):
        pass
    raise ConnectionError


async def closing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()
    await writer.wait_closed()


def resetting(head: bytes) -> Talk:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        await writer.drain()
        # Closed with this, a socket says RST instead of FIN.
        connection = writer.get_extra_info("socket")
        now = struct.pack("ii", 1, 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, now)
        writer.transport.abort()

    return talk


async def twice(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer, and a little later once more, to a question nobody asked."""
    writer.write(OK + b"Content-Length: 3\r\n\r\none")
    await writer.drain()
    await asyncio.sleep(0.05)
    writer.write(OK + b"Content-Length: 3\r\n\r\ntwo")
    await writer.drain()


GZIPPED = OK + b"Content-Encoding: gzip\r\n"
BOMB = gzip.compress(bytes(50 * 1024 * 1024))
K = 1024

HOSTILE: dict[str, Hostile] = {
    # --- slow ---
    "never answers": Hostile(silent, (TIMEOUT,)),
    "drips its head": Hostile(
        without_end(OK, b"X-A: a\r\n", pause_seconds=0.02), (TIMEOUT,)
    ),
    "drips one byte of its head": Hostile(
        without_end(b"", b"H", pause_seconds=0.02), (TIMEOUT, MALFORMED)
    ),
    "drips its body": Hostile(
        without_end(OK + b"Content-Length: 60000\r\n\r\n", b"x", pause_seconds=0.02),
        (TIMEOUT,),
    ),
    "drips chunks": Hostile(
        without_end(CHUNKED, b"1\r\nx\r\n", pause_seconds=0.02), (TIMEOUT,)
    ),
    "drips interim answers": Hostile(
        without_end(b"", b"HTTP/1.1 102 Processing\r\n\r\n", pause_seconds=0.2),
        (TIMEOUT,),
    ),
    # --- without end ---
    "body without end": Hostile(
        without_end(OK + b"\r\n", b"x" * 64 * K), (CAPPED,), 200
    ),
    "chunks without end": Hostile(
        without_end(CHUNKED, b"ffff\r\n" + b"x" * 0xFFFF + b"\r\n"), (CAPPED,), 200
    ),
    "chunks of one byte": Hostile(
        without_end(CHUNKED, b"1\r\nx\r\n" * K), (CAPPED, BROKEN), 200
    ),
    "a body of a googol bytes": Hostile(
        without_end(OK + b"Content-Length: 1" + b"0" * 100 + b"\r\n\r\n", b"x" * K),
        (MALFORMED,),
    ),
    "a body of many gigabytes": Hostile(
        without_end(OK + b"Content-Length: 99999999999\r\n\r\n", b"x" * 64 * K),
        (CAPPED,),
        200,
    ),
    "interim answers without end": Hostile(
        without_end(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * K), (MALFORMED,)
    ),
    "interim answers with headers without end": Hostile(
        without_end(b"HTTP/1.1 103 Early Hints\r\n", b"Link: </a>\r\n" * K),
        (MALFORMED,),
    ),
    "a status line without end": Hostile(
        without_end(b"HTTP/1.1 200 ", b"x" * 64 * K), (MALFORMED,)
    ),
    "a header of ten megabytes": Hostile(
        without_end(OK + b"X-A: ", b"x" * 64 * K), (MALFORMED,)
    ),
    "a name of a header without end": Hostile(
        without_end(OK, b"x" * 64 * K), (MALFORMED,)
    ),
    "headers without end": Hostile(without_end(OK, b"X-A: a\r\n" * K), (MALFORMED,)),
    "large headers without end": Hostile(
        without_end(OK, b"X-A: " + b"a" * 8000 + b"\r\n"), (MALFORMED,)
    ),
    "a folded header without end": Hostile(
        without_end(OK + b"X-A: a\r\n", b" a\r\n" * K), (MALFORMED,)
    ),
    "empty lines without end": Hostile(
        without_end(b"", b"\r\n" * K), (MALFORMED, TIMEOUT)
    ),
    "a chunk extension without end": Hostile(
        without_end(CHUNKED + b"1;", b"x" * 64 * K), (BROKEN,)
    ),
    "chunk extensions without end": Hostile(
        without_end(CHUNKED, b"1;" + b"x" * K + b"\r\nx\r\n"), (BROKEN,)
    ),
    "a size of a chunk without end": Hostile(
        without_end(CHUNKED, b"0" * 64 * K), (BROKEN, MALFORMED)
    ),
    "trailers without end": Hostile(
        without_end(CHUNKED + b"1\r\nx\r\n0\r\n", b"X-A: a\r\n" * K),
        (BROKEN, MALFORMED),
    ),
    # --- packed ---
    "a bomb": Hostile(
        saying(GZIPPED + b"Content-Length: %d\r\n\r\n" % len(BOMB) + BOMB),
        (CAPPED,),
        200,
    ),
    "bombs without end": Hostile(without_end(GZIPPED + b"\r\n", BOMB), (CAPPED,), 200),
    "a chunked bomb": Hostile(
        saying(
            GZIPPED
            + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(BOMB)
            + BOMB
            + b"\r\n0\r\n\r\n"
        ),
        (CAPPED,),
        200,
    ),
    "a bomb of another kind": Hostile(
        saying(OK + b"Content-Encoding: br, zstd, deflate\r\n\r\n" + bytes(K)),
        (CAPPED,),
        200,
    ),
    # --- broken ---
    "hangs up at once": Hostile(closing, (CLOSED,), listens=False),
    "hangs up on the request": Hostile(closing, (CLOSED,)),
    "resets at once": Hostile(resetting(b""), (CLOSED,)),
    "resets in its head": Hostile(resetting(OK), (CLOSED,)),
    "resets in its body": Hostile(
        resetting(OK + b"Content-Length: 100\r\n\r\nhalf"), (BROKEN, CLOSED)
    ),
    "breaks off in its body": Hostile(
        saying(OK + b"Content-Length: 100\r\n\r\nhalf"), (BROKEN,)
    ),
    "breaks off in a chunk": Hostile(saying(CHUNKED + b"5\r\nhel"), (BROKEN,)),
    "breaks off before the last chunk": Hostile(
        saying(CHUNKED + b"5\r\nhello\r\n"), (BROKEN,)
    ),
    "a chunk that is no number": Hostile(
        saying(CHUNKED + b"nonsense\r\n"), (MALFORMED, BROKEN)
    ),
    "a chunk of negative size": Hostile(
        saying(CHUNKED + b"-1\r\nx\r\n0\r\n\r\n"), (MALFORMED, BROKEN)
    ),
    "a chunk larger than it says": Hostile(
        saying(CHUNKED + b"1\r\nxyz\r\n0\r\n\r\n"), (MALFORMED, BROKEN)
    ),
    "a chunk of a googol bytes": Hostile(
        saying(CHUNKED + b"1" + b"0" * 100 + b"\r\nx"), (MALFORMED, BROKEN)
    ),
    "two lengths": Hostile(
        saying(OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxy"), (MALFORMED,)
    ),
    "two lengths in one": Hostile(
        saying(OK + b"Content-Length: 1, 2\r\n\r\nxy"), (MALFORMED,)
    ),
    "a negative length": Hostile(
        saying(OK + b"Content-Length: -1\r\n\r\n"), (MALFORMED,)
    ),
    "a length and chunks": Hostile(
        saying(
            OK + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"
        ),
        (MALFORMED, BROKEN),
    ),
    "a space before a colon": Hostile(
        saying(OK + b"Content-Length : 0\r\n\r\n"), (MALFORMED, CAPPED), 200
    ),
    "a NUL in a header": Hostile(saying(OK + b"X-A: a\x00b\r\n\r\n"), (MALFORMED,)),
    # --- something else ---
    "HTTP/0.9": Hostile(saying(b"<html>hello</html>\r\n"), (MALFORMED,)),
    "HTTP/9.9": Hostile(saying(b"HTTP/9.9 200 OK\r\n\r\n"), (MALFORMED,)),
    "HTTP/2": Hostile(
        saying(b"\x00\x00\x12\x04" + bytes(32) + b"\r\n\r\n"), (MALFORMED,)
    ),
    "SSH": Hostile(saying(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), (MALFORMED,)),
    "a request": Hostile(saying(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"), (MALFORMED,)),
    "noise": Hostile(saying(bytes(range(256)) * 16), (MALFORMED,)),
    "no status": Hostile(saying(b"HTTP/1.1 OK\r\n\r\n"), (MALFORMED,)),
    "a status of four digits": Hostile(
        saying(b"HTTP/1.1 2000 OK\r\n\r\n"), (MALFORMED,)
    ),
    "other protocols": Hostile(
        without_end(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n"
            b"Connection: upgrade\r\n\r\n",
            b"x" * 64 * K,
        ),
        (CAPPED, MALFORMED, BROKEN),
        101,
    ),
    "round in circles": Hostile(
        saying(b"HTTP/1.1 302 Found\r\nLocation: /hook\r\nContent-Length: 0\r\n\r\n"),
        (CAPPED,),
        302,
    ),
    "into the house": Hostile(
        saying(
            b"HTTP/1.1 307 There\r\nLocation: http://169.254.169.254/latest/\r\n"
            b"Content-Length: 0\r\n\r\n"
        ),
        (CAPPED,),
        307,
    ),
    "two answers to one question": Hostile(twice, (CAPPED,), 200),
    # --- TLS ---
    "TLS: silence": Hostile(
        silent, ("no connection in time", TIMEOUT), listens=False, scheme="https"
    ),
    "TLS: another protocol": Hostile(
        saying(b"HTTP/1.1 400 Bad Request\r\n\r\n", close=False),
        ("TLS: ", "connection closed during the handshake"),
        listens=False,
        scheme="https",
    ),
    "TLS: noise without end": Hostile(
        without_end(b"\x16\x03\x03\x40\x00", b"\xff" * 64 * K),
        ("TLS: ", "connection closed during the handshake", "no connection"),
        listens=False,
        scheme="https",
    ),
    "TLS: empty records without end": Hostile(
        without_end(b"", b"\x16\x03\x03\x00\x00" * K),
        ("TLS: ", "connection closed during the handshake", "no connection"),
        listens=False,
        scheme="https",
    ),
    "TLS: hangs up": Hostile(
        closing,
        ("connection closed during the handshake", "no connection", "TLS: "),
        listens=False,
        scheme="https",
    ),
}


@asynccontextmanager
async def run_hostile(name: str) -> AsyncIterator[Receiver]:
    """Let one of them listen until the block ends."""
    hostile = HOSTILE[name]
    async with run_receiver(hostile.talk, listens=hostile.listens) as receiver:
        yield receiver


def url_of(name: str, port: int) -> str:
    """Return where one of them listens."""
    return f"{HOSTILE[name].scheme}://127.0.0.1:{port}/hook"


async def main() -> None:
    """Let all of them listen for ever."""
    async with AsyncExitStack() as stack:
        ports = {
            name: (await stack.enter_async_context(run_hostile(name))).port
            for name in HOSTILE
        }
        print(json.dumps(ports), flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
