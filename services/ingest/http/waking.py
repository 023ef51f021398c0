"""Telling the others that something was committed."""

from collections.abc import Iterable

from aiohttp import web

from libs.common.lines import release_lines
from libs.common.store.interventions import Requeued
from services.ingest.http.reading import BUS, HOT


async def wake(request: web.Request, requeued: Iterable[Requeued]) -> None:
    """Ring for jobs that are ready again, and for the journal; call those in lines."""
    bus = request.app[BUS]
    again = list(requeued)
    await bus.ring_lanes((job.lane_id, job.push) for job in again if not job.in_line)
    await bus.ring_journal()
    if any(job.in_line for job in again):
        await release_lines(request.app[HOT], bus)
