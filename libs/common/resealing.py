"""Seals anew, with the newest key, what older keys sealed: then those may go.

Each batch is a step by itself, and what was changed meanwhile is left alone: it may run
beside the whole house, be interrupted, and be repeated.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final

from libs.common.db import borrow, open_pool
from libs.common.sealing import Sealer, Unsealable
from libs.common.store import resealing
from libs.common.store.resealing import SealedPart

_BATCH: Final = 500


@dataclass(slots=True)
class Progress:
    """How many secrets were sealed anew, and how many nobody can open, by part."""

    resealed: Counter[str] = field(default_factory=Counter)
    unopened: Counter[str] = field(default_factory=Counter)


async def reseal_all(
    url: str, sealer: Sealer, *, told: Callable[[Progress], None] = lambda _: None
) -> Progress:
    """Seal everything anew that another key than the newest sealed.

    *told* hears after each batch how far it came.  Raises `Unavailable` when Postgres
    is away; then it may be repeated.
    """
    progress = Progress()
    after = ("", "")
    async with open_pool(url, service="reencrypt", size=1) as pool:
        while True:
            async with borrow(pool) as conn:
                found = await resealing.find_old(
                    conn, key_id=sealer.newest_id, after=after, limit=_BATCH
                )
                for part, of_part in groupby(found, key=lambda one: one.part):
                    changes = _anew(list(of_part), sealer, progress)
                    if changes:
                        progress.resealed[part] += await resealing.reseal(
                            conn, part=part, changes=changes
                        )
            if not found:
                return progress
            after = (found[-1].part, found[-1].name)
            told(progress)


def _anew(
    found: list[SealedPart], sealer: Sealer, progress: Progress
) -> list[tuple[SealedPart, bytes]]:
    changes = []
    for one in found:
        try:
            secret = sealer.unseal(one.sealed, owner=one.owner)
        except Unsealable:
            progress.unopened[one.part] += 1
        else:
            changes.append((one, sealer.seal(secret, owner=one.owner)))
    return changes
