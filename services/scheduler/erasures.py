"""Organizations that are to be gone: their jobs are deleted bit by bit, then the rest.

Each step is small and by itself, so whoever dies half-way leaves it to the next one,
and any number of schedulers may do the same.  The row of the organization goes last.
"""

import asyncio
from datetime import timedelta
from typing import Final
from uuid import UUID

import structlog
from prometheus_client import Counter

from libs.common.db import Pool, borrow
from libs.common.loops import every
from libs.common.store import erasures, incoming

log = structlog.get_logger()

ERASED: Final = Counter("bellhop_jobs_erased_total", "Jobs of erased organizations.")

_POLL_SECONDS: Final = 2.0
_BATCH: Final = 500
#: Longer than any credential is remembered, so that nobody lets a job in any more.
_GRACE: Final = timedelta(seconds=60)


async def erase_organizations(stopping: asyncio.Event, *, pool: Pool) -> None:
    """Erase what is to be erased, until stopped (an actor)."""

    async def turn() -> None:
        async with borrow(pool) as conn:
            organization_id = await erasures.next_erasure(conn)
        if organization_id is not None:
            await _erase(pool, organization_id, stopping)

    await every(_POLL_SECONDS, turn, stopping=stopping)


async def _erase(pool: Pool, organization_id: UUID, stopping: asyncio.Event) -> None:
    """Walk once through its jobs; what was moving meanwhile is met the next time."""
    after = UUID(int=0)
    while not stopping.is_set():
        async with borrow(pool) as conn:
            job_ids = await erasures.choose_jobs(
                conn, organization_id=organization_id, after=after, limit=_BATCH
            )
            if not job_ids:
                break
            ERASED.inc(
                await erasures.erase(
                    conn, organization_id=organization_id, job_ids=job_ids
                )
            )
        after = job_ids[-1]
    while not stopping.is_set():
        async with borrow(pool) as conn:
            erased = await erasures.erase_messages(
                conn, organization_id=organization_id, at_most=_BATCH
            )
        if not erased:
            break
    while not stopping.is_set():
        async with borrow(pool) as conn:
            erased = await incoming.erase_deliveries(
                conn, organization_id=organization_id, at_most=_BATCH
            )
        if not erased:
            break
    async with borrow(pool) as conn:
        if await erasures.erase_rest(
            conn, organization_id=organization_id, grace=_GRACE
        ):
            log.info("organization.erased", organization_id=str(organization_id))
