"""No two parsers see two hosts in a URL that got in; no spelling hides an address."""

import ipaddress
import socket
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

from libs.common.addresses import checked_url, is_special
from libs.common.errors import Malformed

#: What parsers quarrel about.
PIECES = st.sampled_from(
    [
        *["a.example", "b.example", "127.0.0.1", "localhost", "[::1]", "1.1.1.1"],
        *["@", ":", "/", "\\", "//", "?", "#", "&", ";", ",", "%", "[", "]", "."],
        *[
            "%2f",
            "%40",
            "%00",
            "%5c",
            "\t",
            "\n",
            "\r",
            " ",
            "\x00",
            "\u2100",
            "\uff0f",
        ],
        *[
            "80",
            "443",
            ":80",
            ":0",
            "user",
            "pass",
            "xn--",
            "\N{IDEOGRAPHIC FULL STOP}",
        ],
        *["http://", "https://", "HTTPS://", "//", "0x7f", "0177", "①", "ß", "\u00ad"],
    ]
)
FEW = st.lists(PIECES, max_size=3).map("".join)
HOSTS = st.sampled_from(["a.example", "1.1.1.1", "[2a00::1]", "127.0.0.1", "bücher.de"])
ENDS = st.sampled_from(["", "/", ":8443/", "?", "#", ":443"])
#: Most of them would be URLs, were it not for what stands before or behind the host.
URLS = st.tuples(
    st.just("https://"), st.just("") | FEW, HOSTS, ENDS, st.just("") | FEW
).map("".join)

NUMBERS = st.one_of(
    st.integers(0, 2**32 + 10).map(str),
    st.integers(0, 2**32).map(hex),
    st.integers(0, 2**32).map(lambda n: f"0{n:o}"),
    st.integers(0, 300).map(str),
    st.integers(0, 255).map(hex),
    st.integers(0, 255).map(lambda n: f"0{n:o}"),
)
SPELLED = st.lists(NUMBERS, min_size=1, max_size=5).map(".".join)


def checked(text, *, development=False):
    try:
        return checked_url(text, development=development, field="url")
    except Malformed:
        return None


@settings(max_examples=500)
@given(URLS, st.booleans())
def test_whatever_gets_in_means_the_same_host_to_everybody(text, development):
    target = checked(text, development=development)
    if target is None:
        return

    split, url = urlsplit(target.url), URL(target.url, encoded=True)
    host = split.hostname
    assert host is not None
    assert host == url.raw_host
    assert (split.username, split.password, url.user) == (None, None, None)
    shown = f"[{host}]" if ":" in host else host
    assert target.origin == f"{split.scheme}://{shown}:{url.port}"
    assert (split.port or {"http": 80, "https": 443}[split.scheme]) == url.port
    # In bytes, as it goes out, nothing can end the line or begin another.
    assert target.url.isascii()
    assert target.url.isprintable()
    assert " " not in target.url


@given(SPELLED)
def test_what_the_system_takes_for_a_special_address_does_not_get_in(host):
    try:
        meant = ipaddress.IPv4Address(socket.inet_aton(host))
    except OSError:
        return
    target = checked(f"https://{host}/")

    if is_special(meant):
        assert target is None
    elif target is not None:
        assert target.url == f"https://{meant}/"


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("https://a@b@127.0.0.1/", "127.0.0.1"),
        ("https://1.1.1.1&@127.0.0.1/", "127.0.0.1"),
        ("https://127.0.0.1:80\\@a.example/", "a.example"),
        ("https://a.example#@127.0.0.1/", "a.example"),
        ("https://127.0.0.1#@a.example/", "127.0.0.1"),
        ("https://a.example?@127.0.0.1/", "a.example"),
    ],
)
def test_where_parsers_are_known_to_quarrel(text, host):
    """What others see there is either what we send to, or does not get in."""
    target = checked(text, development=True)

    if target is not None:
        assert urlsplit(target.url).hostname == host
    assert urlsplit(text).hostname == host or target is None
