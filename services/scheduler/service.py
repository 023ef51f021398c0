"""Wiring of the scheduler service."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import Final

from libs.common.actors import keep
from libs.common.bus import Bus, open_bus
from libs.common.db import BY_KEY, Pool, is_alive, open_pool
from libs.common.health import open_health
from libs.common.ids import new_id
from libs.common.loops import Doorbell
from libs.common.messages import JournalGrew
from services.scheduler.announcer import Announcer
from services.scheduler.backfilling import fill_in
from services.scheduler.dependents import look_after
from services.scheduler.due import Due
from services.scheduler.editions import renew
from services.scheduler.erasures import erase_organizations
from services.scheduler.forgetting import forget_old
from services.scheduler.gauges import measure
from services.scheduler.leases import recover_dropped
from services.scheduler.lines import call_forgotten
from services.scheduler.notices import Notices
from services.scheduler.partitions import create_ahead
from services.scheduler.recurring import Recurring
from services.scheduler.replays import replay
from services.scheduler.resting import Resting
from services.scheduler.retention import Retainer
from services.scheduler.settings import Settings
from services.scheduler.tallies import fold_old
from services.scheduler.teller import Teller
from services.scheduler.workers import sweep

Actor = Callable[[asyncio.Event], Awaitable[None]]

_FOLD_SECONDS: Final = 600.0


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
        async with asyncio.TaskGroup() as actors:
            for name, actor in _actors(settings, pool, bus, stopping):
                actors.create_task(
                    keep(name, partial(actor, stopping), stopping=stopping), name=name
                )
            health.open_doors()


def _actors(
    settings: Settings, pool: Pool, bus: Bus, stopping: asyncio.Event
) -> tuple[tuple[str, Actor], ...]:
    """Return who works here, by name."""
    return (
        *_of_jobs(settings, pool, bus, stopping),
        *_of_schedules(settings, pool, bus, stopping),
        *_of_news(settings, pool, bus, stopping),
        *_of_the_past(settings, pool),
        ("gauges.measure", partial(measure, pool=pool)),
    )


def _of_jobs(
    settings: Settings, pool: Pool, bus: Bus, stopping: asyncio.Event
) -> tuple[tuple[str, Actor], ...]:
    """Return who moves jobs on."""
    due = Due(pool, bus, poll_seconds=settings.due_poll_seconds)
    recover = partial(
        recover_dropped,
        pool=pool,
        bus=bus,
        poll_seconds=settings.lease_poll_seconds,
    )
    resting = Resting(pool, bus, Doorbell(stopping))
    again = partial(replay, pool=pool, bus=bus, plan_limits=settings.plan_limits)
    silence = partial(
        sweep,
        pool=pool,
        silence=timedelta(seconds=settings.worker_silence_seconds),
        every_seconds=settings.worker_poll_seconds,
    )
    return (
        ("due.run", due.run),
        ("due.expire", due.expire),
        ("leases.recover_dropped", recover),
        ("dependents.look_after", partial(look_after, pool=pool, bus=bus)),
        ("lines.call_forgotten", partial(call_forgotten, pool=pool, bus=bus)),
        ("replays.replay", again),
        ("resting.run", resting.run),
        ("resting.listen", resting.listen),
        ("workers.sweep", silence),
    )


def _of_news(
    settings: Settings, pool: Pool, bus: Bus, stopping: asyncio.Event
) -> tuple[tuple[str, Actor], ...]:
    """Return who tells what happened."""
    holder = f"scheduler-{new_id().hex[-12:]}"
    bells = [Doorbell(stopping) for _ in range(3)]
    announcer = Announcer(
        pool,
        bus,
        bells[0],
        holder=holder,
        batch_max=settings.announce_batch_max,
        poll_seconds=settings.journal_poll_seconds,
    )
    teller = Teller(
        pool,
        bus,
        bells[1],
        holder=holder,
        poll_seconds=settings.journal_poll_seconds,
    )
    notices = Notices(pool, bus, bells[2])

    def grew(_: JournalGrew) -> None:
        for bell in bells:
            bell.ring()

    async def listen(stopping: asyncio.Event) -> None:
        await bus.hear(JournalGrew, grew, stopping=stopping)

    return (
        ("announcer.run", announcer.run),
        ("teller.run", teller.run),
        ("notices.run", notices.run),
        ("news.listen", listen),
    )


def _of_the_past(settings: Settings, pool: Pool) -> tuple[tuple[str, Actor], ...]:
    """Return who makes room for what comes, and forgets what is over."""
    forget = partial(
        forget_old,
        pool=pool,
        runs_kept=timedelta(days=settings.schedule_history_days),
    )
    partitions = partial(create_ahead, pool=pool, weeks=settings.partition_weeks_ahead)
    retainer = Retainer(
        pool,
        plan_limits=settings.plan_limits,
        recent=timedelta(days=settings.replay_days_max),
    )
    return (
        ("forgetting.forget_old", forget),
        ("partitions.create_ahead", partitions),
        ("retention.run", retainer.run),
        ("tallies.fold_old", partial(fold_old, pool=pool, every_seconds=_FOLD_SECONDS)),
        ("erasures.erase_organizations", partial(erase_organizations, pool=pool)),
    )


def _of_schedules(
    settings: Settings, pool: Pool, bus: Bus, stopping: asyncio.Event
) -> tuple[tuple[str, Actor], ...]:
    """Return who looks after schedules."""
    recurring = Recurring(
        pool,
        bus,
        Doorbell(stopping),
        plan_limits=settings.plan_limits,
        batch_max=settings.schedule_batch_max,
        poll_seconds=settings.schedule_poll_seconds,
        grace=timedelta(seconds=settings.schedule_grace_seconds),
    )
    backfills = partial(fill_in, pool=pool, bus=bus, plan_limits=settings.plan_limits)
    return (
        ("recurring.run", recurring.run),
        ("recurring.listen", recurring.listen),
        ("backfilling.fill_in", backfills),
        ("editions.renew", partial(renew, pool=pool)),
    )
