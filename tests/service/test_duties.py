"""A scheduler that stops while Postgres is away stops as any other."""

from urllib.parse import urlsplit

import asyncpg

from tests.support.house import run_house
from tests.support.waiting import until
from tests.support.wire import wire_to


async def test_duties_that_cannot_be_given_back_do_not_keep_a_scheduler(
    database_url, nats_url, conn: asyncpg.Connection
):
    parts = urlsplit(database_url)
    async with wire_to("127.0.0.1", parts.port) as wire:
        host = f"{parts.netloc.rpartition('@')[0]}@127.0.0.1:{wire.port}"
        url = parts._replace(netloc=host).geturl()
        async with run_house(url, nats_url, services=()) as house:
            await house.start("scheduler")

            async def is_elected():
                return await conn.fetchval("SELECT count(*) FROM leaders") >= 2

            await until(is_elected)
            wire.cut()
            # Raises what the scheduler ended with.
            await house.stop("scheduler")
