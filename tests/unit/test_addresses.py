"""Which URLs are carried to: what gets in stays as it is, and nothing gets around."""

import ipaddress
import socket
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.addresses import Target, checked_url, is_special
from libs.common.errors import Malformed

BLOCKS = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "255.255.255.255/32",
    "168.63.129.16/32",
    "100.100.100.200/32",
    "192.0.0.192/32",
    "169.254.170.2/32",
    "::/96",
    "::ffff:0:0/96",
    "::ffff:0:0:0/96",
    "64:ff9b:1::/48",
    "100::/64",
    "100:0:0:1::/64",
    "2001::/23",
    "2001:db8::/32",
    "2002::/16",
    "3fff::/20",
    "5f00::/16",
    "fc00::/7",
    "fd00:ec2::254/128",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
]

PUBLIC = ["1.1.1.1", "8.8.8.8", "172.15.0.1", "172.32.0.1", "192.0.1.1", "223.255.1.1"]
PUBLIC_V6 = ["2606:4700::1111", "2a00:1450::8", "2003::1", "64:ff9b::808:808"]

FULL_WIDTH = {
    ord("!") + i: chr(ord("\N{FULLWIDTH EXCLAMATION MARK}") + i) for i in range(94)
}

#: What the resolver of an ordinary machine takes for 127.0.0.1.
ODD_LOOPBACKS = [
    "2130706433",
    "0x7f000001",
    "0X7F000001",
    "017700000001",
    "127.1",
    "127.0.1",
    "0177.0.0.1",
    "0x7f.0.0.1",
    "127.0.0.0x1",
]


def refused(text, *, development=False):
    with pytest.raises(Malformed) as caught:
        checked_url(text, development=development, field="target.url")
    (fault,) = caught.value.faults
    assert fault.field == "target.url"
    assert fault.message.startswith("must ")
    return fault.message


def url_of(text, *, development=False):
    return checked_url(text, development=development, field="target.url").url


def addresses_in(block):
    network = ipaddress.ip_network(block)
    return st.integers(0, network.num_addresses - 1).map(lambda i: network[i])


@given(st.sampled_from(BLOCKS).flatmap(addresses_in))
def test_special_addresses_are_refused_however_they_are_written(address):
    assert is_special(address)
    if isinstance(address, IPv4Address):
        refused(f"https://{address}/")
        refused(f"https://{address}./")
        refused(f"https://{int(address)}/")
        refused(f"https://{int(address):#x}/")
        refused(f"https://{'.'.join(f'0{byte:o}' for byte in address.packed)}/")
        refused(f"https://[::ffff:{address}]/")
        refused(f"https://[64:ff9b::{address}]/")
    else:
        refused(f"https://[{address}]/")
        refused(f"https://[{address.exploded}]:8443/")


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses_are_carried_to(text):
    assert not is_special(IPv4Address(text))
    assert url_of(f"https://{text}/hook") == f"https://{text}/hook"


@pytest.mark.parametrize("text", PUBLIC_V6)
def test_public_v6_addresses_are_carried_to(text):
    assert not is_special(IPv6Address(text))
    assert url_of(f"https://[{text.upper()}]/") == f"https://[{text}]/"


@pytest.mark.parametrize("host", ODD_LOOPBACKS)
def test_odd_spellings_of_an_address_are_refused_even_in_development(host):
    with pytest.raises(ValueError, match=r".+"):
        ipaddress.ip_address(host)

    assert socket.getaddrinfo(host, 80)[0][4][0] == "127.0.0.1"
    assert "decimal" in refused(f"http://{host}/", development=True)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1".translate(FULL_WIDTH),
        "127.0.0.1".replace(".", "\N{IDEOGRAPHIC FULL STOP}"),
        "①②⑦.0.0.1",
        "localhost".translate(FULL_WIDTH),
        "ⓛocalhost",
        "localhost\N{IDEOGRAPHIC FULL STOP}",
    ],
    ids=ascii,
)
def test_letters_and_digits_of_the_world_are_read_before_they_are_judged(host):
    assert "private" in refused(f"https://{host}/")


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST",
        "localhost.",
        "a.localhost",
        "metadata.google.internal",
        "printer.local",
        "postgres",
        "postgres.default.svc",
        "postgres.default.svc.cluster.local",
    ],
)
def test_names_of_this_house_are_refused_outside_development(host):
    assert "private" in refused(f"https://{host}/")
    assert url_of(f"https://{host}/", development=True)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/hook",
        "//example.com/",
        "example.com",
        "https:example.com",
        "https:///example.com",
        "https://",
        "https://:443/",
        "https://?a",
        "https://#a",
        "https://.",
        "https://a..b/",
        "https://-a.example/",
        "https://a-.example/",
        "https://*.example.com/",
        "https://a,b.example/",
        "https://ex%61mple.com/",
        "https://example.com%2f@evil.example/",
        f"https://{'x' * 64}.example/",
        f"https://{'x.' * 127}example/",
        "https://user@example.com/",
        "https://user:password@example.com/",
        "https://a@b@127.0.0.1/",
        "https://1.1.1.1&@127.0.0.1/",
        "https://127.0.0.1:80\\@example.com/",
        "https://example.com\\.evil.example/",
        "https://example.com:0/",
        "https://example.com:65536/",
        "https://example.com:99999999999999999999/",
        "https://example.com:80:80/",
        "https://example.com:+80/",
        f"https://example.com:{'443'.translate(FULL_WIDTH)}/",
        "https://[::1/",
        "https://::1/",
        "https://[fe80::1%25eth0]/",
        "https://[fe80::1%eth0]/",
        "https://[v1.fe80]/",
        "https://[1.1.1.1]/",
        "https://[2606:4700::1111]x/",
        "https://256.1.1.1/",
        "https://1.1.1.1.1/",
        "https://08.8.8.8/",
        "https://example.0x/",
        " https://example.com/",
        "https://example.com/\n",
        "https://exa\tmple.com/",
        "https://example.com/a b",
        "https://example.com/\x00",
        "https://example.com/\ud800",
        "https://example.com/\u2028",
        "ftp://example.com/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "gopher://example.com/",
        "https://example.com/" + "x" * 2048,
    ],
    ids=ascii,
)
def test_what_is_no_url_of_ours_is_refused_everywhere(text):
    refused(text)
    refused(text, development=True)


def test_plain_http_is_for_development():
    assert "https" in refused("http://example.com/")
    assert url_of("http://example.com/", development=True) == "http://example.com/"


def test_development_reaches_this_machine():
    target = checked_url("http://127.0.0.1:8080/x", development=True, field="url")

    assert target == Target("http://127.0.0.1:8080/x", "http://127.0.0.1:8080")


@pytest.mark.parametrize(
    ("text", "url", "origin"),
    [
        ("HTTPS://Example.COM", "https://example.com/", "https://example.com:443"),
        ("https://example.com.:443", "https://example.com/", "https://example.com:443"),
        ("https://a.example:/x", "https://a.example/x", "https://a.example:443"),
        (
            "https://a.example:8443?",
            "https://a.example:8443/",
            "https://a.example:8443",
        ),
        ("https://a_b.example", "https://a_b.example/", "https://a_b.example:443"),
        (
            "https://bücher.example/ä?ö=ü#ß",
            "https://xn--bcher-kva.example/%C3%A4?%C3%B6=%C3%BC",
            "https://xn--bcher-kva.example:443",
        ),
        (
            "https://[2606:4700:0:0::1111]:443/",
            "https://[2606:4700::1111]/",
            "https://[2606:4700::1111]:443",
        ),
        (
            "https://a.example/%7E~%2f/../;a=b,c?x=+%20&y=@:/?",
            "https://a.example/%7E~%2f/../;a=b,c?x=+%20&y=@:/?",
            "https://a.example:443",
        ),
        (
            'https://a.example/<">{}|^`?<">',
            "https://a.example/%3C%22%3E%7B%7D%7C%5E%60?%3C%22%3E",
            "https://a.example:443",
        ),
    ],
)
def test_a_url_is_built_again_from_its_parts(text, url, origin):
    target = checked_url(text, development=False, field="url")

    assert (target.url, target.origin) == (url, origin)


@given(
    st.text(max_size=30)
    | st.from_regex(r"https?://[a-z0-9.\[\]:%@-]{1,20}(/[^#]{0,9})?(\?.{0,9})?"),
    st.booleans(),
)
def test_whatever_gets_in_comes_out_the_same_when_it_is_checked_again(
    text, development
):
    try:
        target = checked_url(text, development=development, field="url")
    except Malformed:
        return

    assert target.url.isascii()
    assert checked_url(target.url, development=development, field="url") == target
