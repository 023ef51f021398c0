"""What ingest remembers of lanes and queues, so that creating a job need not look."""

from collections.abc import Iterable
from typing import Final, NamedTuple
from uuid import UUID

from libs.common.bus import Bus
from libs.common.db import Conn
from libs.common.messages import OrganizationChanged
from libs.common.store import queues
from libs.common.store.lanes import LaneName, open_lanes

_MAX_RETRIES: Final = 3
_TIMEOUT_SECONDS: Final = 300
_REMEMBERED_MAX: Final = 100_000


class Defaults(NamedTuple):
    """What a queue gives to jobs that do not say it."""

    max_retries: int
    timeout_seconds: int


class Known(NamedTuple):
    """What the jobs of one batch need to know; its own, whatever is forgotten since."""

    lanes: dict[LaneName, int]
    defaults: dict[tuple[UUID, str], Defaults]
    generation: int


class Remembered:
    """Remembers until told that an organization changed; one a process."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._lanes: dict[LaneName, int] = {}
        self._defaults: dict[tuple[UUID, str], Defaults] = {}
        self._connections = 0
        #: Counts what was forgotten, so that an answer on its way is not kept.
        self._generation = 0

    def forget(self, word: OrganizationChanged) -> None:
        """Forget an organization's lanes, and what its queues give."""
        self._generation += 1
        for lane in [key for key in self._lanes if str(key[0]) == word.organization_id]:
            del self._lanes[lane]
        for queue in [
            key for key in self._defaults if str(key[0]) == word.organization_id
        ]:
            del self._defaults[queue]

    def recall(self, names: Iterable[LaneName]) -> Known:
        """Return what is remembered of these lanes and of their queues."""
        if not self._bus.connected or self._connections != self._bus.connections:
            # The word that something changed may have been lost.
            self._forget_all()
            self._connections = self._bus.connections
        if max(len(self._lanes), len(self._defaults)) > _REMEMBERED_MAX:
            self._forget_all()
        known = Known({}, {}, self._generation)
        for name in names:
            if name in self._lanes:
                known.lanes[name] = self._lanes[name]
            if name[:2] in self._defaults:
                known.defaults[name[:2]] = self._defaults[name[:2]]
        return known

    async def complete(
        self, conn: Conn, known: Known, names: Iterable[LaneName]
    ) -> None:
        """Look up, and open, what of these lanes and queues is not *known*."""
        new_lanes = set(names) - known.lanes.keys()
        if new_lanes:
            known.lanes.update(await open_lanes(conn, names=sorted(new_lanes)))
        for organization_id, name in {n[:2] for n in names} - known.defaults.keys():
            row = await queues.read_queue(
                conn, organization_id=organization_id, name=name
            )
            known.defaults[organization_id, name] = Defaults(
                row["max_retries"] if row else _MAX_RETRIES,
                row["default_timeout"] if row else _TIMEOUT_SECONDS,
            )

    def keep(self, known: Known) -> None:
        """Remember what was looked up, and is committed."""
        if known.generation == self._generation:
            self._lanes |= known.lanes
            self._defaults |= known.defaults

    def _forget_all(self) -> None:
        self._generation += 1
        self._lanes.clear()
        self._defaults.clear()


def is_whole(known: Known, names: Iterable[LaneName]) -> bool:
    """Whether nothing of these lanes and queues has to be looked up."""
    return all(name in known.lanes and name[:2] in known.defaults for name in names)
