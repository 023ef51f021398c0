"""Thousands of attempts that fail in every way leave nothing open behind."""

import asyncio
import random
import socket
from contextlib import AsyncExitStack, closing, suppress
from pathlib import Path

from libs.common.endpoints import Tls
from services.delivery.failures import FAILURES
from tests.support.eventloops import on_both_loops
from tests.support.exchanges import (
    ANSWER,
    AUTHORITY,
    ask,
    exchanging,
    idle_in,
    open_in,
)
from tests.support.hostile import HOSTILE
from tests.support.receivers import run_receiver, saying
from tests.support.waiting import until

ATTEMPTS = 3000


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()
    raise ConnectionError


def full() -> socket.socket:
    """Return a door with a queue before it that nobody lets in."""
    door = socket.socket()
    door.bind(("127.0.0.1", 0))
    door.listen(0)
    return door


@on_both_loops
async def test_whatever_becomes_of_attempts_nothing_stays_open():
    """Each has little time, and many are given up at a moment that chance names."""
    chance = random.Random(4)
    async with AsyncExitStack() as stack:

        async def run(talk, **how):
            return await stack.enter_async_context(run_receiver(talk, **how))

        urls = [
            (await run(one.talk, listens=one.listens)).url
            for one in HOSTILE.values()
            if one.scheme == "http"
        ]
        plain = await run(saying(ANSWER))
        secure = await run(saying(ANSWER), tls=AUTHORITY.server())
        mute = await run(silent, listens=False)
        door = stack.enter_context(closing(full()))
        for _ in range(3):
            visitor = stack.enter_context(closing(socket.socket()))
            visitor.setblocking(False)
            with suppress(BlockingIOError):
                visitor.connect(door.getsockname())
        urls += [
            plain.url,
            f"http://127.0.0.1:{door.getsockname()[1]}/",
            *(f"https://localhost:{one.port}/" for one in (plain, secure, mute)),
        ]
        # What other tests left behind may go meanwhile, and then there are fewer.
        before = descriptors()

        async def attempt(exchange, context) -> None:
            asking = asyncio.create_task(
                ask(
                    exchange,
                    chance.choice(urls),
                    bytes(chance.choice([0, 10, 70_000, 600_000])),
                    seconds=chance.choice([0, 0.001, 0.01, 0.05]),
                    context=chance.choice([context, None]),
                )
            )
            if chance.random() < 0.5:
                await asyncio.sleep(chance.choice([0, 0, 0.0005, 0.003, 0.02]))
                asking.cancel()
            with suppress(asyncio.CancelledError, *FAILURES):
                await asking

        async with exchanging() as exchange:
            context = await exchange.context(Tls(ca=AUTHORITY.pem))
            for _ in range(ATTEMPTS // 50):
                await asyncio.gather(*(attempt(exchange, context) for _ in range(50)))
            await until(lambda: open_in(exchange) == idle_in(exchange))
        await until(lambda: descriptors() <= before)
