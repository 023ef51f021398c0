"""Requests made straight through an exchange, and what it has open."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from services.delivery.exchange import Exchange, open_exchange
from services.delivery.failures import NoAnswer
from services.delivery.request import Request, destination_of
from services.delivery.settings import Settings
from tests.support.certificates import Authority
from tests.support.delivery import SECRET_KEY

OK = b"HTTP/1.1 200 OK\r\n"
ANSWER = OK + b"Content-Length: 2\r\n\r\nok"
AUTHORITY = Authority()


@asynccontextmanager
async def exchanging(*, names=None, **knobs):
    settings = Settings(secret_key=SECRET_KEY, environment="development", **knobs)
    async with open_exchange(settings, names=names) as exchange:
        yield exchange


async def ask(
    exchange: Exchange, url: str, body: bytes = b"", *, seconds: float = 10.0, **how
):
    request = Request("POST", destination_of(url), "X-A: a\r\n", body)
    deadline = asyncio.get_running_loop().time() + seconds
    return await exchange.make(request, deadline=deadline, **how)


async def why(exchange: Exchange, url: str, body: bytes = b"", **how) -> str:
    with pytest.raises(NoAnswer) as caught:
        await ask(exchange, url, body, **how)
    return str(caught.value)


def idle_in(exchange: Exchange) -> int:
    return len(exchange._connections._idle)


def open_in(exchange: Exchange) -> int:
    return len(exchange._connections._open)
