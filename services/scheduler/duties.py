"""Duties that one scheduler has at a time, and how they are given back."""

from typing import Final

import structlog
from prometheus_client import Gauge

from libs.common.db import Pool, borrow
from libs.common.errors import Unavailable
from libs.common.store import leaders

log = structlog.get_logger()

LEADER: Final = Gauge(
    "bellhop_scheduler_leader", "1 for the one scheduler that has the duty.", ["duty"]
)


async def give_back(pool: Pool, *, duty: str, holder: str) -> None:
    """Let another scheduler take *duty* at once.

    When Postgres is away the term runs out instead: who stops need not wait for it.
    """
    try:
        async with borrow(pool) as conn:
            await leaders.resign(conn, duty=duty, holder=holder)
    except Unavailable as error:
        log.warning("duty.not_given_back", duty=duty, cause=str(error))
