"""Random answers, as they may come: aiohttp hears the same of them."""

import asyncio
from itertools import pairwise

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_parser import HttpResponseParser
from hypothesis import given
from hypothesis import strategies as st

from services.delivery.answer import Reader

NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,15}", fullmatch=True).filter(
    lambda name: (
        name.lower()
        not in {
            "connection",
            "content-length",
            "transfer-encoding",
            "upgrade",
            "keep-alive",
        }
    )
)
VALUES = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0x2FF, exclude_categories=["Cc"]),
    max_size=40,
).map(lambda text: text.encode())
HEADERS = st.lists(st.tuples(NAMES.map(str.encode), VALUES), max_size=12)
STATUSES = st.sampled_from([200, 201, 202, 204, 205, 301, 304, 400, 404, 410, 429, 503])
INTERIM = st.sampled_from(
    [
        b"",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
    ]
)
SPACES = st.sampled_from([b"", b" ", b"  ", b"\t"])


def _spaces_behind(draw, name: bytes) -> bytes:
    # llhttp takes a tab behind it for a part of the coding's name.
    return b"" if name == b"Transfer-Encoding" else draw(SPACES)


@st.composite
def answers(draw) -> tuple[bytes, bool]:
    """Draw an answer as it may come from a server that is right."""
    status, body = draw(STATUSES), draw(st.binary(max_size=600))
    version = draw(st.sampled_from([b"HTTP/1.1", b"HTTP/1.0"]))
    headers = draw(HEADERS)
    framing = draw(st.sampled_from(["length", "chunks", "until it ends"]))
    if status in {204, 304}:
        framing, body = "length", b""
    connection = draw(st.sampled_from([None, b"close", b"keep-alive", b"Keep-Alive"]))
    if connection is not None:
        headers.append((b"Connection", connection))
    trailers = b""
    if framing == "length":
        if status != 204:
            headers.append((b"Content-Length", str(len(body)).encode()))
    elif framing == "chunks":
        headers.append((b"Transfer-Encoding", b"chunked"))
        sizes = draw(st.lists(st.integers(1, 200), max_size=8))
        chunks, rest = [], body
        for size in [*sizes, 600]:
            piece, rest = rest[:size], rest[size:]
            if piece:
                extension = draw(st.sampled_from([b"", b";a=b", b';a="b c"']))
                chunks.append(b"%x%s\r\n%s\r\n" % (len(piece), extension, piece))
        for name, value in draw(st.lists(st.tuples(NAMES, VALUES), max_size=2)):
            trailers += name.encode() + b": " + value + b"\r\n"
        body = b"".join(chunks) + b"0\r\n" + trailers + b"\r\n"
    draw(st.randoms(use_true_random=False)).shuffle(headers)
    lines = [
        name + b":" + draw(SPACES) + value + _spaces_behind(draw, name) + b"\r\n"
        for name, value in headers
    ]
    reason = draw(st.sampled_from([b"", b" ", b" OK", b" Not \xc3\xbc OK"]))
    interim = draw(INTERIM) if version == b"HTTP/1.1" else b""
    head = b"%s %d%s\r\n%s\r\n" % (version, status, reason, b"".join(lines))
    return interim + head + body, framing == "until it ends"


def heard_by_aiohttp(wire: bytes, pieces: list[bytes], *, open_ended: bool):
    """Return what aiohttp hears: status, headers, body, and whether it would close."""
    loop = asyncio.new_event_loop()
    try:
        parser = HttpResponseParser(
            BaseProtocol(loop),
            loop,
            2**16,
            read_until_eof=True,
            auto_decompress=False,
        )
        messages = []
        for piece in pieces:
            messages += parser.feed_data(piece)[0]
        if open_ended:
            parser.feed_eof()
        message, payload = messages[-1]
        body = b"".join(payload._buffer)
        headers = [(name.lower(), value) for name, value in message.headers.items()]
        return message.code, headers, body, message.should_close
    finally:
        loop.close()


@given(answers(), st.data())
def test_an_answer_says_the_same_to_aiohttp(drawn, data):
    wire, open_ended = drawn
    cuts = data.draw(st.sets(st.integers(1, len(wire) - 1), max_size=6))
    edges = [0, *sorted(cuts), len(wire)]
    pieces = [wire[a:b] for a, b in pairwise(edges)]

    status, headers, body, closes = heard_by_aiohttp(
        wire, pieces, open_ended=open_ended
    )
    reader = Reader()
    wholes = [reader.feed(piece) for piece in pieces]
    assert wholes == [False] * (len(pieces) - 1) + [not open_ended]
    if open_ended:
        reader.end(cleanly=True)
    answer = reader.answer()

    assert (answer.status, answer.body) == (status, body)
    assert [
        (name.lower().decode(), value.decode()) for name, value in answer.headers
    ] == headers
    # Before HTTP/1.1 we believe no chunks, as far as what comes behind them goes.
    strict = wire.startswith(b"HTTP/1.0") and b"Transfer-Encoding" in wire
    assert reader.keeps == (not closes and not open_ended and not strict)
