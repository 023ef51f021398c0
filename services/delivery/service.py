"""Wiring of the delivery service: open, start, drain in the order of the work."""

import asyncio

from libs.common.actors import keep
from libs.common.bus import Bus, open_bus
from libs.common.health import open_health
from libs.common.ids import new_id
from libs.common.sealing import Sealer
from services.delivery.bodies import Bodies
from services.delivery.inbox import Inbox
from services.delivery.leases import Leases
from services.delivery.listeners import Listeners
from services.delivery.manners import Manners
from services.delivery.reports import Reports
from services.delivery.sender import Sender, open_sender
from services.delivery.settings import Settings
from services.delivery.trials import Trials


async def serve(settings: Settings, stopping: asyncio.Event) -> None:
    """Serve until *stopping* is set and every verdict is committed."""

    async def connected() -> bool:
        return bus.connected

    async with (
        open_health(settings, stopping=stopping) as health,
        open_bus(settings.nats_url, service="delivery") as bus,
        open_sender(settings, listeners=Listeners(bus)) as sender,
    ):
        health.check("nats", connected)
        health.open_doors()
        await _work(settings, stopping, bus, sender)


async def _work(
    settings: Settings, stopping: asyncio.Event, bus: Bus, sender: Sender
) -> None:
    # A pod that starts again is another pod: it holds nothing of what the first held.
    pod, slots = str(new_id()), settings.delivery_slots
    leases = Leases(bus, pod=pod, slots=slots, stopping=stopping)
    reports = Reports(bus, leases, pod=pod)
    manners = Manners(Sealer(settings.secret_key.get_secret_value()))
    trials = Trials(bus, sender=sender, manners=manners, stopping=stopping)
    inbox = Inbox(
        bus,
        sender=sender,
        manners=manners,
        bodies=Bodies(bus, bytes_max=settings.delivery_bodies_bytes_max),
        leases=leases,
        reports=reports,
        slots=slots,
        stopping=stopping,
    )
    async with asyncio.TaskGroup() as actors:
        actors.create_task(keep("leases", leases.say, stopping=stopping))
        reporting = actors.create_task(keep("reports", reports.run, stopping=stopping))
        actors.create_task(keep("trials", trials.run, stopping=stopping))
        await keep("inbox", inbox.run, stopping=stopping)
        reports.close()
        await reporting
        leases.close()
