"""One attempt, and the verdict on it.

A receiver may do whatever it likes: hang, drip, lie, never end.  What it does is a
value (`Verdict`), not an exception, and it costs at most the attempt's time-out and
what `services.delivery.exchange` reads of any answer.  One deadline stands over
everything: the token, look-up, connect, TLS, headers and body.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from functools import lru_cache, partial
from typing import Final

from aiohttp.abc import AbstractResolver
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from libs.common.addresses import checked_url
from libs.common.endpoints import Tls
from libs.common.errors import Malformed
from libs.common.headers import is_token
from libs.common.messages import Delivery, Verdict
from services.delivery.exchange import Answer, Exchange, open_exchange
from services.delivery.failures import FAILURES, is_ours, reason
from services.delivery.guard import Forbidden
from services.delivery.manners import Manner
from services.delivery.metrics import Blocked
from services.delivery.oauth import NoToken
from services.delivery.settings import Settings

#: How many headers of an answer are kept, and how much of each.
KEPT_HEADERS_MAX: Final = 32
KEPT_HEADER_CHARS_MAX: Final = 256

#: The methods that there are, so that nobody looks at every letter of them.
_METHODS: Final = frozenset({"POST", "PUT", "PATCH", "DELETE", "GET"})
_UNAUTHORIZED: Final = 401


class Sender:
    """Makes attempts.  Never raises for what a receiver does."""

    def __init__(self, exchange: Exchange, *, development: bool) -> None:
        self._exchange = exchange
        self._development = development
        self._url = lru_cache(maxsize=16_384)(self._checked)

    async def attempt(
        self, job: Delivery, body: bytes, manner: Manner, *, lease_id: str
    ) -> Verdict:
        """Send *body* once, and return how that went.

        When the attempt could not be made for want of something on this machine, the
        verdict says that nothing was sent.
        """
        started = time.monotonic()
        try:
            async with asyncio.timeout(job.timeout_seconds):
                answer = await self._answer(job, body, manner, started)
        except NoToken as why:
            error = str(why)
        except FAILURES as failure:
            if is_ours(failure):
                return unsent(job, lease_id=lease_id)
            error = reason(failure, timeout_seconds=job.timeout_seconds)
        else:
            good = 200 <= answer.status < 300  # noqa: PLR2004
            return Verdict(
                job_id=job.job_id,
                lease_id=lease_id,
                endpoint_id=job.endpoint_id,
                url_version=job.url_version,
                status=answer.status,
                duration_ms=_since(started),
                retry_after=None if good else _retry_after(answer.headers),
                headers=None if good else _kept_headers(answer.headers),
                body=answer.body,
            )
        return Verdict(
            job_id=job.job_id,
            lease_id=lease_id,
            endpoint_id=job.endpoint_id,
            url_version=job.url_version,
            error=error,
            duration_ms=_since(started),
        )

    def _answer(
        self, job: Delivery, body: bytes, manner: Manner, started: float
    ) -> Awaitable[Answer]:
        """Begin one request; raises `ValueError` when it cannot be sent as it is."""
        if job.method not in _METHODS and not is_token(job.method):
            raise ValueError("not a method")
        url = self._url(job.url)
        headers = manner.headers(job, body, timestamp=int(time.time()))
        if manner.account is None and manner.tls is None:
            return self._exchange.make(job.method, url, headers, body)
        return self._shown(
            job.method, url, headers, body, manner=manner, started=started
        )

    async def _shown(
        self,
        method: str,
        url: URL,
        headers: CIMultiDict[str],
        body: bytes,
        *,
        manner: Manner,
        started: float,
    ) -> Answer:
        """Make one request that shows who we are."""
        make, account, context = self._exchange.make, manner.account, None
        if manner.tls is not None and url.scheme == "https":
            context = await self._exchange.context(manner.tls)
        if account is None:
            return await make(method, url, headers, body, context)
        post = partial(self._post, manner.tls)
        token = await account.token(post)
        headers["Authorization"] = f"Bearer {token.text}"
        answer = await make(method, url, headers, body, context)
        # A token that was asked for just now would not be better the next time.
        if answer.status == _UNAUTHORIZED and token.since < started:
            token = await account.token(post, other_than=token)
            headers["Authorization"] = f"Bearer {token.text}"
            answer = await make(method, url, headers, body, context)
        return answer

    async def _post(
        self, tls: Tls | None, url: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, bytes]:
        """Ask a token server; raises `NoToken`, or what is this machine's fault.

        Its certificate may be of a public authority or of the endpoint's own; ours is
        for the endpoint alone.
        """
        try:
            context = None
            if tls is not None and tls.ca is not None:
                context = await self._exchange.context(Tls(ca=tls.ca), also_public=True)
            answer = await self._exchange.make(
                "POST", self._url(url), headers, body, context
            )
        except FAILURES as failure:
            if is_ours(failure):
                raise
            raise NoToken(f"token server: {reason(failure)}") from None
        return answer.status, answer.body

    def _checked(self, url: str) -> URL:
        # Checked at the front door already; a lock on the inner door as well.
        try:
            target = checked_url(url, development=self._development, field="url")
        except Malformed:
            raise Forbidden(Blocked.URL) from None
        return URL(target.url, encoded=True)


def unsent(job: Delivery, *, lease_id: str) -> Verdict:
    """Return the verdict on an attempt that was not made."""
    return Verdict(
        job_id=job.job_id,
        lease_id=lease_id,
        endpoint_id=job.endpoint_id,
        url_version=job.url_version,
        sent=False,
    )


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
    """Send until the block ends; *names* is as in `open_exchange`."""
    async with open_exchange(settings, names=names) as exchange:
        yield Sender(exchange, development=settings.development)
