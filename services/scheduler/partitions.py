"""Partitions stand ready before the first job of their week comes."""

import asyncio
from datetime import timedelta
from typing import Final

import structlog

from libs.common.db import Pool, borrow
from libs.common.loops import every
from libs.common.store import partitions

log = structlog.get_logger()

_TURN_SECONDS: Final = 3600.0


async def create_ahead(stopping: asyncio.Event, *, pool: Pool, weeks: int) -> None:
    """Create what is missing, hourly, until stopped (an actor)."""

    async def turn() -> None:
        async with borrow(pool) as conn:
            created = await partitions.create_ahead(
                conn, back=timedelta(weeks=1), ahead=timedelta(weeks=weeks)
            )
        if created:
            log.info("partitions.created", partitions=created)

    await every(_TURN_SECONDS, turn, stopping=stopping)
