"""How many requests an organization and a key may make: right over all replicas.

A rate is a bucket that holds *burst* pieces and grows them back at its pace.  The
bucket is a row in Postgres; a replica takes from it as many pieces at a time as it has
just used in a tenth of a second, and at least one, so that a busy organization costs
some ten statements a second, whatever its rate.  Pieces that nobody used within a
second are lost: they would let a replica be generous later.

When the bucket is empty the replica remembers until when: being refused costs nothing.
Whoever has no limits never comes here (contract 1.0, 4.4).
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil, floor
from typing import Final
from uuid import UUID

from libs.common.access import Principal
from libs.common.batcher import Batcher
from libs.common.db import Pool, borrow
from libs.common.errors import RateLimited
from libs.common.store import allowances
from libs.common.store.allowances import Taken, Taking

#: What is said where there is no limit (the largest number that any client can hold).
NO_LIMIT: Final = 2**31 - 1
_LAPSE_SECONDS: Final = 1.0
_PACE_SECONDS: Final = 0.1
#: How long to leave an empty bucket alone at least, however fast it grows.
_REST_SECONDS: Final = 0.02
_BUCKETS_MAX: Final = 50_000
_BATCH_MAX: Final = 500
_KEY_WINDOW_SECONDS: Final = 60


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is left of the tightest rate, after this request."""

    scope: str
    limit: int
    remaining: int
    #: When all of it is there again, in Unix seconds.
    reset_at: int
    #: In how long all of *limit* grows back; None where there is no limit.
    window_seconds: int | None


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate: what is counted, how many at once, and how fast they grow back."""

    scope: str
    subject: str
    burst: int
    per_second: float

    @property
    def window_seconds(self) -> int:
        """In how long a whole burst grows back."""
        return max(1, ceil(self.burst / self.per_second))


def refusal(rate: Rate, *, wait_seconds: float, spent_seconds: float) -> RateLimited:
    """Return the error of whoever was too fast."""
    return RateLimited(
        scope=rate.scope,
        limit=rate.burst,
        retry_after_seconds=max(0.0, wait_seconds),
        reset_at=datetime.now(UTC) + timedelta(seconds=max(0.0, spent_seconds)),
        window_seconds=rate.window_seconds,
    )


def nothing_left(error: RateLimited) -> Allowance:
    """Return the allowance of whoever was refused."""
    return Allowance(
        scope=error.scope,
        limit=error.limit,
        remaining=0,
        reset_at=ceil(error.reset_at.timestamp()),
        window_seconds=error.window_seconds,
    )


class _Bucket:
    """What this replica holds of one rate, and knows of the rest.

    All moments are the event loop's.
    """

    __slots__ = (
        "_counted_since",
        "_last_pace",
        "_used",
        "asking",
        "empty_until",
        "held",
        "held_since",
        "rate",
        "spent_until",
        "waiting",
    )

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self.held = 0
        self.held_since = 0.0
        self.spent_until = 0.0
        self.empty_until = 0.0
        self.waiting = 0
        self.asking: asyncio.Task[None] | None = None
        self._used = 0
        self._last_pace = 0
        self._counted_since = 0.0

    def use(self, now: float) -> bool:
        """Use one of the pieces that are held; false when none is."""
        if self.held and now - self.held_since > _LAPSE_SECONDS:
            self.held = 0
        if not self.held:
            return False
        self.held -= 1
        if now - self._counted_since > _PACE_SECONDS:
            recent = now - self._counted_since < 2 * _PACE_SECONDS
            self._last_pace = self._used if recent else 0
            self._used, self._counted_since = 0, now
        self._used += 1
        return True

    def wanted(self, now: float) -> int:
        """How many to take now: for who waits, or for the next tenth of a second."""
        recent = now - self._counted_since < 2 * _PACE_SECONDS
        pace = max(self._used, self._last_pace) if recent else 0
        return min(self.rate.burst, max(1, self.waiting, pace))

    def put(self, taken: Taken, *, wanted: int, now: float) -> None:
        """Hold what was taken, and note when there will be more."""
        self.held += taken.granted
        self.held_since = now
        self.spent_until = now + taken.spent_seconds
        # There is one again when all but one of the burst are still missing.
        self.empty_until = self.spent_until - (self.rate.burst - 1) / (
            self.rate.per_second
        )
        if taken.granted < wanted:
            self.empty_until = max(self.empty_until, now + _REST_SECONDS)

    def left(self, now: float) -> Allowance:
        """Return what is left, as far as this replica knows."""
        rate = self.rate
        missing = max(0.0, self.spent_until - now)
        free = floor(rate.burst - missing * rate.per_second)
        return Allowance(
            scope=rate.scope,
            limit=rate.burst,
            remaining=max(0, min(rate.burst, self.held + free)),
            reset_at=ceil(time.time() + missing),
            window_seconds=rate.window_seconds,
        )

    def refuse(self, now: float) -> RateLimited:
        """Return the error of whoever comes while it is empty."""
        return refusal(
            self.rate,
            wait_seconds=self.empty_until - now,
            spent_seconds=self.spent_until - now,
        )


class Allowances:
    """Counts the requests of organizations and keys; one a process."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._buckets: OrderedDict[tuple[str, UUID], _Bucket] = OrderedDict()
        self._batcher: Batcher[Taking, Taken] = Batcher(
            "allowances", self._flush, batch_max=_BATCH_MAX, lanes=1
        )

    async def admit(self, principal: Principal) -> Allowance:
        """Count one request; return what is left of the tighter rate.

        Raises `RateLimited`, and `Unavailable` when Postgres is away and must be asked.
        """
        per_second = principal.plan.limits.rate_limit_requests_per_second
        per_minute = principal.rate_limit
        if per_second is None and per_minute is None:
            return _unlimited()
        used: list[_Bucket] = []
        try:
            if per_minute is not None:
                used.append(await self._use(self._of_key(principal, per_minute)))
            if per_second is not None:
                used.append(await self._use(self._of_org(principal, per_second)))
        except RateLimited:
            for bucket in used:
                # A request that was refused was not made.
                bucket.held += 1
            raise
        now = asyncio.get_running_loop().time()
        return min((one.left(now) for one in used), key=lambda one: one.remaining)

    async def drain(self) -> None:
        """Return when nothing is under way."""
        await self._batcher.drain()

    async def _use(self, bucket: _Bucket) -> _Bucket:
        loop = asyncio.get_running_loop()
        while not bucket.use(now := loop.time()):
            if now < bucket.empty_until:
                raise bucket.refuse(now)
            bucket.waiting += 1
            try:
                if bucket.asking is None:
                    bucket.asking = asyncio.create_task(self._ask(bucket))
                # Others wait for the same answer: who leaves does not end it.
                await asyncio.shield(bucket.asking)
            finally:
                bucket.waiting -= 1
        return bucket

    async def _ask(self, bucket: _Bucket) -> None:
        # Whoever comes in this turn of the loop is counted in.
        await asyncio.sleep(0)
        loop = asyncio.get_running_loop()
        wanted = bucket.wanted(loop.time())
        try:
            taken = await self._batcher.put(
                Taking(
                    bucket.rate.subject,
                    1 / bucket.rate.per_second,
                    bucket.rate.burst,
                    wanted,
                )
            )
            bucket.put(taken, wanted=wanted, now=loop.time())
        finally:
            bucket.asking = None

    async def _flush(self, takings: Sequence[Taking]) -> list[Taken]:
        async with borrow(self._pool) as conn:
            return await allowances.take(conn, takings=takings)

    def _of_org(self, principal: Principal, per_second: int) -> _Bucket:
        burst = principal.plan.limits.rate_limit_burst
        return self._bucket(
            "org", principal.organization_id, burst or per_second, float(per_second)
        )

    def _of_key(self, principal: Principal, per_minute: int) -> _Bucket:
        return self._bucket(
            "key",
            principal.api_key_id,
            per_minute,
            per_minute / _KEY_WINDOW_SECONDS,
        )

    def _bucket(self, scope: str, id_: UUID, burst: int, per_second: float) -> _Bucket:
        if burst <= 0 or per_second <= 0:
            raise _never(scope)
        bucket = self._buckets.get((scope, id_))
        if bucket is None:
            bucket = _Bucket(Rate(scope, f"{scope}:{id_}", burst, per_second))
            self._buckets[scope, id_] = bucket
            while len(self._buckets) > _BUCKETS_MAX:
                self._buckets.popitem(last=False)
        elif (bucket.rate.burst, bucket.rate.per_second) != (burst, per_second):
            bucket.rate = Rate(scope, bucket.rate.subject, burst, per_second)
            bucket.empty_until = 0.0
        return bucket


def _unlimited() -> Allowance:
    return Allowance("org", NO_LIMIT, NO_LIMIT, int(time.time()), None)


def _never(scope: str) -> RateLimited:
    """Return the error of whoever was given a rate of nothing."""
    return RateLimited(
        scope=scope,
        limit=0,
        retry_after_seconds=_KEY_WINDOW_SECONDS,
        reset_at=datetime.now(UTC) + timedelta(seconds=_KEY_WINDOW_SECONDS),
    )
