"""Signs of life of workers, told as they come: no event, and so never told again."""

import asyncio

import msgspec

from libs.common.bus import Bus
from libs.common.messages import ResourceChanged, WorkerSeen
from services.streamer.feed import Feed


async def hear_workers(stopping: asyncio.Event, *, bus: Bus, feed: Feed) -> None:
    """Tell whoever watches of workers that showed themselves, until stopped."""

    def heard(seen: WorkerSeen) -> None:
        if feed.is_watched:
            feed.hear(heartbeat(seen), b"")

    await bus.hear(WorkerSeen, heard, stopping=stopping)


def heartbeat(seen: WorkerSeen) -> ResourceChanged:
    """Return it as the event that it would be; it has no place among the others."""
    data = {
        "worker_id": seen.worker_id,
        "queue_name": seen.queue_name,
        "status": seen.status,
        "current_jobs": seen.current_jobs,
    }
    return ResourceChanged(
        id="",
        type="worker.heartbeat",
        time=seen.time,
        organization_id=seen.organization_id,
        resource="worker",
        resource_id=seen.worker_id,
        queue_name=seen.queue_name,
        data=msgspec.Raw(msgspec.json.encode(data)),
    )
