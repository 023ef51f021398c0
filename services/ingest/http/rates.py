"""Rates over HTTP: who is counted as what, and the headers that say what is left.

``X-RateLimit-*`` are the contract's (1.0); ``RateLimit-Policy`` and ``RateLimit`` are
of draft-ietf-httpapi-ratelimit-headers-10.
"""

import hashlib
import time
from collections.abc import Mapping
from typing import Final, Literal

from aiohttp import web

from libs.common.errors import RateLimited
from services.ingest.allowances import Allowance, Rate, nothing_left
from services.ingest.settings import Settings
from services.ingest.strangers import Strangers, client_of, public_rate

#: What a route that needs no credential is counted as.
Counted = Literal[
    "public",
    "admin",
    "register",
    "check_slug",
    "check_email",
    "start_email",
    "verify_email",
]

#: What is left to whoever asked; put there by who counted.
ALLOWANCE: Final = web.RequestKey("allowance", Allowance)
STRANGERS: Final = web.AppKey("strangers", Strangers)

#: From one client address: how many requests, in how many seconds.
_LIMITS: Final[Mapping[Counted, tuple[tuple[int, int], ...]]] = {
    "public": (),
    "admin": ((60, 60),),
    "register": ((60, 60), (300, 3600)),
    "check_slug": ((60, 60), (300, 3600)),
    "check_email": ((10, 60), (60, 3600)),
    "start_email": ((10, 60), (60, 3600)),
    "verify_email": ((60, 60), (300, 3600)),
}


def count_stranger(
    request: web.Request, settings: Settings, counted: Counted = "public"
) -> None:
    """Count a request without a credential; raises `RateLimited`.

    Everything is counted as public, and what has a rate of its own by that as well.
    """
    client = client_address(request, settings)
    _count(request, public_rate(settings, client))
    for most, seconds in _LIMITS[counted]:
        name = f"{counted} {seconds} {client}"
        _count(request, Rate("ip", name, most, most / seconds))


def require_room(request: web.Request, settings: Settings) -> None:
    """Raise `RateLimited` for a client that was wrong too often already.

    Asked before Postgres is, so that guessing costs it nothing.
    """
    rate = public_rate(settings, client_address(request, settings))
    request.app[STRANGERS].require_room(rate)


def count_login(request: web.Request, settings: Settings, api_key: str) -> None:
    """Count a key that is to be changed for tokens (D25); raises `RateLimited`."""
    digest = hashlib.sha256(api_key.encode("utf-8", "surrogatepass")).hexdigest()
    most = settings.login_rate_per_minute
    _count(request, Rate("key", f"login {digest}", most, most / 60))


def client_address(request: web.Request, settings: Settings) -> str:
    """Return the client, as it is counted."""
    header = settings.trusted_client_ip_header
    return client_of(
        request.remote,
        named=request.headers.get(header) if header else None,
        forwarded=request.headers.getall("X-Forwarded-For", ()),
        hops=settings.trusted_proxy_hops,
    )


def note_refusal(request: web.Request, error: RateLimited) -> None:
    """Note for the headers that nothing is left."""
    request[ALLOWANCE] = nothing_left(error)


def rate_headers(request: web.Request, settings: Settings) -> dict[str, str]:
    """Return the headers that say what is left; none outside the API.

    Who asked what was answered before anybody counted hears what their address has.
    """
    left = request.get(ALLOWANCE)
    if left is None:
        if not request.path.startswith("/api/"):
            return {}
        rate = public_rate(settings, client_address(request, settings))
        left = request.app[STRANGERS].left(rate)
    headers = {
        "X-RateLimit-Limit": str(left.limit),
        "X-RateLimit-Remaining": str(left.remaining),
        "X-RateLimit-Reset": str(left.reset_at),
        "X-RateLimit-Scope": left.scope,
    }
    if left.window_seconds is not None:
        scope, seconds = left.scope, max(0, left.reset_at - int(time.time()))
        headers["RateLimit-Policy"] = (
            f'"{scope}";q={left.limit};w={left.window_seconds}'
        )
        headers["RateLimit"] = f'"{scope}";r={left.remaining};t={seconds}'
    return headers


def _count(request: web.Request, rate: Rate) -> None:
    try:
        left = request.app[STRANGERS].admit(rate)
    except RateLimited as error:
        note_refusal(request, error)
        raise
    known = request.get(ALLOWANCE)
    if known is None or left.remaining < known.remaining:
        request[ALLOWANCE] = left
