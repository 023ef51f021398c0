"""How much somebody may ask whom we do not know: counted by client address.

Each replica counts for itself, in memory and bounded: this keeps a flood out, it is no
quota.  The client is who connected, or whom a proxy names that we were told to trust
(contract 1.0); addresses of IPv6 count by their /64, which is what one customer has.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Sequence
from ipaddress import IPv6Address, ip_address
from math import ceil, floor
from typing import Final

from services.ingest.allowances import Allowance, Rate, refusal
from services.ingest.settings import Settings

_KNOWN_MAX: Final = 100_000
_HALF_BITS: Final = 64
_NOBODY: Final = "unknown"


class Strangers:
    """Counts requests by name, whatever the name stands for (GCRA)."""

    def __init__(self, *, known_max: int = _KNOWN_MAX) -> None:
        self._known_max: Final = known_max
        self._spent_until: OrderedDict[str, float] = OrderedDict()

    def admit(self, rate: Rate) -> Allowance:
        """Count one request; return what is left.  Raises `RateLimited`."""
        now = asyncio.get_running_loop().time()
        missing = self.require_room(rate) + 1 / rate.per_second
        self._spent_until[rate.subject] = now + missing
        self._spent_until.move_to_end(rate.subject)
        while len(self._spent_until) > self._known_max:
            self._spent_until.popitem(last=False)
        return _left(rate, missing)

    def left(self, rate: Rate) -> Allowance:
        """Return what is left, and count nothing."""
        return _left(rate, self._missing(rate))

    def require_room(self, rate: Rate) -> float:
        """Raise `RateLimited` when `admit` would, and count nothing.

        Returns in how many seconds all of it has grown back.
        """
        missing = self._missing(rate)
        piece = 1 / rate.per_second
        wait = missing + piece - rate.burst * piece
        # Less than a rounding is no wait.
        if wait > piece * 1e-6:
            raise refusal(rate, wait_seconds=wait, spent_seconds=missing)
        return missing

    def _missing(self, rate: Rate) -> float:
        now = asyncio.get_running_loop().time()
        return max(0.0, self._spent_until.get(rate.subject, now) - now)


def _left(rate: Rate, missing_seconds: float) -> Allowance:
    pieces = rate.burst - missing_seconds * rate.per_second
    return Allowance(
        scope=rate.scope,
        limit=rate.burst,
        # Less than a rounding is not missing.
        remaining=max(0, floor(pieces + 1e-6)),
        reset_at=ceil(time.time() + missing_seconds),
        window_seconds=rate.window_seconds,
    )


def public_rate(settings: Settings, client: str) -> Rate:
    """Return what one client may ask of us while we do not know them."""
    return Rate(
        "ip",
        f"public {client}",
        settings.public_rate_burst,
        float(settings.public_rate_per_second),
    )


def client_of(
    peer: str | None,
    *,
    named: str | None = None,
    forwarded: Sequence[str] = (),
    hops: int = 0,
) -> str:
    """Return the client, as it is counted: an IPv4 address or an IPv6 /64.

    *named* is what the trusted header says; *forwarded* are the values of
    X-Forwarded-For, of which only the entry that the outermost of our *hops* proxies
    wrote is believed.  Fewer entries than proxies: somebody went past them.
    """
    for given in (named, _from_the_right(forwarded, hops), peer):
        if given and (counted := _counted(given)):
            return counted
    return _NOBODY


def _from_the_right(forwarded: Sequence[str], hops: int) -> str | None:
    if not hops:
        return None
    entries = [entry.strip() for value in forwarded for entry in value.split(",")]
    return entries[-hops] if len(entries) >= hops else None


def _counted(text: str) -> str | None:
    host = text.strip().strip('"')
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    network = int(address) >> _HALF_BITS << _HALF_BITS
    return f"{IPv6Address(network)}/{_HALF_BITS}"
