"""One HTTP request, and the verdict on it.

A receiver may do whatever it likes: hang, drip, lie, never end.  What it does is a
value (`Verdict`), not an exception, and it costs at most the attempt's time-out and
`READ_BYTES_MAX` of reading.  One deadline stands over everything: look-up, connect,
TLS, headers and body.  Nothing is followed, inflated, or kept from one receiver for
another; a connection is used again only after an answer that was read to its end.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from libs.common.addresses import checked_url
from libs.common.errors import Malformed
from libs.common.messages import Delivery, Verdict
from services.delivery.failures import FAILURES, is_ours, reason
from services.delivery.guard import GuardedResolver, guard_of
from services.delivery.resolver import open_resolver
from services.delivery.settings import Settings
from services.delivery.signature import Signer

#: How much of an answer is kept, and how much is read before the connection is cut.
KEPT_BYTES_MAX: Final = 16 * 1024
READ_BYTES_MAX: Final = 64 * 1024
#: How many headers of an answer are kept, and how much of each.
KEPT_HEADERS_MAX: Final = 32
KEPT_HEADER_CHARS_MAX: Final = 256

#: The longest line of an answer's head, and how many there may be.
_LINE_BYTES_MAX: Final = 8190
_LINES_MAX: Final = 128


def _user_agent() -> str:
    try:
        return f"Bellhop/{version('bellhop')}"
    except PackageNotFoundError:
        return "Bellhop"


#: What a target's own headers may replace.
_DEFAULTS: Final = {
    "Content-Type": "application/json",
    "User-Agent": _user_agent(),
    "Accept": "*/*",
}
#: What they may not: these frame the request, or are ours to say.
_RESERVED: Final = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "te",  # codespell:ignore te
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_RESERVED_PREFIXES: Final = ("proxy-", "webhook-")

#: RFC 9110, section 5.6.2: what a method or the name of a header may be.
_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


class Sender:
    """Makes attempts.  Never raises for what a receiver does."""

    def __init__(self, http: aiohttp.ClientSession, *, development: bool) -> None:
        self._http = http
        self._development = development
        self._url = lru_cache(maxsize=16_384)(self._checked)

    async def attempt(
        self, job: Delivery, body: bytes, signer: Signer, *, lease_id: str
    ) -> Verdict:
        """Send *body* once, and return how that went.

        When the attempt could not be made for want of something on this machine, the
        verdict says that nothing was sent.
        """
        started = time.monotonic()
        try:
            url = self._url(job.url)
            headers = _headers(job, body, signer)
            async with asyncio.timeout(job.timeout_seconds):
                answer, kept = await self._exchange(job.method, url, headers, body)
        except Malformed:
            error = "address not allowed"
        except FAILURES as failure:
            if is_ours(failure):
                return Verdict(job_id=job.job_id, lease_id=lease_id, sent=False)
            error = reason(failure, timeout_seconds=job.timeout_seconds)
        else:
            good = 200 <= answer.status < 300  # noqa: PLR2004
            return Verdict(
                job_id=job.job_id,
                lease_id=lease_id,
                status=answer.status,
                duration_ms=_since(started),
                retry_after=None if good else _retry_after(answer.headers),
                headers=None if good else _kept_headers(answer.headers),
                body=kept,
            )
        return Verdict(
            job_id=job.job_id,
            lease_id=lease_id,
            error=error,
            duration_ms=_since(started),
        )

    def _checked(self, url: str) -> URL:
        # Checked at the front door already; a lock on the inner door as well.
        target = checked_url(url, development=self._development, field="url")
        return URL(target.url, encoded=True)

    async def _exchange(
        self, method: str, url: URL, headers: CIMultiDict[str], body: bytes
    ) -> tuple[aiohttp.ClientResponse, bytes]:
        answer = await self._http.request(
            method, url, data=body, headers=headers, allow_redirects=False
        )
        try:
            return answer, await _read(answer.content)
        finally:
            # A connection whose answer was read to its end has left it already.
            answer.close()


async def _read(content: aiohttp.StreamReader) -> bytes:
    """Return the first bytes of an answer; stop when it is longer than we read."""
    kept = bytearray()
    seen = 0
    while seen < READ_BYTES_MAX and not content.at_eof():
        chunk = await content.readany()
        seen += len(chunk)
        kept += chunk[: KEPT_BYTES_MAX - len(kept)]
    return bytes(kept)


def _headers(job: Delivery, body: bytes, signer: Signer) -> CIMultiDict[str]:
    """Return the headers to send; raises `ValueError` for what cannot be sent."""
    if _TOKEN.fullmatch(job.method) is None:
        raise ValueError("not a method")
    headers = CIMultiDict(_DEFAULTS)
    for name, value in job.headers.items():
        if _TOKEN.fullmatch(name) is None or not value.isprintable():
            raise ValueError("not a header")
        lowered = name.lower()
        if lowered not in _RESERVED and not lowered.startswith(_RESERVED_PREFIXES):
            headers[name] = value
    timestamp = int(time.time())
    headers["Accept-Encoding"] = "identity"
    headers["webhook-id"] = job.job_id
    headers["webhook-timestamp"] = str(timestamp)
    headers["webhook-signature"] = signer.sign(job.job_id, timestamp, body)
    return headers


def _retry_after(headers: CIMultiDictProxy[str]) -> str | None:
    value = headers.get("Retry-After")
    return None if value is None else _printable(value, 64)


def _kept_headers(headers: CIMultiDictProxy[str]) -> dict[str, str]:
    kept: dict[str, str] = {}
    for name, value in headers.items():
        if len(kept) == KEPT_HEADERS_MAX:
            break
        lowered = _printable(name.lower(), KEPT_HEADER_CHARS_MAX)
        if lowered != "set-cookie":
            kept.setdefault(lowered, _printable(value, KEPT_HEADER_CHARS_MAX))
    return kept


def _printable(text: str, chars_max: int) -> str:
    """Cut *text*, and keep out what neither JSON nor Postgres would take."""
    text = text[:chars_max]
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text
    )


def _since(started: float) -> float:
    return round((time.monotonic() - started) * 1000, 3)


@asynccontextmanager
async def open_sender(
    settings: Settings, *, names: AbstractResolver | None = None
) -> AsyncIterator[Sender]:
    """Send until the block ends; then close all connections.

    *names* resolves instead of this machine; its answers are checked all the same.
    """
    guard = guard_of(settings)
    async with (
        open_resolver() as resolver,
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0,  # the slots are the limit
                keepalive_timeout=settings.delivery_keepalive_seconds,
                ttl_dns_cache=settings.delivery_dns_cache_seconds,
                resolver=GuardedResolver(names or resolver, guard),
                socket_factory=guard.open_socket,
            ),
            timeout=aiohttp.ClientTimeout(
                total=None, connect=settings.delivery_connect_timeout_seconds
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            read_bufsize=READ_BYTES_MAX // 2,  # it reads ahead twice as much
            max_line_size=_LINE_BYTES_MAX,
            max_field_size=_LINE_BYTES_MAX,
            max_headers=_LINES_MAX,
        ) as http,
    ):
        yield Sender(http, development=settings.development)
