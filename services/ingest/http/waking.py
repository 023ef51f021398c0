"""Telling the others that something was committed."""

from collections.abc import Iterable

from aiohttp import web

from libs.common.messages import JournalGrew
from libs.common.store.interventions import Requeued
from services.ingest.http.reading import BUS


async def wake(request: web.Request, requeued: Iterable[Requeued]) -> None:
    """Ring for jobs that became ready by hand, and for the journal."""
    bus = request.app[BUS]
    await bus.ring_lanes((job.lane_id, job.push) for job in requeued)
    await bus.ring(JournalGrew())
