"""Telling the others that something was committed."""

from collections.abc import Iterable

from aiohttp import web

from libs.common.messages import JournalGrew, LanesReady
from libs.common.store.interventions import Requeued
from services.ingest.http.reading import BUS


async def wake(request: web.Request, requeued: Iterable[Requeued]) -> None:
    """Ring for jobs that became ready by hand, and for the journal."""
    bus = request.app[BUS]
    lanes = sorted({job.lane_id for job in requeued if job.push})
    if lanes:
        await bus.ring(LanesReady(lanes=lanes))
    await bus.ring(JournalGrew())
