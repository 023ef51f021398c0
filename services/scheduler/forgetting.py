"""What counts for nothing any more is deleted: sessions, notices and the like.

And what is kept for so long only: the log of webhooks that came in, what schedules did,
how endpoints did by the minute.
"""

import asyncio
from datetime import timedelta
from functools import partial
from typing import Final

from libs.common.db import Pool, borrow
from libs.common.loops import every
from libs.common.store import (
    allowances,
    backfills,
    endpoint_health,
    firings,
    incoming,
    login_codes,
    notices,
    replays,
    sessions,
    tallies,
    usage,
)

_TURN_SECONDS: Final = 60.0
_ROWS_MAX: Final = 5_000
#: Codes are counted by the hour (contract 5.6).
_CODES_KEPT: Final = timedelta(hours=2)
_DELIVERIES_KEPT: Final = timedelta(days=30)
#: Replays and backfills that are over, and what happened on a day.
_DAYS_KEPT: Final = timedelta(days=90)
#: The breaker looks at five minutes, people at a day.
_MINUTES_KEPT: Final = timedelta(days=2)
#: More than come in within a turn, wherever that is sustained.
_BATCHES_MAX: Final = 100
#: As long as events are.
_NOTICES_KEPT: Final = timedelta(days=7)


async def forget_old(
    stopping: asyncio.Event, *, pool: Pool, runs_kept: timedelta
) -> None:
    """Delete some of what is over, once a minute, until stopped (an actor).

    Nothing depends on it: whoever reads looks at the time as well.
    """

    async def turn() -> None:
        async with borrow(pool) as conn:
            await sessions.forget_sessions(conn, at_most=_ROWS_MAX)
            await login_codes.forget_codes(
                conn, older_than=_CODES_KEPT, at_most=_ROWS_MAX
            )
            await allowances.forget_allowances(conn, at_most=_ROWS_MAX)
            await usage.forget_days(conn, at_most=_ROWS_MAX)
            await firings.forget_runs(conn, age=runs_kept, at_most=_ROWS_MAX)
            await replays.forget_replays(conn, age=_DAYS_KEPT, at_most=_ROWS_MAX)
            await backfills.forget_backfills(conn, age=_DAYS_KEPT, at_most=_ROWS_MAX)
            await tallies.forget_tallies(conn, age=_DAYS_KEPT, at_most=_ROWS_MAX)
            await incoming.forget_secrets(conn)
            await notices.forget_told(conn, older_than=_NOTICES_KEPT, at_most=_ROWS_MAX)
        for forget in (
            partial(incoming.forget_deliveries, older_than=_DELIVERIES_KEPT),
            partial(endpoint_health.forget_minutes, older_than=_MINUTES_KEPT),
        ):
            for _ in range(_BATCHES_MAX):
                async with borrow(pool) as conn:
                    forgotten = await forget(conn, at_most=_ROWS_MAX)
                if forgotten < _ROWS_MAX or stopping.is_set():
                    break

    await every(_TURN_SECONDS, turn, stopping=stopping)
