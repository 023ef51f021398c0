"""Wiring of the streamer: open, follow, serve, let go."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from aiohttp import web

from libs.common.access import KeyRing
from libs.common.actors import keep
from libs.common.bus import Bus, open_bus
from libs.common.db import BY_KEY, is_alive, open_pool
from libs.common.health import open_health, serve_http
from libs.common.tokens import Tokens, read_keys
from services.streamer.answers import in_json, preflight, sign
from services.streamer.beats import hear_workers
from services.streamer.feed import Feed
from services.streamer.following import Following
from services.streamer.hall import Hall
from services.streamer.pages import Pages
from services.streamer.pulse import Pulse
from services.streamer.replay import Replay
from services.streamer.settings import Settings
from services.streamer.sse import EventStreams
from services.streamer.standings import Standings
from services.streamer.warden import guard
from services.streamer.websocket import WebSockets


async def serve(settings: Settings, stopping: asyncio.Event) -> None:
    """Serve until *stopping* is set and every stream has ended."""
    feed = Feed(
        per_organization_max=settings.streams_per_organization_max,
        streams_max=settings.streams_max,
        recent_bytes_max=settings.recent_bytes_max,
    )
    async with (
        open_health(settings, stopping=stopping) as health,
        open_pool(
            settings.database_url.get_secret_value(),
            service="streamer",
            size=settings.pool_size,
            planner=BY_KEY,
        ) as pool,
        open_bus(settings.nats_url, service="streamer") as bus,
    ):
        hall = Hall(
            settings=settings,
            feed=feed,
            following=Following(bus, feed, pool),
            keys=KeyRing(pool, bus, tokens=_tokens(settings)),
            replay=Replay(pool, feed, days_max=settings.replay_days_max),
            stopping=stopping,
        )
        app = _app(hall)
        app.add_routes(health.routes())
        health.check("postgres", partial(is_alive, pool))
        health.check("nats", partial(_is_connected, bus))
        async with serve_http(
            app,
            host=settings.http_host,
            port=settings.http_port,
            shared=settings.share_ports,
        ):
            health.open_doors()
            async with asyncio.TaskGroup() as group:
                actors = _actors(hall, bus)
                standings = Standings(pool, feed, seconds=settings.queue_stats_seconds)
                actors["standings"] = partial(standings.run, stopping)
                seconds = settings.system_health_seconds
                pulse = Pulse(feed, standings, pool, bus, seconds=seconds)
                actors["pulse"] = partial(pulse.run, stopping)
                for name, actor in actors.items():
                    group.create_task(keep(name, actor, stopping=stopping), name=name)


def _app(hall: Hall) -> web.Application:
    """Return what answers, without the routes of health."""
    app = web.Application(middlewares=[in_json])
    app.on_response_prepare.append(sign)
    app.add_routes(EventStreams(hall).routes())
    app.add_routes(WebSockets(hall).routes())
    app.add_routes(Pages().routes())
    app.router.add_options("/api/v1/events{rest:(/.*)?}", preflight)
    return app


def _actors(hall: Hall, bus: Bus) -> dict[str, Callable[[], Awaitable[None]]]:
    """Return who works behind the doors, by name."""
    stopping = hall.stopping
    return {
        "keys": partial(hall.keys.listen, stopping),
        "following": partial(hall.following.run, stopping),
        "feed": partial(hall.feed.run, stopping),
        "beats": partial(hear_workers, stopping, bus=bus, feed=hall.feed),
        "warden": partial(
            guard,
            stopping,
            feed=hall.feed,
            keys=hall.keys,
            seconds=hall.settings.recheck_seconds,
        ),
        "usher": partial(_usher, hall.feed, stopping),
    }


def _tokens(settings: Settings) -> Tokens | None:
    """Return what reads access tokens; they are signed by ingest, never here."""
    if settings.token_key is None:
        return None
    return Tokens(read_keys(settings.token_key.get_secret_value()))


async def _usher(feed: Feed, stopping: asyncio.Event) -> None:
    """Show everybody out when the house closes (an actor)."""
    await stopping.wait()
    feed.end_all("stopping")


async def _is_connected(bus: Bus) -> bool:
    return bus.connected
