"""Who gets which messages: an organization's endpoints, remembered and ready to match.

What is remembered has a version.  The statement that lets messages in holds it against
the organization's (`store.messages.create`), so nobody is forgotten, and nobody is sent
what they no longer ask for, however late the word of a change arrives.
"""

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import orjson
import structlog

from libs.common.bus import Bus
from libs.common.db import Conn, Pool, Row, borrow
from libs.common.event_types import Wish
from libs.common.filters import BadFilter, Test, compile_filter
from libs.common.messages import OrganizationChanged
from libs.common.store import endpoints

log = structlog.get_logger()

_ENDPOINTS_MAX: Final = 100_000


@dataclass(frozen=True, slots=True)
class Subscriber:
    """An endpoint, and what it asks for."""

    id: UUID
    format: str
    ordered: bool
    max_retries: int
    _wish: Wish
    _test: Test | None

    def wants(self, event_type: str, payload: Any) -> bool:
        """Whether a message is for it."""
        return self._wish.matches(event_type) and (
            self._test is None or self._test(payload)
        )


@dataclass(frozen=True, slots=True)
class Subscriptions:
    """All endpoints of one organization, as of a version."""

    version: int
    by_id: dict[UUID, Subscriber]

    def wanting(self, event_type: str, payload: Any) -> list[Subscriber]:
        """Return those that a message is for."""
        return [one for one in self.by_id.values() if one.wants(event_type, payload)]


_NOTHING: Final = Subscriptions(0, {})


class Subscribers:
    """Remembers until told that an organization changed; one a process."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._known: OrderedDict[UUID, Subscriptions] = OrderedDict()
        self._endpoints = 0
        self._connections = 0
        #: Counts what was forgotten, so that an answer on its way is not kept.
        self._generation = 0

    def forget(self, word: OrganizationChanged) -> None:
        """Forget an organization's endpoints."""
        self.drop(UUID(word.organization_id))

    def drop(self, organization_id: UUID) -> None:
        """Forget endpoints that turned out to have changed."""
        self._generation += 1
        gone = self._known.pop(organization_id, None)
        if gone is not None:
            self._endpoints -= len(gone.by_id)

    def recall(self, organization_ids: Collection[UUID]) -> dict[UUID, Subscriptions]:
        """Return what is remembered of these organizations."""
        if not self._bus.connected or self._connections != self._bus.connections:
            # The word that something changed may have been lost.
            self._generation += 1
            self._known.clear()
            self._endpoints = 0
            self._connections = self._bus.connections
        found = {}
        for id_ in organization_ids:
            if id_ in self._known:
                self._known.move_to_end(id_)
                found[id_] = self._known[id_]
        return found

    async def find(
        self, pool: Pool, organization_id: UUID, endpoint_id: UUID
    ) -> Subscriber | None:
        """Return one endpoint, or None when there is none: that is looked up."""
        known = self.recall([organization_id])
        if endpoint_id not in known.get(organization_id, _NOTHING).by_id:
            async with borrow(pool) as conn:
                known = await self.look_up(conn, [organization_id])
        return known.get(organization_id, _NOTHING).by_id.get(endpoint_id)

    async def look_up(
        self, conn: Conn, organization_ids: Collection[UUID]
    ) -> dict[UUID, Subscriptions]:
        """Return the endpoints of these organizations as they are.

        An organization that is no more is left out.
        """
        generation = self._generation
        rows = await endpoints.read_subscriptions(
            conn, organization_ids=organization_ids
        )
        found: dict[UUID, Subscriptions] = {}
        for row in rows:
            one = found.setdefault(
                row["organization_id"], Subscriptions(row["endpoints_version"], {})
            )
            if row["id"] is not None:
                one.by_id[row["id"]] = _subscriber(row)
        if generation == self._generation:
            self._keep(found)
        return found

    def _keep(self, found: dict[UUID, Subscriptions]) -> None:
        for id_, one in found.items():
            before = self._known.pop(id_, None)
            self._endpoints += len(one.by_id) - (len(before.by_id) if before else 0)
            self._known[id_] = one
        while self._endpoints > _ENDPOINTS_MAX and len(self._known) > len(found):
            _, oldest = self._known.popitem(last=False)
            self._endpoints -= len(oldest.by_id)


def _subscriber(row: Row) -> Subscriber:
    return Subscriber(
        id=row["id"],
        format=row["format"],
        ordered=row["ordered"],
        max_retries=row["max_retries"],
        _wish=Wish(row["event_types"]),
        _test=_test(row),
    )


def _test(row: Row) -> Test | None:
    if row["filter"] is None:
        return None
    try:
        return compile_filter(orjson.loads(row["filter"]))
    except BadFilter as error:
        # It was one when it came.  Too much can be filtered by whoever gets it.
        log.warning("filter.unreadable", endpoint=str(row["id"]), cause=str(error))
        return None
