"""What a connection may say while it is borrowed, and what its borrower hears."""

import asyncio
import struct
from urllib.parse import urlsplit

import pytest

from libs.common.db import borrow, open_pool
from libs.common.errors import Unavailable
from tests.support.waiting import until
from tests.support.wire import wire_to

#: What a server that is being stopped says, before it closes the connection.
_FIELDS = b"SFATAL\0VFATAL\0C57P01\0Mterminating connection\0\0"
GOODBYE = b"E" + struct.pack("!i", len(_FIELDS) + 4) + _FIELDS


async def test_a_connection_that_was_said_goodbye_to_is_passing_trouble(database_url):
    parts = urlsplit(database_url)
    async with wire_to("127.0.0.1", parts.port) as wire:
        host = f"{parts.netloc.rpartition('@')[0]}@127.0.0.1:{wire.port}"
        url = parts._replace(netloc=host).geturl()
        async with open_pool(url, service="test", size=1) as pool:
            async with borrow(pool) as conn:
                assert await conn.fetchval("SELECT 1") == 1

            wire.freeze()
            wire.say(GOODBYE)
            # If it was not heard by then, it is heard by who asks, and this shows less.
            await asyncio.sleep(0.1)
            with pytest.raises(Unavailable):
                async with borrow(pool) as conn:
                    await conn.fetchval("SELECT 1")
            wire.cut()
            wire.mend()

            async def works_again():
                try:
                    async with borrow(pool) as conn:
                        return await conn.fetchval("SELECT 1") == 1
                except Unavailable:
                    return False

            await until(works_again)
