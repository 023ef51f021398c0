"""Many watch, and the bus has one who listens."""

import asyncio
from contextlib import AsyncExitStack

from libs.common.messages import EVENTS
from tests.support.watching import open_gallery, tenant

STREAMS = 30


async def test_the_bus_has_one_listener_however_many_watch(
    database_url, nats_url, conn
):
    acme = await tenant(conn, "acme")

    async def consumers():
        listed = await gallery.bus.jetstream.consumers_info(EVENTS.name)
        return {consumer.name for consumer in listed}

    async with open_gallery(database_url, nats_url) as gallery:
        # There is a stream to be followed.
        await gallery.announce(acme.changed())
        before = await consumers()
        async with AsyncExitStack() as open_ones:
            streams = [
                await open_ones.enter_async_context(
                    gallery.stream(acme, events="job.status", queue=queue)
                )
                for queue in ["mail", "letters"] * (STREAMS // 2)
            ]
            letter, mail = acme.changed(queue_name="letters"), acme.changed()
            await gallery.announce(letter, mail)
            told = await asyncio.gather(*(stream.event() for stream in streams))

            assert [mark for mark, _, _ in told] == [
                mail.position,
                letter.position,
            ] * (STREAMS // 2)
            assert len(await consumers() - before) == 1
