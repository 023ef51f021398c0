"""Wiring of the ingest service."""

import asyncio
from functools import partial

from libs.common.access import KeyRing
from libs.common.actors import keep
from libs.common.bus import open_bus
from libs.common.db import is_alive, open_pool
from libs.common.health import open_health, serve_http
from libs.common.sealing import Sealer
from services.ingest.grpc.server import open_grpc
from services.ingest.http import app as http
from services.ingest.http.reading import BUS, INTAKE, KEYS, POOL, SEALER
from services.ingest.intake import Intake
from services.ingest.settings import Settings


async def serve(settings: Settings, stopping: asyncio.Event) -> None:
    """Serve until *stopping* is set and everything accepted is committed.

    Ready means that Postgres answers.  NATS is not needed to say yes (promise 10).
    """
    async with (
        open_health(settings, stopping=stopping) as health,
        open_pool(
            settings.database_url.get_secret_value(),
            service="ingest",
            size=settings.pool_size,
        ) as pool,
        open_bus(settings.nats_url, service="ingest") as bus,
    ):
        keys = KeyRing(pool, bus)
        intake = Intake(
            pool,
            bus,
            batch_max=settings.create_batch_max,
            lanes=settings.create_lanes,
        )
        health.check("postgres", partial(is_alive, pool))
        app = http.build(settings, health)
        app[POOL], app[BUS], app[KEYS], app[INTAKE] = pool, bus, keys, intake
        app[SEALER] = Sealer(settings.secret_key.get_secret_value())
        async with (
            asyncio.TaskGroup() as actors,
            serve_http(app, host=settings.http_host, port=settings.http_port),
            open_grpc(settings.grpc_host, settings.grpc_port, health) as door,
        ):
            for name, actor in (
                ("grpc.look", door.look),
                ("keys.listen", keys.listen),
                ("keys.note_used", keys.note_used),
                ("intake.listen", intake.listen),
            ):
                actors.create_task(
                    keep(name, partial(actor, stopping), stopping=stopping), name=name
                )
            health.open_doors()
            await stopping.wait()
        await intake.drain()
