"""Answers as they are heard: in any pieces, within bounds, as aiohttp hears them."""

from contextlib import suppress
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.delivery.answer import (
    AROUND_BYTES_MAX,
    INTERIM_MAX,
    KEPT_BYTES_MAX,
    LINE_BYTES_MAX,
    LINES_MAX,
    READ_BYTES_MAX,
    Answer,
    Reader,
)
from services.delivery.failures import BROKEN, CLOSED, MALFORMED, NoAnswer

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
EARLY = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
#: What no server should say: an interim answer with a body.
TALKATIVE = b"HTTP/1.1 199 Wait\r\nContent-Length: 7\r\n\r\nignored"


@dataclass(frozen=True)
class Case:
    """An answer on the wire, and what it says."""

    wire: bytes
    body: bytes = b""
    status: int = 200
    keeps: bool = True
    headers: tuple[tuple[bytes, bytes], ...] | None = None
    #: Whether it goes on until the connection ends.
    open_ended: bool = False

    @property
    def head_bytes(self) -> int:
        """How long the wire is up to the end of the answer's head."""
        begins = self.wire.rindex(b"HTTP/1")
        ends = [
            self.wire.index(end, begins) + len(end)
            for end in (b"\r\n\r\n", b"\n\n")
            if end in self.wire[begins:]
        ]
        return min(ends)


CASES = {
    "a length": Case(OK + b"Content-Length: 5\r\n\r\nhello", b"hello"),
    "a length of 0": Case(OK + b"Content-Length: 0\r\n\r\n"),
    "a body that ends a line": Case(OK + b"Content-Length: 4\r\n\r\nok\r\n", b"ok\r\n"),
    "chunks": Case(
        CHUNKED + b"5\r\nhello\r\n6;a=b\r\n world\r\n0\r\n\r\n", b"hello world"
    ),
    "chunks and trailers": Case(
        CHUNKED + b"2\r\nok\r\n0\r\nX-Sum: 1\r\nX-B:\r\n\r\n",
        b"ok",
        headers=((b"Transfer-Encoding", b"chunked"),),
    ),
    "chunks in capitals": Case(
        OK + b"transfer-encoding: Chunked\r\n\r\nA\r\n0123456789\r\n000\r\n\r\n",
        b"0123456789",
    ),
    "chunks before HTTP/1.1": Case(
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked"
        b"\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"ok",
        keeps=False,
    ),
    "chunks of chunks": Case(
        OK + b"Transfer-Encoding: chunked, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"ok",
        keeps=False,
    ),
    "another coding in chunks": Case(
        OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"ok",
        keeps=False,
    ),
    "a length before a colon and a space": Case(
        OK + b"Content-Length : 2\r\n\r\nok", b"ok", keeps=False
    ),
    "chunks, said twice": Case(
        OK
        + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"2\r\nok\r\n0\r\n\r\n",
        b"ok",
        keeps=False,
    ),
    "until it ends": Case(
        OK + b"X-A: a\r\n\r\nall of it", b"all of it", keeps=False, open_ended=True
    ),
    "other codings, until it ends": Case(
        OK + b"Transfer-Encoding: chunked, gzip\r\n\r\nxy",
        b"xy",
        keeps=False,
        open_ended=True,
    ),
    "nothing, until it ends": Case(OK + b"\r\n", keeps=False, open_ended=True),
    "no content": Case(b"HTTP/1.1 204 No Content\r\n\r\n", status=204),
    "not modified": Case(
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", status=304
    ),
    "interim answers": Case(
        b"HTTP/1.1 100 Continue\r\n\r\n" + EARLY + OK + b"Content-Length: 2\r\n\r\nok",
        b"ok",
        headers=((b"Content-Length", b"2"),),
    ),
    "an interim answer with a body": Case(
        TALKATIVE + OK + b"Content-Length: 2\r\n\r\nok", b"ok"
    ),
    "close": Case(
        OK + b"Connection: close\r\nContent-Length: 2\r\n\r\nok", b"ok", keeps=False
    ),
    "close in chunks": Case(
        OK
        + b"connection: Close\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
        b"x",
        keeps=False,
    ),
    "HTTP/1.0": Case(
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", b"ok", keeps=False
    ),
    "HTTP/1.0 that stays": Case(
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
        b"ok",
    ),
    "HTTP/1.0 until it ends": Case(
        b"HTTP/1.0 404 No\r\n\r\nnot here",
        b"not here",
        status=404,
        keeps=False,
        open_ended=True,
    ),
    "bare line feeds": Case(
        b"HTTP/1.1 200 OK\nX-A: a\nContent-Length: 2\n\nok",
        b"ok",
        headers=((b"X-A", b"a"), (b"Content-Length", b"2")),
    ),
    "no reason": Case(b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n"),
    "odd headers": Case(
        b"HTTP/1.1 500 \xff\r\nX-Empty:\r\nX-A:  a \t\r\nX-A: \xff\xfe\r\n"
        b"X-Folded: a\r\n b\r\nContent-Length:0\r\n\r\n",
        status=500,
        headers=(
            (b"X-Empty", b""),
            (b"X-A", b"a"),
            (b"X-A", b"\xff\xfe"),
            (b"X-Folded", b"a b"),
            (b"Content-Length", b"0"),
        ),
    ),
    "other protocols": Case(
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        status=101,
        keeps=False,
    ),
}
BOUNDED = {name: case for name, case in CASES.items() if not case.open_ended}


def heard(reader: Reader, pieces, *, open_ended: bool = False) -> Answer:
    """Let *reader* hear an answer in *pieces*, and nothing after it."""
    *most, last = pieces
    for piece in most:
        assert not reader.feed(piece)
    if open_ended:
        assert not reader.feed(last)
        reader.end(cleanly=True)
    else:
        assert reader.feed(last)
    assert reader.whole
    return reader.answer()


def check(case: Case, reader: Reader, answer: Answer) -> None:
    assert (answer.status, answer.body) == (case.status, case.body)
    assert reader.keeps == case.keeps
    if case.headers is not None:
        assert tuple(answer.headers) == case.headers


def why(wire: bytes) -> str:
    """Return why *wire* is no answer."""
    reader = Reader()

    def hear():
        for start in range(0, len(wire), 256 * 1024):
            assert not reader.feed(wire[start : start + 256 * 1024])

    with pytest.raises(NoAnswer) as caught:
        hear()
    return str(caught.value)


# --- in pieces -----------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_an_answer_may_be_cut_anywhere(name):
    case = CASES[name]
    for at in range(1, len(case.wire)):
        reader = Reader()
        pieces = (case.wire[:at], case.wire[at:])
        check(case, reader, heard(reader, pieces, open_ended=case.open_ended))


@pytest.mark.parametrize("name", CASES)
def test_an_answer_may_come_byte_by_byte(name):
    case = CASES[name]
    reader = Reader()
    pieces = [bytes([byte]) for byte in case.wire]
    check(case, reader, heard(reader, pieces, open_ended=case.open_ended))


@pytest.mark.parametrize("name", [name for name in BOUNDED if BOUNDED[name].keeps])
def test_one_reader_hears_one_answer_after_the_other(name):
    reader = Reader()
    for case in (BOUNDED[name], BOUNDED["chunks"], BOUNDED[name]):
        reader.expect()
        check(case, reader, heard(reader, (case.wire,)))


MORE = [
    b"\r\n",
    b"\n",
    b"x",
    b"H",
    b"HTTP/1.1 2",
    OK,
    OK + b"Content-Length: 0\r\n\r\n",
]


@pytest.mark.parametrize("more", MORE, ids=repr)
@pytest.mark.parametrize("name", BOUNDED)
def test_behind_an_answer_with_more_behind_it_nothing_is_asked(name, more):
    case = BOUNDED[name]
    for at in range(len(case.wire) - 1, -1, -1):
        reader = Reader()
        if at:
            assert not reader.feed(case.wire[:at])
        assert reader.feed(case.wire[at:] + more)
        assert not reader.keeps
        answer = reader.answer()
        assert (answer.status, answer.body) == (case.status, case.body)


# --- how they end --------------------------------------------------------------------


@pytest.mark.parametrize("cleanly", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_an_answer_that_ends_too_early_is_none(name, cleanly):
    case = CASES[name]
    for at in range(1, len(case.wire)):
        reader = Reader()
        assert not reader.feed(case.wire[:at])
        if at >= case.head_bytes and case.open_ended and cleanly:
            reader.end(cleanly=True)
            assert reader.answer().body == case.wire[case.head_bytes : at]
            assert not reader.keeps
        else:
            with pytest.raises(NoAnswer) as caught:
                reader.end(cleanly=cleanly)
            wanted = CLOSED if at < case.head_bytes else BROKEN
            assert str(caught.value) == wanted


def test_nothing_is_no_answer():
    with pytest.raises(NoAnswer, match=CLOSED):
        Reader().end(cleanly=True)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        (b"timeout=5", 5),
        (b"max=100, Timeout = 7", 7),
        (b"timeout=0", 0),
        (b"timeout=" + b"9" * 400, float("inf")),
        (b"timeout=-1", None),
        (b"timeout=5x", None),
        (b"max=5", None),
        (b"timeout", None),
        (b"", None),
    ],
)
def test_a_server_may_say_for_how_long_it_waits(said, seconds):
    reader = Reader()
    head = OK + b"kEEP-alive: " + said + b"\r\nContent-Length: 0\r\n\r\n"
    heard(reader, (head,))
    assert reader.idle_seconds == seconds
    reader.expect()
    heard(reader, (OK + b"Content-Length: 0\r\n\r\n",))
    assert reader.idle_seconds is None


# --- bounds --------------------------------------------------------------------------


def test_lines_are_bounded():
    end = b"\r\nContent-Length: 0\r\n\r\n"
    for head in (b"HTTP/1.1 200 ", OK + b"X-A: "):
        room = LINE_BYTES_MAX - (3 if head.startswith(OK) else 0)
        assert heard(Reader(), (head + b"a" * room + end,)).status == 200
        assert why(head + b"a" * (room + 1) + end) == MALFORMED
    assert why(OK + b"X" * (LINE_BYTES_MAX + 1) + b":" + end) == MALFORMED


def test_the_number_of_lines_is_bounded():
    line, end = b"X-A: a\r\n", b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"
    wire = OK + line * (LINES_MAX - 2) + end
    assert heard(Reader(), (wire + line + b"\r\n",)).body == b"x"
    assert why(wire + line * 2 + b"\r\n") == MALFORMED
    # A line is known when the next one has begun.
    assert why(OK + line * (LINES_MAX + 1) + b"X") == MALFORMED


def test_interim_answers_are_bounded():
    end = OK + b"Content-Length: 0\r\n\r\n"
    assert heard(Reader(), (EARLY * INTERIM_MAX + end,)).status == 200
    assert why(EARLY * (INTERIM_MAX + 1) + end) == MALFORMED


@pytest.mark.parametrize(
    ("head", "again", "said"),
    [
        (b"", b"\r\n", MALFORMED),
        (OK, b"X-A", MALFORMED),
        (OK + b"X-A: ", b"a", MALFORMED),
        (OK + b"X-A: a", b"\r\n b", MALFORMED),
        (b"HTTP/1.1 200 ", b"a", MALFORMED),
        (b"HTTP/1.1 199 Wait\r\nContent-Length: 999999999\r\n\r\n", b"a", MALFORMED),
        (CHUNKED, b"0", BROKEN),
        (CHUNKED + b"1;", b"a", BROKEN),
        (CHUNKED, b"1;aaaaaaaaaa\r\nx\r\n", BROKEN),
        (CHUNKED + b"0\r\nX-A: ", b"a", BROKEN),
    ],
    ids=repr,
)
def test_what_comes_besides_a_body_is_bounded(head, again, said):
    assert why(head + again * (2 * AROUND_BYTES_MAX // len(again))) == said


def test_a_body_is_heard_up_to_a_bound_and_its_beginning_kept():
    body = bytes(range(256)) * (READ_BYTES_MAX // 256 + 10)
    for head, wire in (
        (OK + b"Content-Length: 9999999\r\n\r\n", body),
        (OK + b"\r\n", body),
        (CHUNKED, b"%x\r\n" % len(body) + body + b"\r\n"),
    ):
        for size in (1000, 70_000):
            reader, heard_bytes = Reader(), 0
            while not reader.whole:
                reader.feed((head + wire)[heard_bytes : heard_bytes + size])
                heard_bytes += size
            assert reader.answer().body == body[:KEPT_BYTES_MAX]
            assert not reader.keeps
            assert heard_bytes <= READ_BYTES_MAX + size + 100


@pytest.mark.parametrize(
    "wire",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"<html></html>\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 099 OK\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.2 200 OK\r\n\r\n",
        b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n",
        OK + b"Content-Length: -1\r\n\r\n",
        OK + b"Content-Length: +1\r\n\r\nx",
        OK + b"Content-Length: 0x1\r\n\r\nx",
        OK + b"Content-Length: 1, 1\r\n\r\nx",
        OK + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\nx",
        OK + b"Content-Length: 1" + b"0" * 30 + b"\r\n\r\n",
        OK + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        OK + b"X A: a\r\n\r\n",
        OK + b"X-A\x00: a\r\n\r\n",
        OK + b"X-A: a\x00b\r\n\r\n",
        OK + b": a\r\n\r\n",
        OK + b"X-A: a\rX-B: b\r\n\r\n",
        CHUNKED + b"x\r\n",
        CHUNKED + b"-1\r\nx\r\n",
        CHUNKED + b"1\r\nxyz\r\n",
        CHUNKED + b"1\nx\n0\n\nHTTP",
        CHUNKED + b"1" + b"0" * 30 + b"\r\n",
    ],
    ids=ascii,
)
def test_what_could_be_read_in_two_ways_is_no_answer(wire):
    assert why(wire) == MALFORMED


@given(st.binary(min_size=1, max_size=300), st.integers(1, 50))
def test_noise_is_never_more_than_a_failure(noise, size):
    reader = Reader()
    with suppress(NoAnswer):
        for start in range(0, len(noise), size):
            if reader.feed(noise[start : start + size]):
                return
        reader.end(cleanly=True)
