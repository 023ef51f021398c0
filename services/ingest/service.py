"""Wiring of the ingest service."""

import asyncio
from functools import partial

from aiohttp import web

from libs.common.access import KeyRing
from libs.common.actors import keep
from libs.common.bus import Bus, open_bus
from libs.common.db import BY_KEY, Pool, is_alive, open_pool
from libs.common.health import Health, open_health, serve_http
from libs.common.sealing import Sealer
from libs.common.tokens import Tokens
from services.ingest.allowances import Allowances
from services.ingest.claims import Claims
from services.ingest.contract_metrics import measuring
from services.ingest.grpc.admission import Admission
from services.ingest.grpc.behind import Behind
from services.ingest.grpc.server import open_grpc
from services.ingest.hatch import Hatch
from services.ingest.heartbeats import Heartbeats
from services.ingest.http import app as http
from services.ingest.http.auth import SIGN_IN
from services.ingest.http.connections import Runner
from services.ingest.http.rates import STRANGERS
from services.ingest.http.reading import (
    ALLOWANCES,
    BUS,
    CLAIMS,
    HEARTBEATS,
    HOT,
    INTAKE,
    KEYS,
    MESSAGES,
    POOL,
    PRODUCING,
    RECEPTION,
    SEALER,
    SETTLEMENT,
    SOURCES,
    STOPPING,
    SUBSCRIBERS,
)
from services.ingest.incoming.reception import Reception
from services.ingest.incoming.sources import Sources
from services.ingest.intake import Intake
from services.ingest.mail import mail_of
from services.ingest.messages import MessageIntake
from services.ingest.producing import Producing
from services.ingest.settings import Settings
from services.ingest.settlement import Settlement
from services.ingest.sign_in import SignIn
from services.ingest.strangers import Strangers
from services.ingest.subscribers import Subscribers


async def serve(settings: Settings, stopping: asyncio.Event) -> None:
    """Serve until *stopping* is set and everything accepted is committed.

    Ready means that Postgres answers.  NATS is not needed to say yes (promise 10).
    """
    open_one = partial(
        open_pool,
        settings.database_url.get_secret_value(),
        service="ingest",
        size=settings.pool_size,
    )
    async with (
        open_health(settings, stopping=stopping) as health,
        open_one() as pool,
        open_one(planner=BY_KEY) as hot,
        open_bus(settings.nats_url, service="ingest") as bus,
    ):
        health.check("postgres", partial(is_alive, pool))
        behind = _behind(settings, pool, hot, bus)
        keys = behind.admission.keys
        app = _application(settings, health, behind)
        app[STOPPING] = stopping
        async with (
            asyncio.TaskGroup() as actors,
            serve_http(
                app,
                host=settings.http_host,
                port=settings.http_port,
                shared=settings.share_ports,
                runs_in=Runner,
            ),
            open_grpc(settings, behind, health, stopping) as door,
        ):
            for name, actor in (
                *door.actors(),
                ("keys.listen", keys.listen),
                ("keys.note_used", keys.note_used),
                ("intake.listen", behind.intake.listen),
                ("sources.listen", app[SOURCES].listen),
                ("messages.listen", behind.messages.listen),
                ("claims.listen", behind.claims.listen),
                ("contract_metrics.measure", measuring(pool)),
                ("hatch.run", Hatch(bus, behind.admission, app[PRODUCING]).run),
            ):
                actors.create_task(
                    keep(name, partial(actor, stopping), stopping=stopping), name=name
                )
            health.open_doors()
            await stopping.wait()
        await _drain(app, behind)


async def _drain(app: web.Application, behind: Behind) -> None:
    """Return when everything under way is committed."""
    for part in (
        app[RECEPTION],
        behind.intake,
        behind.messages,
        behind.claims,
        behind.settlement,
        behind.heartbeats,
        behind.admission.allowances,
    ):
        await part.drain()


def _behind(settings: Settings, pool: Pool, hot: Pool, bus: Bus) -> Behind:
    """Return what stands behind both doors."""
    keys = KeyRing(
        pool,
        bus,
        tokens=_tokens(settings),
        plan_limits=settings.plan_limits,
    )
    batch_max, lanes = settings.work_batch_max, settings.work_lanes
    fenced = settings.require_lease_id
    subscribers = Subscribers(bus)
    return Behind(
        pool=pool,
        hot=hot,
        bus=bus,
        admission=Admission(keys, Allowances(hot), Strangers(), settings),
        intake=Intake(
            hot,
            bus,
            Sealer(settings.secret_key.get_secret_value()),
            batch_max=settings.create_batch_max,
            lanes=settings.create_lanes,
        ),
        messages=MessageIntake(
            hot,
            bus,
            subscribers=subscribers,
            batch_max=settings.create_batch_max,
            lanes=settings.create_lanes,
        ),
        subscribers=subscribers,
        claims=Claims(hot, bus, batch_max=batch_max, lanes=lanes),
        settlement=Settlement(
            hot, bus, batch_max=batch_max, lanes=lanes, require_lease_id=fenced
        ),
        heartbeats=Heartbeats(
            hot, batch_max=batch_max, lanes=lanes, require_lease_id=fenced
        ),
    )


def _application(settings: Settings, health: Health, behind: Behind) -> web.Application:
    """Return the REST application with its resources put in."""
    app = http.build(settings, health)
    app[POOL], app[HOT], app[BUS] = behind.pool, behind.hot, behind.bus
    app[KEYS], app[ALLOWANCES] = behind.admission.keys, behind.admission.allowances
    app[INTAKE], app[CLAIMS] = behind.intake, behind.claims
    app[MESSAGES], app[SUBSCRIBERS] = behind.messages, behind.subscribers
    app[PRODUCING] = Producing(
        behind.intake, behind.subscribers, behind.hot, settings.development
    )
    app[SETTLEMENT], app[HEARTBEATS] = behind.settlement, behind.heartbeats
    app[SEALER] = sealer = Sealer(settings.secret_key.get_secret_value())
    app[SOURCES] = Sources(
        behind.pool, behind.bus, sealer, plan_limits=settings.plan_limits
    )
    app[RECEPTION] = Reception(
        behind.hot, job_intake=behind.intake, message_intake=behind.messages
    )
    app[STRANGERS] = behind.admission.strangers
    app[SIGN_IN] = SignIn(
        behind.pool,
        tokens=_tokens(settings),
        mail=mail_of(settings),
        secret_key=settings.secret_key.get_secret_value(),
        key_prefix=settings.api_key_prefix,
    )
    return app


def _tokens(settings: Settings) -> Tokens:
    return Tokens(settings.token_keys, access_hours=settings.jwt_expiration_hours)
