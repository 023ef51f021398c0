"""Wiring of the scheduler service."""

import asyncio
from functools import partial

from libs.common.actors import keep
from libs.common.bus import open_bus
from libs.common.db import BY_KEY, is_alive, open_pool
from libs.common.health import open_health
from libs.common.ids import new_id
from libs.common.loops import Doorbell
from services.scheduler.announcer import Announcer
from services.scheduler.due import Due
from services.scheduler.leases import recover_dropped
from services.scheduler.partitions import create_ahead
from services.scheduler.settings import Settings


async def serve(settings: Settings, stopping: asyncio.Event) -> None:
    """Serve until *stopping* is set and the turn under way is over."""
    async with (
        open_health(settings, stopping=stopping) as health,
        open_pool(
            settings.database_url.get_secret_value(),
            service="scheduler",
            size=settings.pool_size,
            planner=BY_KEY,
        ) as pool,
        open_bus(settings.nats_url, service="scheduler") as bus,
    ):
        health.check("postgres", partial(is_alive, pool))
        due = Due(pool, bus, poll_seconds=settings.due_poll_seconds)
        announcer = Announcer(
            pool,
            bus,
            Doorbell(stopping),
            holder=f"scheduler-{new_id().hex[-12:]}",
            batch_max=settings.announce_batch_max,
            poll_seconds=settings.journal_poll_seconds,
        )
        recover = partial(
            recover_dropped,
            pool=pool,
            bus=bus,
            poll_seconds=settings.lease_poll_seconds,
        )
        partitions = partial(
            create_ahead, pool=pool, weeks=settings.partition_weeks_ahead
        )
        async with asyncio.TaskGroup() as actors:
            for name, actor in (
                ("due.run", due.run),
                ("due.expire", due.expire),
                ("leases.recover_dropped", recover),
                ("partitions.create_ahead", partitions),
                ("announcer.run", announcer.run),
                ("announcer.listen", announcer.listen),
            ):
                actors.create_task(
                    keep(name, partial(actor, stopping), stopping=stopping), name=name
                )
            health.open_doors()
