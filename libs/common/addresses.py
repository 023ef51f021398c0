"""Which URLs we carry to, and which we refuse (pure).

A URL is parsed once, here, checked, and built again from its parts: what was checked
is what is sent, and no second parser gets to read it in another way
(``http://1.1.1.1&@127.0.0.1/`` is one host to some and another to others).

Outside development only https is carried, and never to this house: not to private,
local or otherwise special addresses, and not to names that can only mean one.
`is_special` judges blocks and not spellings: a host that ends in a number is either
four plain decimal numbers or refused, because the resolver also takes
``2130706433``, ``0x7f000001`` and ``127.1`` for 127.0.0.1.

A name may still resolve to anything.  Who connects asks `is_special` about the
address it is about to connect to (`services.delivery.guard`).

The blocks are those of the IANA special-purpose registries (RFC 6890), multicast,
what is not given out to anybody, and the addresses under which clouds keep their
metadata.  `ipaddress.is_global` is
no help: it calls 192.88.99.1, 168.63.129.16 and ``::127.0.0.1`` global.
"""

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final
from urllib.parse import quote

from yarl import URL

from libs.common.errors import Fault, Malformed

#: As long as a URL may be, in characters.
URL_CHARS_MAX: Final = 2048

Address = IPv4Address | IPv6Address

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_PORT_MAX: Final = 65535

_SPECIAL_V4: Final = tuple(
    IPv4Network(block)
    for block in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared by carriers; Alibaba's metadata
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's WireServer, a public address
        "169.254.0.0/16",  # link-local; the metadata of AWS, Google, Azure
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments; Oracle's metadata
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
_SPECIAL_V6: Final = tuple(
    IPv6Network(block)
    for block in (
        "::/8",  # unspecified, loopback, and every way to embed an IPv4 address
        "64:ff9b:1::/48",  # local translation
        "100::/64",  # discard
        "100:0:0:1::/64",  # dummy
        "2001::/23",  # protocol assignments, Teredo
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
        "5f00::/16",  # segment routing
        "fc00::/7",  # unique local; metadata of AWS
        "fe80::/10",  # link-local
        "fec0::/10",  # site-local
        "ff00::/8",  # multicast
        # Whatever else is outside 2000::/3 is nobody's yet (IANA, global unicast).
        "::/3",
        "4000::/2",
        "8000::/1",
    )
)
#: NAT64 (RFC 6052): as good or bad as the IPv4 address in its last 32 bits.
_NAT64: Final = IPv6Network("64:ff9b::/96")

#: A name that is one of these, or ends in one, means a machine of this house.
_HOUSE_NAMES: Final = (
    "localhost",
    "localdomain",
    "local",
    "internal",
    "svc",
    "home.arpa",
)

_URL: Final = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)"
    r"(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?(?:#.*)?"
)
_AUTHORITY: Final = re.compile(
    r"(?:\[(?P<v6>[^\[\]]*)\]|(?P<name>[^\[\]:]+))(?::(?P<port>[0-9]{0,5}))?"
)
_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME: Final = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
#: "Ends in a number", https://url.spec.whatwg.org/#ends-in-a-number-checker
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
#: Everything RFC 3986 allows in a path or a query, and ``%``: what the producer has
#: encoded stays as it is.
_AS_GIVEN: Final = "/?:@!$&'()*+,;=%-._~"


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that was checked: *url* is what to send to, *origin* whom it reaches."""

    url: str
    origin: str


def checked_url(text: str, *, development: bool, field: str) -> Target:
    """Return where *text* leads, or raise `Malformed` that names *field*.

    Checking what was returned returns the same again.  The fragment is dropped: it
    is never sent.  *development* allows plain http, and addresses of this house.
    """
    try:
        return _checked(text, development=development)
    except ValueError as error:
        raise Malformed(Fault(field, str(error))) from None


def _checked(text: str, *, development: bool) -> Target:
    if len(text) > URL_CHARS_MAX:
        raise ValueError(f"must be at most {URL_CHARS_MAX} characters")
    if not text.isprintable() or " " in text or "\\" in text:
        raise ValueError("must not contain spaces, backslashes or control characters")
    parts = _URL.fullmatch(text)
    if parts is None:
        raise ValueError("must be an absolute URL, such as https://example.com/hook")
    scheme = parts["scheme"].lower()
    if scheme not in _DEFAULT_PORTS:
        raise ValueError("must be an http or https URL")
    if scheme == "http" and not development:
        raise ValueError("must be an https URL")
    host, port = _host_and_port(parts["authority"], default=_DEFAULT_PORTS[scheme])
    if not development and _is_house(host):
        raise ValueError("must not lead to a private, local or reserved address")
    named_port = "" if port == _DEFAULT_PORTS[scheme] else f":{port}"
    path = quote(parts["path"] or "/", safe=_AS_GIVEN)
    query = f"?{quote(parts['query'], safe=_AS_GIVEN)}" if parts["query"] else ""
    url = f"{scheme}://{host}{named_port}{path}{query}"
    if len(url) > URL_CHARS_MAX:
        raise ValueError(f"must be at most {URL_CHARS_MAX} characters when encoded")
    return Target(url=url, origin=f"{scheme}://{host}:{port}")


def _host_and_port(authority: str, *, default: int) -> tuple[str, int]:
    if "@" in authority:
        raise ValueError("must not hold a user or a password; send them as a header")
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None:
        raise ValueError("must name a host, and at most one port")
    host = _v6(parts["v6"]) if parts["v6"] is not None else _name(parts["name"])
    port = int(parts["port"]) if parts["port"] else default
    if not 1 <= port <= _PORT_MAX:
        raise ValueError(f"must have a port from 1 to {_PORT_MAX}")
    return host, port


def _v6(text: str) -> str:
    # A zone (``fe80::1%eth0``) means something on one machine only.
    if "%" in text:
        raise ValueError("must not name a zone of an IPv6 address")
    try:
        return f"[{IPv6Address(text).compressed}]"
    except ValueError:
        raise ValueError("must have a valid IPv6 address in brackets") from None


def _name(text: str) -> str:
    """Return a host name or an IPv4 address as it is resolved."""
    try:
        # Names of the world become ASCII (IDNA 2008, UTS 46), and so do the digits
        # of the world: only what comes out of this is worth checking.
        name = (URL.build(scheme="http", host=text).raw_host or "").removesuffix(".")
    except ValueError:
        name = ""
    if _NAME.fullmatch(name) is None:
        raise ValueError("must have a valid host name")
    if not ends_in_number(name):
        return name
    try:
        return str(IPv4Address(name))
    except ValueError:
        raise ValueError("must have an IPv4 address as four decimal numbers") from None


def _is_house(host: str) -> bool:
    """Tell whether *host*, as it stands in a `Target`, can only mean this house."""
    try:
        return is_special(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        return is_house_name(host)


def is_house_name(host: str) -> bool:
    """Tell whether the name *host* can only mean a machine of this house."""
    host = host.lower().removesuffix(".")
    # No search domain makes "postgres" somebody else's machine.
    return "." not in host or any(
        host == name or host.endswith(f".{name}") for name in _HOUSE_NAMES
    )


def ends_in_number(host: str) -> bool:
    """Tell whether a resolver takes *host* for an address, however it is spelt."""
    last = host.lower().removesuffix(".").rpartition(".")[2]
    return _NUMBER.fullmatch(last) is not None


def meanings(address: Address) -> tuple[Address, ...]:
    """Return *address*, and the IPv4 address that it is translated into, if it is."""
    if isinstance(address, IPv6Address) and address in _NAT64:
        return address, IPv4Address(int(address) & 0xFFFF_FFFF)
    return (address,)


@lru_cache(maxsize=4096)
def is_special(address: Address) -> bool:
    """Tell whether *address* is private, local, reserved, or a cloud's own."""
    meant = meanings(address)[-1]
    if isinstance(meant, IPv4Address):
        return any(meant in block for block in _SPECIAL_V4)
    return any(meant in block for block in _SPECIAL_V6)
