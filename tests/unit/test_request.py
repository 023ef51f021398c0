"""Requests as they are written: whatever they are made of, they are read as one."""

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.addresses import checked_url
from services.delivery.request import (
    Destination,
    Request,
    destination_of,
    head_of,
    lines_of,
)


class Heard:
    """What a server hears."""

    def __init__(self, wire: bytes) -> None:
        self.urls: list[bytes] = []
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.messages = 0
        parser = httptools.HttpRequestParser(self)
        parser.feed_data(wire)
        self.method = parser.get_method()

    def on_url(self, url: bytes) -> None:
        self.urls.append(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.messages += 1


@given(
    st.lists(st.tuples(st.text(max_size=8), st.text(max_size=12)), max_size=4),
    st.binary(max_size=50),
)
def test_headers_are_written_one_a_line_or_not_at_all(headers, body):
    try:
        lines = lines_of(headers)
        destination = destination_of("https://a.example/b")
        wire = head_of(Request("POST", destination, lines, body)) + body
    except ValueError:
        return
    heard = Heard(wire)
    assert heard.messages == 1
    assert heard.headers == [
        (b"Host", b"a.example"),
        *((name.encode(), value.strip(" ").encode()) for name, value in headers),
        (b"Content-Length", str(len(body)).encode()),
    ]
    assert heard.body == body


@pytest.mark.parametrize(
    "header",
    [
        ("X\r\nA", "a"),
        ("X A", "a"),
        ("X:", "a"),
        ("", "a"),
        ("Ü", "a"),
        ("X-A", "a\r\nB: b"),
        ("X-A", "a\nB: b"),
        ("X-A", "a\rB: b"),
        ("X-A", "a\x00"),
        ("X-A", "\ud800"),
        ("X-A", "a\u2028b"),
    ],
    ids=ascii,
)
def test_a_header_that_could_be_two_is_none(header):
    with pytest.raises(ValueError, match="not a header"):
        lines_of([header])


@pytest.mark.parametrize(
    "method", ["", "HEAD", "CONNECT", "post", "GET / HTTP/1.1\r\nX:"]
)
def test_there_are_few_methods(method):
    destination = destination_of("https://a.example/")
    with pytest.raises(ValueError, match="not a method"):
        head_of(Request(method, destination, "", b""))


@pytest.mark.parametrize(
    ("url", "destination"),
    [
        (
            "https://a.example",
            Destination(True, "a.example", 443, "a.example", "/"),
        ),
        (
            "http://A.Example:8080?x=1#here",
            Destination(False, "a.example", 8080, "a.example:8080", "/?x=1"),
        ),
        (
            "https://bücher.example:443/a b".replace(" ", "%20"),
            Destination(
                True, "xn--bcher-kva.example", 443, "xn--bcher-kva.example", "/a%20b"
            ),
        ),
        (
            "http://[0:0::1]:81/a:b@c",
            Destination(False, "::1", 81, "[::1]:81", "/a:b@c"),
        ),
        (
            "http://127.0.0.1/ü?ü",
            Destination(False, "127.0.0.1", 80, "127.0.0.1", "/%C3%BC?%C3%BC"),
        ),
    ],
)
def test_where_a_url_leads(url, destination):
    target = checked_url(url, development=True, field="url")

    assert destination_of(target.url) == destination
    heard = Heard(head_of(Request("POST", destination, "", b"")))
    assert heard.urls == [destination.path.encode()]
    assert heard.headers[0] == (b"Host", destination.authority.encode())


@pytest.mark.parametrize(
    "url",
    [
        "https://a.example",
        "https:///",
        "ftp://a.example/",
        "https://a.example:x/",
        "https://a.example/ b\r\nX: y",
        "https://u@a.example/",
        "https://a.example/#b",
    ],
)
def test_what_was_not_checked_leads_nowhere(url):
    with pytest.raises(ValueError, match="not a URL that was checked"):
        destination_of(url)
