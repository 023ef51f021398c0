"""What is the same of every request, whatever it asks for.

Browsers are told who may read an answer (CORS) and what not to do with it, a version
of the API that there is not is refused, long answers are compressed, and a request
that takes too long is given up.
"""

import re
from functools import lru_cache
from typing import Final

from aiohttp import web
from multidict import CIMultiDict

from services.ingest.http.compression import compress
from services.ingest.http.deadlines import Deadline, Watchdog
from services.ingest.settings import Settings

API_VERSION: Final = "1"
_VERSION: Final = re.compile(r"[A-Za-z0-9.]{1,16}")
_METHODS: Final = "GET, POST, PUT, PATCH, DELETE, OPTIONS"
_HEADERS: Final = (
    "Authorization, Content-Type, X-API-Key, X-API-Version, X-Request-ID, "
    "X-Admin-Key, X-Organization-ID, Idempotency-Key, Last-Event-ID"
)
#: What a script in a browser may read beside the body.
_EXPOSED: Final = (
    "x-request-id, x-api-version, X-RateLimit-Limit, X-RateLimit-Remaining, "
    "X-RateLimit-Reset, X-RateLimit-Scope, RateLimit, RateLimit-Policy, Retry-After, "
    "X-Has-More, X-Next-Cursor, X-Ignored-Fields, Link"
)
_PREFLIGHT_SECONDS: Final = "600"
_SECURITY: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
    "Cache-Control": "no-store",
    # Which versions of which programs answer is nobody's business.
    "Server": "bellhop",
    "x-api-version": API_VERSION,
}
#: What an answer may say otherwise.
_MAY_DIFFER: Final = ("Cache-Control", "Content-Security-Policy")
_HSTS: Final = "max-age=31536000; includeSubDomains"

#: "Not this one", RFC 9110, section 12.4.2.
_NO_QUALITY: Final = re.compile(r"q=0(\.0{0,3})?")

DEADLINE: Final = web.RequestKey("deadline", Deadline)


class Manners:
    """How this process answers, by its settings."""

    def __init__(self, settings: Settings) -> None:
        self.watchdog: Final = Watchdog(settings.request_timeout_seconds)
        self._origins = settings.cors_origins
        self._any_origin = settings.development and not self._origins
        self._security = CIMultiDict(_SECURITY)
        if settings.enable_hsts:
            self._security["Strict-Transport-Security"] = _HSTS
        if not self._any_origin and self._origins:
            # What one origin may read must not be given to another from a cache.
            self._security["Vary"] = "Origin"

    def preflight(self, request: web.Request) -> web.Response | None:
        """Return the answer to a browser that asks before it asks, else None.

        It carries no credential, so it is answered before anybody looks for one.
        """
        asked = request.headers
        if (
            request.method != "OPTIONS"
            or "Origin" not in asked
            or "Access-Control-Request-Method" not in asked
        ):
            return None
        response = web.Response(status=204)
        if self._may_read(asked["Origin"]):
            wanted = asked.get("Access-Control-Request-Headers", "")
            # The asterisk would leave out Authorization.
            headers = wanted if self._any_origin and wanted else _HEADERS
            response.headers["Access-Control-Allow-Methods"] = _METHODS
            response.headers["Access-Control-Allow-Headers"] = headers
            response.headers["Access-Control-Max-Age"] = _PREFLIGHT_SECONDS
        return response

    def dress(self, request: web.Request, response: web.StreamResponse) -> None:
        """Put on the headers that every answer has; what is there already stays."""
        headers = response.headers
        # Most say nothing otherwise: looking is cheaper than keeping.
        own = (
            [(name, headers[name]) for name in _MAY_DIFFER if name in headers]
            if len(headers) > 1
            else ()
        )
        vary = headers.get("Vary")
        headers.update(self._security)
        if vary is not None and headers["Vary"] != vary:
            headers["Vary"] += f", {vary}"
        headers.update(own)
        origin = request.headers.get("Origin")
        if origin is not None and self._may_read(origin):
            allowed = "*" if self._any_origin else origin
            headers["Access-Control-Allow-Origin"] = allowed
            headers["Access-Control-Expose-Headers"] = _EXPOSED
        if type(response) is web.Response:
            compress(request, response)

    def _may_read(self, origin: str) -> bool:
        return self._any_origin or origin in self._origins


MANNERS: Final = web.AppKey("manners", Manners)


def wrong_version(request: web.Request) -> str | None:
    """Return what is wrong with the version asked for, or None (contract 1.0)."""
    asked = request.headers.get("X-API-Version")
    if asked is None or asked == API_VERSION or not request.path.startswith("/api/"):
        return None
    if not _VERSION.fullmatch(asked):
        return "X-API-Version is 1-16 letters, digits and dots"
    return f"Unsupported API version: {asked}. Supported versions: {API_VERSION}"


def give_time(request: web.Request, seconds: float | None) -> None:
    """Let *request* take that many seconds from now on; None: as long as it wants.

    For handlers that wait for something to happen: long polls and streams.
    """
    request[DEADLINE].move(seconds)


@lru_cache(maxsize=256)
def takes(accept: str, media_type: str) -> bool:
    """Return whether *accept* names a media type and does not refuse it (q=0).

    RFC 9110, section 12.5.1; a wildcard names nothing, because every client sends one.
    """
    for part in accept.split(","):
        named, *parameters = (word.strip().lower() for word in part.split(";"))
        if named == media_type:
            return not any(_NO_QUALITY.fullmatch(word) for word in parameters)
    return False
