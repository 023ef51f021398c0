"""Wiring of the dispatcher service."""

import asyncio
from functools import partial

from libs.common.actors import keep
from libs.common.bus import open_bus
from libs.common.db import BY_KEY, is_alive, open_pool
from libs.common.health import open_health
from libs.common.ids import new_id
from libs.common.loops import Doorbell
from services.dispatcher.fanout import Fanout
from services.dispatcher.ledger import Ledger
from services.dispatcher.results import Results
from services.dispatcher.settings import Settings
from services.dispatcher.upkeep import Upkeep


async def serve(settings: Settings, stopping: asyncio.Event) -> None:
    """Serve until *stopping* is set; then hand out nothing more and settle what came.

    What pods still carry they report to another dispatcher, or to the next one here.
    """
    async with (
        open_health(settings, stopping=stopping) as health,
        open_pool(
            settings.database_url.get_secret_value(),
            service="dispatcher",
            size=settings.pool_size,
            planner=BY_KEY,
        ) as pool,
        open_bus(settings.nats_url, service="dispatcher") as bus,
    ):

        async def hears() -> bool:
            return bus.connected

        health.check("postgres", partial(is_alive, pool))
        health.check("nats", hears)
        bell = Doorbell(stopping)
        ledger = Ledger(f"dispatcher-{new_id().hex[-12:]}")
        fanout = Fanout(settings, pool, bus, ledger, bell)
        results = Results(pool, bus, ledger, bell, batch_max=settings.settle_batch_max)
        upkeep = Upkeep(pool, bus, ledger, bell, lease_seconds=settings.lease_seconds)
        async with asyncio.TaskGroup() as actors:
            for actor in (
                upkeep.be_heard,
                upkeep.listen_dispatchers,
                upkeep.listen_pods,
                upkeep.listen_bodies,
                upkeep.serve_bodies,
                upkeep.run,
                results.listen_own,
                results.listen_any,
                results.run,
                fanout.listen_lanes,
                fanout.listen_organizations,
                fanout.look_for_floors,
                fanout.run,
            ):
                name = actor.__qualname__
                actors.create_task(
                    keep(name, partial(actor, stopping), stopping=stopping), name=name
                )
            health.open_doors()
