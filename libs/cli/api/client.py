"""Asks the REST API, and says in its own words why it refused."""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import quote, urljoin

import aiohttp

from libs.cli.api.access import Access
from libs.common.errors import BellhopError

_TIMEOUT: Final = aiohttp.ClientTimeout(total=60, connect=10)
_PAGE: Final = 100
#: How often a request that came too fast is repeated, and how long each wait may be.
_TRIES_MAX: Final = 8
_WAIT_SECONDS_MAX: Final = 30.0
_TOO_FAST: Final = 429
_ELSEWHERE: Final = range(300, 400)
#: Refusals that pass: too many at once, or a server that is not ready.
_PASSING: Final = frozenset([429, 502, 503, 504])
#: From this status on the fault is not the caller's.
_OURS: Final = 500


class Refused(BellhopError):  # noqa: N818 - what is wrong, no "Error" at the end
    """Bellhop said no; *told* is its answer, *status* that of HTTP."""

    def __init__(self, status: int, told: Mapping[str, Any]) -> None:
        details = told.get("details")
        faults = [
            f"{one['field']}: {one['message']}"
            for one in (details if isinstance(details, list) else [])
            if isinstance(one, dict) and {"field", "message"} <= one.keys()
        ]
        words = "; ".join(faults) or str(told.get("message") or f"HTTP {status}")
        super().__init__(f"{words} ({told.get('code', status)})")
        self.status = status
        self.told = {"status": status, **told}
        #: Whether the same may be granted later.
        self.passes = status in _PASSING


class Unreachable(BellhopError):  # noqa: N818
    """Nobody answers, or what answers is no Bellhop."""

    passes: Final = True


class Api:
    """The API as the owner of a key sees it."""

    def __init__(self, access: Access, http: aiohttp.ClientSession) -> None:
        self.access: Final = access
        self._http: Final = http

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        params: Mapping[str, Any] | None = None,
    ) -> Any:
        """Return the JSON of the answer, None when it has none.

        A request that was refused for coming too fast is repeated when it may be.
        Raises `Refused` and `Unreachable`.
        """
        data, _ = await self._ask(method, path, body, params)
        return data

    async def pages(
        self,
        path: str,
        *,
        limit: int,
        params: Mapping[str, Any] | None = None,
    ) -> AsyncIterator[dict[str, Any]]:
        """Give the first *limit* of a list, page after page."""
        place: dict[str, Any] = {}
        given = 0
        while given < limit:
            size = min(_PAGE, limit - given)
            asked = {**(params or {}), **place, "limit": size}
            rows, headers = await self._ask("GET", path, None, asked)
            for row in rows:
                yield row
            given += len(rows)
            if headers.get("X-Has-More") != "true" or not rows:
                return
            cursor = headers.get("X-Next-Cursor")
            place = {"cursor": cursor} if cursor else {"offset": given}

    @asynccontextmanager
    async def open_stream(
        self, path: str, *, params: Mapping[str, Any], last_id: str | None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Open an event stream behind *last_id*; raises as `ask` does."""
        headers = {} if last_id is None else {"Last-Event-ID": last_id}
        # Quiet streams say something every quarter of a minute.
        patience = aiohttp.ClientTimeout(total=None, connect=10, sock_read=60)
        try:
            async with self._http.get(
                self._url(path),
                params=_spelled(params),
                headers={**headers, "Accept": "text/event-stream"},
                timeout=patience,
                allow_redirects=False,
            ) as answer:
                self._stay(answer, path)
                if not answer.ok:
                    raise Refused(answer.status, await _told(answer))
                yield answer
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise self._unreachable(error) from error

    @asynccontextmanager
    async def open_socket(
        self, path: str
    ) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """Open a WebSocket; raises as `ask` does."""
        try:
            async with self._http.ws_connect(
                self._url(path), heartbeat=15.0, max_msg_size=0
            ) as ws:
                yield ws
        except aiohttp.WSServerHandshakeError as error:
            # Asked without the upgrade, it says why in its own words.
            if error.status < _OURS:
                await self.ask("GET", path)
            raise self._unreachable(error) from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._unreachable(error) from error

    def _url(self, path: str) -> str:
        return f"{self.access.url}/api/v1{path}"

    async def _ask(
        self, method: str, path: str, body: Any, params: Mapping[str, Any] | None
    ) -> tuple[Any, Mapping[str, str]]:
        for tries in range(_TRIES_MAX):
            try:
                async with self._http.request(
                    method,
                    self._url(path),
                    json=body,
                    params=_spelled(params or {}),
                    allow_redirects=False,
                ) as answer:
                    self._stay(answer, path)
                    if answer.ok:
                        text = await answer.read()
                        data = await answer.json() if text else None
                        return data, answer.headers
                    seconds = _seconds_until(answer.headers.get("Retry-After"))
                    if (
                        answer.status != _TOO_FAST
                        or seconds is None
                        or tries == _TRIES_MAX - 1
                    ):
                        raise Refused(answer.status, await _told(answer))
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                raise self._unreachable(error) from error
            wait = min(seconds, _WAIT_SECONDS_MAX)
            await asyncio.sleep(wait + random.random())  # noqa: S311 - apart from others
        raise AssertionError("the last try answers or raises")

    def _stay(self, answer: aiohttp.ClientResponse, path: str) -> None:
        """Raise `Unreachable` when we are sent elsewhere: our key is for one address.

        To be sent on would also make a GET of a POST.
        """
        if answer.status not in _ELSEWHERE:
            return
        place = urljoin(str(answer.url), answer.headers.get("Location", ""))
        place = place.partition("?")[0].removesuffix(f"/api/v1{path}")
        raise Unreachable(f"{self.access.url} is at {place}: give --url {place}")

    def _unreachable(self, error: Exception) -> Unreachable:
        words = str(error) or type(error).__name__
        return Unreachable(f"{self.access.url} does not answer as it should: {words}")


@asynccontextmanager
async def open_api(access: Access) -> AsyncIterator[Api]:
    """Open a client."""
    async with aiohttp.ClientSession(headers=access.headers, timeout=_TIMEOUT) as http:
        yield Api(access, http)


async def _told(answer: aiohttp.ClientResponse) -> Mapping[str, Any]:
    """Return what a refusal says; whoever stands between us may say anything."""
    try:
        data = await answer.json(content_type=None)
    except ValueError:
        data = None
    return data if isinstance(data, dict) else {"message": f"HTTP {answer.status}"}


def _seconds_until(text: str | None) -> float | None:
    """Return how long a ``Retry-After`` asks for: seconds, or a time; else None."""
    if text is None:
        return None
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def at(*parts: str) -> str:
    """Return the path of a thing; names stay what they are, whatever is in them."""
    return "".join(f"/{quote(part, safe='')}" for part in parts)


def _spelled(params: Mapping[str, Any]) -> dict[str, str]:
    """Return parameters as a query has them; what is None is left out."""
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in params.items()
        if value is not None
    }
