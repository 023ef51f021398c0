"""To whom somebody sends, and whose webhooks they take: looked up and remembered.

Whoever changes a source, a token or a plan says `OrganizationChanged`; while the bus is
away, or was, nothing is remembered for longer than a second.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import structlog

from libs.common.access import Principal
from libs.common.bus import Bus
from libs.common.db import Pool, Row, borrow
from libs.common.errors import Unavailable
from libs.common.messages import OrganizationChanged
from libs.common.plans import PlanLimits
from libs.common.quotas import DELETED, stored_plan
from libs.common.sealing import Sealer, Unsealable
from libs.common.store import incoming

log = structlog.get_logger()

_REMEMBER_SECONDS: Final = 30.0
_REMEMBER_SECONDS_UNTOLD: Final = 1.0
_RECIPIENTS_MAX: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A provider whose webhooks an organization takes."""

    #: Opened, and never printed; None when it cannot be opened.
    current: str | None
    previous: str | None
    previous_until: datetime | None
    enabled: bool
    queue_name: str | None
    as_message: bool
    #: When it last changed between jobs and messages.
    switched_at: datetime | None

    def __repr__(self) -> str:
        return f"<Source enabled={self.enabled}>"

    @property
    def secrets(self) -> tuple[str, ...]:
        """What may have signed now, the newest first; raises `Unavailable`."""
        if self.current is None:
            raise Unavailable("a secret cannot be opened")
        until = self.previous_until
        if self.previous is None or until is None or until <= datetime.now(UTC):
            return (self.current,)
        return (self.current, self.previous)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """An organization, as whoever sends to it needs to know it."""

    #: It acts for itself: nobody's key is shown here.
    principal: Principal
    webhook_token: str | None
    sources: Mapping[str, Source]

    def __repr__(self) -> str:
        return f"<Recipient {self.principal.organization_id}>"


@dataclass(frozen=True, slots=True)
class _Remembered:
    recipient: Recipient
    at: float
    connections: int


class Sources:
    """Knows recipients; one a process."""

    def __init__(
        self,
        pool: Pool,
        bus: Bus,
        sealer: Sealer,
        *,
        plan_limits: PlanLimits | None = None,
    ) -> None:
        self._pool = pool
        self._bus = bus
        self._sealer = sealer
        self._plan_limits = plan_limits
        self._known: OrderedDict[UUID, _Remembered] = OrderedDict()
        #: Counts what was forgotten, so that an answer on its way is not kept.
        self._generation = 0

    async def find(self, organization_id: UUID) -> Recipient | None:
        """Return to whom somebody sends, or None when there is no such one.

        Raises `Unavailable` when Postgres is away and must be asked.
        """
        known = self._known.get(organization_id)
        if known is None or self._is_old(known):
            generation = self._generation
            connections = self._bus.connections
            now = asyncio.get_running_loop().time()
            async with borrow(self._pool) as conn:
                rows = await incoming.read_recipient(
                    conn, organization_id=organization_id
                )
            if not rows or rows[0]["plan_tier"] == DELETED:
                return None
            known = _Remembered(self._recipient(rows), now, connections)
            if generation == self._generation:
                self._keep(organization_id, known)
        return known.recipient

    async def listen(self, stopping: asyncio.Event) -> None:
        """Forget what is said to have changed, until stopped (an actor)."""
        await self._bus.hear(OrganizationChanged, self.forget, stopping=stopping)

    def forget(self, word: OrganizationChanged) -> None:
        """Forget an organization."""
        self._generation += 1
        self._known.pop(UUID(word.organization_id), None)

    def _keep(self, organization_id: UUID, known: _Remembered) -> None:
        self._known[organization_id] = known
        self._known.move_to_end(organization_id)
        while len(self._known) > _RECIPIENTS_MAX:
            self._known.popitem(last=False)

    def _is_old(self, known: _Remembered) -> bool:
        told = self._bus.connected and known.connections == self._bus.connections
        most = _REMEMBER_SECONDS if told else _REMEMBER_SECONDS_UNTOLD
        return asyncio.get_running_loop().time() - known.at > most

    def _recipient(self, rows: list[Row]) -> Recipient:
        first = rows[0]
        organization_id = first["organization_id"]
        return Recipient(
            principal=Principal(
                organization_id=organization_id,
                api_key_id=organization_id,
                queues=(),
                plan=stored_plan(first, self._plan_limits),
            ),
            webhook_token=first["webhook_token"],
            sources={
                row["provider"]: self._source(row)
                for row in rows
                if row["provider"] is not None
            },
        )

    def _source(self, row: Row) -> Source:
        return Source(
            current=self._opened(row, "sealed"),
            previous=self._opened(row, "previous_sealed"),
            previous_until=row["previous_until"],
            enabled=row["enabled"],
            queue_name=row["queue_name"],
            as_message=row["as_message"],
            switched_at=row["switched_at"],
        )

    def _opened(self, row: Row, name: str) -> str | None:
        if row[name] is None:
            return None
        owner = str(row["organization_id"])
        try:
            return self._sealer.unseal(row[name], owner=owner).decode()
        except Unsealable as error:
            # Whoever sends is told to try again: by then somebody may have the key.
            log.error(  # noqa: TRY400 - a key is missing, the code is right
                "incoming.secret_unsealable",
                organization_id=owner,
                provider=row["provider"],
                cause=str(error),
            )
            return None
