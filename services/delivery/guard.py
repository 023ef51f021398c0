"""Whom a connection may lead to, judged when it is made.

A URL is checked when it comes in (`libs.common.addresses`), but a name in it may mean
another address every time.  So two doors are inside the connector: `GuardedResolver`
asks once, and refuses a name when any of its answers is refused, since picking the
good ones would let a name try again until it is lucky; `Guard.open_socket` judges the
very address that the socket then connects to, also of a URL that names no name.
Nobody resolves in between.  The name stays what is said in ``Host`` and in TLS.

What is refused is a `Forbidden`, which says nothing of what was found.
"""

import asyncio
import ipaddress
import socket
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Final

import structlog
from aiohttp.abc import AbstractResolver, ResolveResult

from libs.common.addresses import (
    Address,
    ends_in_number,
    is_house_name,
    is_special,
    meanings,
)
from services.delivery.metrics import ALLOWED, BLOCKED, Blocked
from services.delivery.settings import Settings

#: How long one look-up may take; the time to connect and the deadline cover it too.
LOOK_UP_SECONDS_MAX: Final = 5.0

#: How many addresses of a name are tried.
_ADDRESSES_MAX: Final = 8

#: Below this, servers of machines live (RFC 6335), and only HTTP's two are carried to.
_USER_PORTS: Final = 1024
_HTTP_PORTS: Final = frozenset({80, 443})

#: What a connector says of where it is about to connect to.
AddressInfo = tuple[int, int, int, str, tuple[object, ...]]

log: structlog.stdlib.BoundLogger = structlog.get_logger()


class Forbidden(OSError):  # noqa: N818 - what is wrong, no "Error" at the end
    """This is not where we carry to."""

    def __init__(self, reason: Blocked) -> None:
        super().__init__(reason.value)
        BLOCKED[reason].inc()


@dataclass(frozen=True, slots=True)
class Guard:
    """What the operator allows.

    Inside *allowed* blocks special addresses are carried to, inside *denied* ones none
    is, allowed or not; *development* adds the names of this house, and any port inside
    the allowed blocks.
    """

    allowed: tuple[IPv4Network | IPv6Network, ...]
    denied: tuple[IPv4Network | IPv6Network, ...]
    denied_ports: frozenset[int]
    development: bool

    def check_name(self, name: str) -> None:
        """Raise `Forbidden` for a name that can only mean a machine of this house."""
        if not self.development and is_house_name(name):
            raise Forbidden(Blocked.NAME)

    def check(self, address: str, port: int) -> None:
        """Raise `Forbidden` unless a connection may lead there."""
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            raise Forbidden(Blocked.ADDRESS) from None
        allowed = any(parsed in block for block in self.allowed)
        if (not allowed and is_special(parsed)) or self._is_denied(parsed):
            raise Forbidden(Blocked.ADDRESS)
        if not (allowed and self.development) and not self._may_use(port):
            raise Forbidden(Blocked.PORT)

    def _is_denied(self, address: Address) -> bool:
        return any(
            meant in block for block in self.denied for meant in meanings(address)
        )

    def _may_use(self, port: int) -> bool:
        return port in _HTTP_PORTS or (
            port >= _USER_PORTS and port not in self.denied_ports
        )

    def open_socket(self, info: AddressInfo) -> socket.socket:
        """Return a socket for *info*; raises `Forbidden` before there is one."""
        family, kind, protocol, _, (host, port, *_) = info
        self.check(str(host), int(str(port)))
        if is_special(ipaddress.ip_address(str(host))):
            ALLOWED.inc()
        return socket.socket(family, kind, protocol)


class GuardedResolver(AbstractResolver):
    """Resolves through another resolver, and refuses what *guard* refuses."""

    def __init__(self, resolver: AbstractResolver, guard: Guard) -> None:
        self._resolver = resolver
        self._guard = guard

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return where *host* is; raises `Forbidden`, or `OSError`."""
        self._guard.check_name(host)
        try:
            async with asyncio.timeout(LOOK_UP_SECONDS_MAX):
                answers = await self._resolver.resolve(_whole(host), port, family)
        except TimeoutError:
            raise socket.gaierror(socket.EAI_AGAIN, "no answer in time") from None
        if not answers:
            raise socket.gaierror(socket.EAI_NONAME, "no address")
        for answer in answers:
            self._guard.check(answer["host"], port)
        # All are judged, and few are tried: one attempt must not become a hundred
        # knocks at the doors that somebody's name server likes to name.
        return [
            ResolveResult(
                hostname=host,
                host=answer["host"],
                port=port,
                family=answer["family"],
                proto=answer["proto"],
                flags=answer["flags"],
            )
            for answer in answers[:_ADDRESSES_MAX]
        ]

    async def close(self) -> None:
        """Leave the other resolver to whoever opened it."""


def _whole(host: str) -> str:
    """Return *host* so that no search domain is added to it.

    Names of this house, which development allows, are in files that know no dot at
    the end; so are numbers that are no name.
    """
    if is_house_name(host) or ends_in_number(host):
        return host
    return f"{host.removesuffix('.')}."


def guard_of(settings: Settings) -> Guard:
    """Return what *settings* allow, and log it."""
    guard = Guard(
        allowed=settings.allowed_networks,
        denied=settings.denied_networks,
        denied_ports=settings.denied_ports,
        development=settings.development,
    )
    log.info(
        "targets.guarded",
        allowed_cidrs=[str(block) for block in guard.allowed],
        denied_cidrs=[str(block) for block in guard.denied],
        denied_ports=sorted(guard.denied_ports),
        development=guard.development,
    )
    return guard
