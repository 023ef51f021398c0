"""What the announcer counts, and what becomes of it when it is old."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec

from libs.common.db import Pool, borrow
from libs.common.loops import every
from libs.common.store import missed, tallies
from libs.common.store.journal import Entry
from libs.common.store.tallies import Credit, Tally

_BUCKET_SECONDS: Final = 300
_FINE_FOR: Final = timedelta(days=2)
_FOLD_BATCH: Final = 1000


class _Told(msgspec.Struct):
    """What a transition's details say of time."""

    duration_ms: float | None = None
    waited_ms: float | None = None


_TOLD: Final = msgspec.json.Decoder(_Told)
_SILENT: Final = _Told()


def summed(entries: Sequence[Entry]) -> tuple[list[Tally], list[Credit]]:
    """Return what *entries* come to: by lane, time and transition, and by worker."""
    sums: dict[tuple[int, int, str], list[float]] = {}
    done: dict[tuple[str, UUID], list[int]] = {}
    for entry in entries:
        told = _TOLD.decode(entry.details) if entry.details else _SILENT
        nth = int(entry.at.timestamp()) // _BUCKET_SECONDS
        key = entry.lane_id, nth, entry.transition
        mine = sums.setdefault(key, [0, 0.0, 0.0])
        mine[0] += 1
        mine[1] += told.duration_ms or 0.0
        mine[2] += told.waited_ms or 0.0
        # Whose lease ran out reported nothing, and there is no duration.
        if entry.actor and not entry.push and told.duration_ms is not None:
            both = done.setdefault((entry.actor, entry.organization_id), [0, 0])
            both[0 if entry.transition == "completed" else 1] += 1
    return (
        [
            Tally(lane_id, _begin(nth), transition, int(jobs), duration, wait)
            for (lane_id, nth, transition), (jobs, duration, wait) in sums.items()
        ],
        [
            Credit(*name, completed, failed)
            for name, (completed, failed) in done.items()
        ],
    )


async def fold_old(
    stopping: asyncio.Event, *, pool: Pool, every_seconds: float
) -> None:
    """Fold tallies of five minutes into days when they are old (an actor).

    And forget where something happened of which nothing is kept.
    """

    async def turn() -> None:
        folded = gone = _FOLD_BATCH
        while _FOLD_BATCH in {folded, gone} and not stopping.is_set():
            async with borrow(pool) as conn:
                folded = await tallies.fold(conn, age=_FINE_FOR, limit=_FOLD_BATCH)
                gone = await missed.forget_stretches(conn, limit=_FOLD_BATCH)

    await every(every_seconds, turn, stopping=stopping)


def _begin(nth: int) -> datetime:
    return datetime.fromtimestamp(nth * _BUCKET_SECONDS, UTC)
