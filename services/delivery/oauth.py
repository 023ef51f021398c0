"""Tokens for receivers that want them: OAuth 2.0 client credentials (RFC 6749, 4.4).

An endpoint's token is asked for by one attempt at a time, while the others wait within
their own time, and is used until it is about to expire, or refused.  Its server is a
stranger like any receiver: it is reached through the same guard, and what it answers
is bounded.  When it gives no token, those who waited do not ask it again at once.

Whatever it says, nobody hears: `NoToken` has words of our own.
"""

import asyncio
import math
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NamedTuple
from urllib.parse import quote_plus, urlencode

import msgspec

from libs.common.endpoints import OAuth2
from services.delivery.failures import NoAnswer

#: How long a token is used that does not say how long it is good.
_SECONDS_DEFAULT: Final = 300.0
#: A token is used no longer than this, whatever it says.
_SECONDS_MAX: Final = 24 * 3600.0
#: A token that is about to expire could do so on its way.
_MARGIN_SECONDS: Final = 30.0
#: For so long a refusal is not asked for again.
_REFUSED_SECONDS: Final = 1.0
#: What fits into a header that anybody reads.
_TOKEN_CHARS_MAX: Final = 8000

_OK: Final = 200
#: How a server says that it does not know a client, or not in this way.
_CLIENT_UNKNOWN: Final = (400, 401)

#: Posts a form, and returns status and body; raises `NoToken` when nobody answers.
Post = Callable[[str, Mapping[str, str], bytes], Awaitable[tuple[int, bytes]]]


class NoToken(NoAnswer):
    """There is no token, and so no request was made."""


class _Answer(msgspec.Struct, frozen=True):
    """What a token server answers (RFC 6749, section 5.1)."""

    access_token: str
    token_type: str = "Bearer"  # noqa: S105 - a kind, no secret
    expires_in: float | str | None = None


class Token(NamedTuple):
    """A token, since when we have it, and until when it is used (monotonic)."""

    text: str
    since: float
    until: float


class Account:
    """Our account with a token server, for one endpoint."""

    def __init__(self, endpoint_id: str, auth: OAuth2) -> None:
        # The same credentials at two endpoints are two accounts: who may use one
        # must not get tokens by it for the other.
        del endpoint_id
        self._auth = auth
        self._token: Token | None = None
        self._refused: tuple[float, str] | None = None
        self._asking = asyncio.Lock()
        #: Whether the server wants to know us by a header (as all must be able to),
        #: or by fields of the form (as some insist).
        self._by_header = True

    async def token(self, post: Post, *, other_than: Token | None = None) -> Token:
        """Return a token that is good, as far as one can know; raises `NoToken`.

        *other_than* was refused.
        """
        token = self._good(other_than)
        if token is not None:
            return token
        async with self._asking:
            # Somebody else may have asked meanwhile.
            token = self._good(other_than)
            if token is None:
                token = await self._ask(post)
            return token

    def _good(self, other_than: Token | None) -> Token | None:
        token = self._token
        if token is None or token is other_than or token.until <= time.monotonic():
            return None
        return token

    async def _ask(self, post: Post) -> Token:
        if self._refused is not None:
            until, words = self._refused
            if time.monotonic() < until:
                raise NoToken(words)
        try:
            self._token = await self._asked(post)
        except NoToken as why:
            self._token = None
            self._refused = time.monotonic() + _REFUSED_SECONDS, str(why)
            raise
        self._refused = None
        return self._token

    async def _asked(self, post: Post) -> Token:
        status, body = await self._posted(post)
        if status in _CLIENT_UNKNOWN:
            self._by_header = not self._by_header
            status, body = await self._posted(post)
            if status in _CLIENT_UNKNOWN:
                self._by_header = not self._by_header
        if status != _OK:
            raise NoToken(f"token server: HTTP {status}")
        return _token_in(body)

    async def _posted(self, post: Post) -> tuple[int, bytes]:
        auth = self._auth
        form = {"grant_type": "client_credentials"}
        if auth.scope is not None:
            form["scope"] = auth.scope
        if auth.audience is not None:
            form["audience"] = auth.audience
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
        }
        if self._by_header:
            # Each encoded as in a form first: RFC 6749, section 2.3.1.
            both = f"{quote_plus(auth.client_id)}:{quote_plus(auth.client_secret)}"
            headers["Authorization"] = f"Basic {b64encode(both.encode()).decode()}"
        else:
            form |= {"client_id": auth.client_id, "client_secret": auth.client_secret}
        return await post(auth.token_url, headers, urlencode(form).encode())


def _token_in(body: bytes) -> Token:
    """Read what a token server answered; raises `NoToken`."""
    try:
        answer = msgspec.json.decode(body, type=_Answer)
        seconds = float(answer.expires_in or _SECONDS_DEFAULT)
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise NoToken("token server: its answer is no token") from None
    text = answer.access_token
    if (
        answer.token_type.lower() != "bearer"
        or not 0 < len(text) <= _TOKEN_CHARS_MAX
        or not (text.isascii() and text.isprintable() and " " not in text)
        or not math.isfinite(seconds)
    ):
        raise NoToken("token server: its answer is no token that we can use")
    seconds = min(seconds, _SECONDS_MAX)
    # Of a short life half is used.
    now, used_seconds = time.monotonic(), max(seconds - _MARGIN_SECONDS, seconds / 2)
    return Token(text, now, now + used_seconds)
