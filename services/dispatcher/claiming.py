"""Push jobs claimed for this dispatcher, within the limits of queues and endpoints."""

import asyncio
from collections import Counter as Tally
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Final
from uuid import UUID

import structlog
from prometheus_client import Counter

from libs.common.admission import admission
from libs.common.db import Conn, Pool, borrow
from libs.common.errors import Transient
from libs.common.floors import Floors
from libs.common.store import claims
from libs.common.store.claims import Claimed
from services.dispatcher.ledger import Ledger
from services.dispatcher.settings import Settings

log = structlog.get_logger()

CLAIMED: Final = Counter("bellhop_jobs_claimed_total", "Push jobs claimed.")

#: A larger body is not sent along but fetched by the pod that needs it.
BODY_BYTES_MAX: Final = 64 * 1024
#: Whatever the clock says, somebody may change it without a word that we hear.
_AGAIN_SECONDS_MAX: Final = 10.0


class Claiming:
    """Claims, and knows which lanes to leave alone until there may be more in them.

    A lane that gave less than asked is out of the ledger until somebody tells of it: of
    a job that became ready, of one that left its place where there is a limit, or the
    clock, for a rate, a breaker, a throttle and a floor.
    """

    def __init__(
        self,
        settings: Settings,
        pool: Pool,
        ledger: Ledger,
        floors: Floors,
        *,
        again: Callable[[Sequence[int]], None],
    ) -> None:
        self._settings = settings
        self._pool = pool
        self._ledger = ledger
        self._floors = floors
        #: Lanes whose claim passed over what may stand before their floor.
        self._floored: set[int] = set()
        #: Called with lanes that may give more now.
        self._tell = again
        #: Lanes that would be refused: only how to ask, never who gets how much.
        self._limited: set[int] = set()
        self._waiting: dict[int, asyncio.TimerHandle] = {}

    def waits(self, lane_id: int) -> bool:
        """Return whether the clock will tell of a lane that has jobs."""
        return lane_id in self._waiting

    def forget(self, organization_id: UUID) -> None:
        """Wait no longer for the clock to tell of an organization's lanes."""
        for lane_id in list(self._waiting):
            if self._ledger.lanes[lane_id].organization_id == organization_id:
                self._waiting.pop(lane_id).cancel()

    async def claim(self, quotas: Mapping[int, int]) -> list[Claimed]:
        """Claim up to ``quotas[lane]`` jobs of each lane; raises `Unavailable`."""
        lanes = self._ledger.lanes
        self._floored.clear()
        self._limited |= {id_ for id_ in quotas if lanes[id_].endpoint_id is not None}
        free = {id_: n for id_, n in quotas.items() if id_ not in self._limited}
        claimed: list[Claimed] = []
        if free:
            async with borrow(self._pool) as conn:
                claimed, refused = await self._claim(conn, free)
            self._limited |= refused
        limited = {id_: n for id_, n in quotas.items() if id_ in self._limited}
        if limited:
            try:
                claimed += await self._claim_limited(limited)
            except Transient as error:
                if not claimed:
                    raise
                log.warning("claim.lost", cause=str(error), lanes=len(limited))
        self._note_emptied(quotas, claimed)
        CLAIMED.inc(len(claimed))
        return claimed

    async def _claim(
        self, conn: Conn, quotas: Mapping[int, int], *, admitted: Sequence[int] = ()
    ) -> tuple[list[Claimed], set[int]]:
        floors = self._floors.of(quotas)
        claimed, refused = await claims.claim(
            conn,
            quotas=quotas,
            lease_jobs_max=self._settings.batch_jobs_max,
            owner=self._ledger.dispatcher,
            lease=timedelta(seconds=self._settings.lease_seconds),
            payload_bytes_max=BODY_BYTES_MAX,
            admitted=admitted,
            floors=floors,
        )
        self._floors.took(job.lane_id for job in claimed)
        self._floored |= floors.keys()
        return claimed, refused

    async def _claim_limited(self, quotas: Mapping[int, int]) -> list[Claimed]:
        claimed: list[Claimed] = []
        async with (
            borrow(self._pool) as conn,
            admission(conn, asked=quotas) as admitted,
        ):
            if admitted.quotas:
                claimed, _ = await self._claim(
                    conn, admitted.quotas, admitted=list(admitted.gates_of)
                )
                admitted.started(job.lane_id for job in claimed)
        self._limited -= admitted.unlimited
        for lane_id, seconds in admitted.again.items():
            self._look_again(lane_id, seconds)
        return claimed

    def _look_again(self, lane_id: int, seconds: float) -> None:
        """Take the lane into account again, when time allows the next."""
        if lane_id not in self._waiting:
            self._waiting[lane_id] = asyncio.get_running_loop().call_later(
                min(seconds, _AGAIN_SECONDS_MAX), partial(self._again, lane_id)
            )

    def _again(self, lane_id: int) -> None:
        del self._waiting[lane_id]
        self._tell([lane_id])

    def _note_emptied(
        self, quotas: Mapping[int, int], claimed: Sequence[Claimed]
    ) -> None:
        """Forget lanes that gave less than asked, unless told of them meanwhile."""
        given = Tally(job.lane_id for job in claimed)
        emptied = {
            lane_id for lane_id, quota in quotas.items() if given[lane_id] < quota
        }
        self._ledger.ready -= emptied
        for lane_id in emptied & self._floored:
            self._look_again(lane_id, self._floors.again_seconds)
