"""A new edition of the time zones: what schedules do next is found anew."""

import asyncio
from typing import Final
from uuid import UUID

import structlog

from libs.common.db import Pool, Row, borrow
from libs.common.loops import every
from libs.common.store import schedules
from libs.common.ticks import Tick
from libs.common.zones import EDITION
from services.scheduler.decisions import following_of, rhythm_of_row

log = structlog.get_logger()

_POLL_SECONDS: Final = 60.0
_BATCH: Final = 200


async def renew(stopping: asyncio.Event, *, pool: Pool, edition: str = EDITION) -> None:
    """Look for schedules of an older edition, until stopped (an actor)."""

    async def turn() -> None:
        renewed = _BATCH
        while renewed == _BATCH and not stopping.is_set():
            async with borrow(pool) as conn, conn.transaction():
                rows = await schedules.lock_outdated(
                    conn, edition=edition, limit=_BATCH
                )
                if rows:
                    await schedules.update_edition(
                        conn, following=[_renewed(row) for row in rows], edition=edition
                    )
            renewed = len(rows)
            if renewed:
                log.info("schedules.renewed", schedules=renewed, edition=edition)

    await every(_POLL_SECONDS, turn, stopping=stopping)


def _renewed(row: Row) -> tuple[UUID, Tick | None]:
    """Return what a schedule does next; what is due already stays."""
    known = following_of(row)
    if known is not None and known.at <= row["asked_at"]:
        return row["id"], known
    try:
        return row["id"], rhythm_of_row(row).after(row["asked_at"])
    except ValueError:
        # Whoever fires it says so.
        return row["id"], known
