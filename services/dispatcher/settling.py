"""Attempts into Postgres, and with them how their endpoints do: both, or neither."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import structlog
from prometheus_client import Counter

from libs.common.bus import Bus
from libs.common.db import Conn, Pool, borrow
from libs.common.errors import Malformed, Transient
from libs.common.messages import OrganizationChanged, Verdict
from libs.common.store import endpoint_health, settlement
from libs.common.store.endpoint_health import Disabled, Noted, Outcomes
from libs.common.store.settlement import Closed, Settled
from services.dispatcher.outcomes import gone, outcomes_of

log = structlog.get_logger()

OPENED: Final = Counter(
    "bellhop_endpoint_breaker_opened_total", "Breakers that opened: too many failures."
)
CLOSED: Final = Counter(
    "bellhop_endpoint_breaker_closed_total", "Breakers that closed: a trial went well."
)
THROTTLED: Final = Counter(
    "bellhop_endpoint_throttled_total", "Times an endpoint asked for a rest."
)
DISABLED: Final = Counter(
    "bellhop_endpoints_disabled_total", "Endpoints the house disabled.", ["reason"]
)

#: An attempt as its pod tells of it, and what becomes of its job.
Told = tuple[Verdict, Settled]


@dataclass(slots=True)
class Outcome:
    """What was settled, and what that says of endpoints."""

    closed: list[Closed] = field(default_factory=list)
    noted: list[Noted] = field(default_factory=list)
    #: Endpoints that want nothing any more.
    disabled: list[Disabled] = field(default_factory=list)

    def add(self, other: "Outcome") -> None:
        """Take in what was settled beside."""
        self.closed += other.closed
        self.noted += other.noted
        self.disabled += other.disabled


class Settling:
    """Settles on behalf of one dispatcher."""

    def __init__(self, pool: Pool, bus: Bus, *, actor: str) -> None:
        self._pool = pool
        self._bus = bus
        self._actor: Final = actor

    async def settle(self, told: Sequence[Told]) -> list[Closed]:
        """Settle; return the jobs whose lease was live."""
        outcome = await self._store(told)
        for each in outcome.noted:
            OPENED.inc(each.opened)
            CLOSED.inc(each.closed)
            THROTTLED.inc(each.throttled)
            if each.opened or each.closed:
                log.warning(
                    "breaker.opened" if each.opened else "breaker.closed",
                    endpoint_id=str(each.endpoint_id),
                )
        await self._tell(outcome.disabled + await self._give_up(outcome.noted))
        return outcome.closed

    async def _store(self, told: Sequence[Told]) -> Outcome:
        """Settle; what Postgres cannot hold is found by halves and stripped."""
        if not told:
            return Outcome()
        try:
            async with borrow(self._pool) as conn:
                return await self._settle(conn, told)
        except Malformed as error:
            if len(told) > 1:
                half = len(told) // 2
                outcome = await self._store(told[:half])
                outcome.add(await self._store(told[half:]))
                return outcome
            log.error("verdict.unstorable", cause=str(error))  # noqa: TRY400
            return await self._store_stripped(*told[0])

    async def _store_stripped(self, verdict: Verdict, settled: Settled) -> Outcome:
        """Settle without what a stranger wrote; if that fails, the lease decides."""
        try:
            async with borrow(self._pool) as conn:
                return await self._settle(conn, [(verdict, _stripped(settled))])
        except Malformed as error:
            log.error("verdict.given_up", cause=str(error))  # noqa: TRY400
            return Outcome()

    async def _settle(self, conn: Conn, told: Sequence[Told]) -> Outcome:
        attempts = [settled for _, settled in told]
        if not any(verdict.endpoint_id for verdict, _ in told):
            return Outcome(
                await settlement.settle(conn, attempts=attempts, actor=self._actor)
            )
        async with conn.transaction():
            # Before anything else, as everybody does.
            if wish_so := gone(told):
                await endpoint_health.lock_owners(conn, endpoint_ids=wish_so)
            closed = await settlement.settle(conn, attempts=attempts, actor=self._actor)
            # What was told of twice, or under a lost lease, did not happen again.
            happened = [told[job.index] for job in closed]
            disabled = await _disable(conn, gone(happened))
            noted = await _note(conn, outcomes_of(happened, now=datetime.now(UTC)))
        return Outcome(closed, noted, disabled)

    async def _give_up(self, noted: Sequence[Noted]) -> list[Disabled]:
        """Disable who has failed for too long.

        When Postgres is away, the next attempt says it again.
        """
        verdicts = [
            endpoint_health.Verdict(
                endpoint_id=each.endpoint_id,
                url_version=each.url_version,
                reason="failing",
                since=each.failing_since or datetime.now(UTC),
            )
            for each in noted
            if each.hopeless
        ]
        if not verdicts:
            return []
        try:
            async with borrow(self._pool) as conn, conn.transaction():
                await endpoint_health.lock_owners(
                    conn, endpoint_ids=[each.endpoint_id for each in verdicts]
                )
                return await endpoint_health.disable(conn, verdicts=verdicts)
        except Transient as error:
            log.warning("endpoints.not_disabled", cause=str(error))
            return []

    async def _tell(self, disabled: Sequence[Disabled]) -> None:
        """Say who was disabled."""
        for each in disabled:
            DISABLED.labels(each.reason).inc()
            log.warning(
                "endpoint.disabled",
                endpoint_id=str(each.endpoint_id),
                reason=each.reason,
            )
        for organization_id in {each.organization_id for each in disabled}:
            word = OrganizationChanged(organization_id=str(organization_id))
            await self._bus.ring(word)


async def _disable(conn: Conn, gone: Mapping[UUID, int]) -> list[Disabled]:
    """Disable endpoints, by id with their `url_version`, that want nothing any more."""
    if not gone:
        return []
    now = datetime.now(UTC)
    verdicts = [
        endpoint_health.Verdict(
            endpoint_id=id_, url_version=version, reason="gone", since=now
        )
        for id_, version in gone.items()
    ]
    return await endpoint_health.disable(conn, verdicts=verdicts)


async def _note(conn: Conn, outcomes: Sequence[Outcomes]) -> list[Noted]:
    """Count how endpoints did; return what followed from it."""
    if not outcomes:
        return []
    ids = {each.endpoint_id for each in outcomes}
    await endpoint_health.lock_health(conn, endpoint_ids=ids)
    return await endpoint_health.note_outcomes(conn, outcomes=outcomes)


def _stripped(settled: Settled) -> Settled:
    """Return the attempt without what a stranger wrote."""
    return Settled(
        job_id=settled.job_id,
        lease_id=settled.lease_id,
        how=settled.how,
        delay_seconds=settled.delay_seconds,
        death=settled.death,
        error=settled.error and "the answer could not be stored",
        duration_ms=settled.duration_ms,
        ended_ms_ago=settled.ended_ms_ago,
    )
