"""One attempt, and the verdict on it.

A receiver may do whatever it likes: hang, drip, lie, never end.  What it does is a
value (`Verdict`), not an exception, and it costs at most the attempt's time-out and
what `services.delivery.answer` hears of any answer.  One deadline stands over
everything: the token, look-up, connect, TLS, headers and body.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import lru_cache, partial
from typing import Final

from aiohttp.abc import AbstractResolver

from libs.common import tracing
from libs.common.addresses import checked_url
from libs.common.endpoints import Tls
from libs.common.errors import Malformed
from libs.common.listening import HOST
from libs.common.messages import Delivery, Verdict
from services.delivery.answer import Answer
from services.delivery.exchange import Exchange, open_exchange
from services.delivery.failures import FAILURES, NoRoom, reason
from services.delivery.guard import Forbidden
from services.delivery.listeners import Listeners
from services.delivery.manners import Manner
from services.delivery.metrics import Blocked
from services.delivery.oauth import NoToken, Token
from services.delivery.request import Destination, Request, destination_of, lines_of
from services.delivery.settings import Settings

#: How many headers of an answer are kept, and how much of each.
KEPT_HEADERS_MAX: Final = 32
KEPT_HEADER_CHARS_MAX: Final = 256

_UNAUTHORIZED: Final = 401


class Sender:
    """Makes attempts.  Never raises for what a receiver does."""

    def __init__(
        self,
        exchange: Exchange,
        *,
        development: bool,
        listeners: Listeners | None = None,
        send_traceparent: bool = False,
    ) -> None:
        self._exchange = exchange
        self._listeners = listeners
        self._loop = asyncio.get_running_loop()
        self._development = development
        self._send_traceparent = send_traceparent
        self._destination = lru_cache(maxsize=16_384)(self._checked)

    async def attempt(
        self, job: Delivery, body: bytes, manner: Manner, *, lease_id: str
    ) -> Verdict:
        """Send *body* once, and return how that went.

        When the attempt could not be made for want of something on this machine, the
        verdict says that nothing was sent.
        """
        started = time.monotonic()
        try:
            answer = await self._answer(job, body, manner)
        except NoRoom:
            return unsent(job, lease_id=lease_id)
        except FAILURES as failure:
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
                retry_after=None if good else _retry_after(answer),
                headers=None if good else _kept_headers(answer),
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

    async def _answer(self, job: Delivery, body: bytes, manner: Manner) -> Answer:
        """Make one request; raises one of `failures.FAILURES`."""
        deadline = self._loop.time() + job.timeout_seconds
        destination = self._destination(job.url)
        lines = manner.lines(job, body, timestamp=int(time.time()))
        if (self._send_traceparent or manner.send_traceparent) and (
            trace := tracing.here()
        ) is not None:
            lines += lines_of([("traceparent", trace)])
        request = Request(job.method, destination, lines, body)
        if destination.host == HOST and job.endpoint_id and self._listeners:
            return await self._listeners.make(job, request, deadline=deadline)
        if manner.account is None and manner.tls is None:
            return await self._exchange.make(request, deadline=deadline)
        async with asyncio.timeout_at(deadline):
            return await self._shown(request, manner, deadline)

    async def _shown(self, request: Request, manner: Manner, deadline: float) -> Answer:
        """Make one request that shows who we are."""
        context = None
        if manner.tls is not None and request.destination.secure:
            context = await self._exchange.context(manner.tls)
        make = partial(self._exchange.make, deadline=deadline, context=context)
        if manner.account is None:
            return await make(request)
        began, account = time.monotonic(), manner.account
        post = partial(self._post, manner.tls, deadline)
        token = await account.token(post)
        answer = await make(_authorized(request, token))
        # A token that was asked for just now would not be better the next time.
        if answer.status == _UNAUTHORIZED and token.since < began:
            token = await account.token(post, other_than=token)
            answer = await make(_authorized(request, token))
        return answer

    async def _post(
        self,
        tls: Tls | None,
        deadline: float,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
    ) -> tuple[int, bytes]:
        """Ask a token server; raises `NoToken`, or what is no fault of its own.

        Its certificate may be of a public authority or of the endpoint's own; ours is
        for the endpoint alone.
        """
        try:
            context = None
            if tls is not None and tls.ca is not None:
                context = await self._exchange.context(Tls(ca=tls.ca), also_public=True)
            request = Request(
                "POST", self._destination(url), lines_of(headers.items()), body
            )
            answer = await self._exchange.make(
                request, deadline=deadline, context=context
            )
        except (NoRoom, TimeoutError):
            raise
        except FAILURES as failure:
            raise NoToken(f"token server: {reason(failure)}") from None
        return answer.status, answer.body

    def _checked(self, url: str) -> Destination:
        # Checked at the front door already; a lock on the inner door as well.
        try:
            target = checked_url(url, development=self._development, field="url")
        except Malformed:
            raise Forbidden(Blocked.URL) from None
        return destination_of(target.url)


def _authorized(request: Request, token: Token) -> Request:
    line = lines_of([("Authorization", f"Bearer {token.text}")])
    return request._replace(lines=request.lines + line)


def unsent(job: Delivery, *, lease_id: str) -> Verdict:
    """Return the verdict on an attempt that was not made."""
    return Verdict(
        job_id=job.job_id,
        lease_id=lease_id,
        endpoint_id=job.endpoint_id,
        url_version=job.url_version,
        sent=False,
    )


def _retry_after(answer: Answer) -> str | None:
    value = answer.header(b"retry-after")
    return None if value is None else _printable(value, 64)


def _kept_headers(answer: Answer) -> dict[str, str]:
    kept: dict[str, str] = {}
    for name, value in answer.headers:
        if len(kept) == KEPT_HEADERS_MAX:
            break
        lowered = _printable(name.lower(), KEPT_HEADER_CHARS_MAX)
        if lowered != "set-cookie":
            kept.setdefault(lowered, _printable(value, KEPT_HEADER_CHARS_MAX))
    return kept


def _printable(said: bytes, chars_max: int) -> str:
    """Return a beginning of what was *said*, as JSON and Postgres take it."""
    text = said.decode(errors="surrogateescape")[:chars_max]
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text
    )


def _since(started: float) -> float:
    return round((time.monotonic() - started) * 1000, 3)


@asynccontextmanager
async def open_sender(
    settings: Settings,
    *,
    names: AbstractResolver | None = None,
    listeners: Listeners | None = None,
) -> AsyncIterator[Sender]:
    """Send until the block ends; *names* is as in `open_exchange`."""
    async with open_exchange(settings, names=names) as exchange:
        yield Sender(
            exchange,
            development=settings.development,
            listeners=listeners,
            send_traceparent=settings.send_traceparent,
        )
