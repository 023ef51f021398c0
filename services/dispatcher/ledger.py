"""What a dispatcher remembers: lanes that wait, the pods' credit, what is out.

All of it may be lost with the process: the lanes are found again in ``ready``, the
pods say every second what they hold, and a lease that nobody mentions runs out.
Methods never await, so each is one step that no other actor sees half done.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from libs.common.messages import DispatcherAlive, LeasesHeld
from libs.common.store.lanes import Lane
from services.dispatcher.lanes import Waiting, share

#: A pod or dispatcher that said nothing for so long has no part in the credit.
_SILENT_SECONDS: Final = 3.5


@dataclass(slots=True)
class HandedOut:
    """A batch on its way, or under way."""

    #: How many of its jobs are open, by lane.
    open: Counter[int]
    #: When it was last known to be alive: handed out, or renewed.
    alive_at: float
    #: Whether a pod ever said that it has it, and whether Postgres knows.
    taken_up: bool = False
    noted: bool = False


@dataclass(slots=True)
class Ledger:
    """The memory of one dispatcher; times are those of its event loop (seconds)."""

    dispatcher: str
    lanes: dict[int, Lane] = field(default_factory=dict)
    ready: set[int] = field(default_factory=set)
    handed_out: dict[UUID, HandedOut] = field(default_factory=dict)
    _pods: dict[str, tuple[int, float]] = field(default_factory=dict)
    _dispatchers: dict[str, float] = field(default_factory=dict)
    #: When a pod last said that it holds a lease.
    _held: dict[UUID, float] = field(default_factory=dict)
    _by_lane: Counter[int] = field(default_factory=Counter)
    _by_organization: Counter[UUID] = field(default_factory=Counter)
    #: How many jobs of lanes of retries are out.
    _retrying: int = 0

    # --- who is there --------------------------------------------------------------

    def hear_pod(self, word: LeasesHeld, *, now: float) -> list[UUID]:
        """Note a pod's credit; return the leases it holds that are ours to renew.

        Ours are those we handed out, and those of a dispatcher that fell silent.
        """
        self._pods[word.pod] = (word.slots, now)
        ours: list[UUID] = []
        for dispatcher, leases in word.leases.items():
            lease_ids = [UUID(lease_id) for lease_id in leases]
            self._held.update(dict.fromkeys(lease_ids, now))
            if dispatcher != self.dispatcher and self._is_up(dispatcher, now):
                continue
            for lease_id in lease_ids:
                handed = self.handed_out.get(lease_id)
                if handed is not None:
                    handed.taken_up = True
                ours.append(lease_id)
        return ours

    def held(self, *, now: float) -> set[UUID]:
        """Return the leases that pods hold, whosever they are, as far as we heard.

        A dispatcher may be up and yet cut off from Postgres, so that it renews nothing:
        its pods live.
        """
        self._held = {
            lease_id: heard
            for lease_id, heard in self._held.items()
            if now - heard < _SILENT_SECONDS
        }
        return set(self._held)

    def hear_dispatcher(self, word: DispatcherAlive, *, now: float) -> None:
        """Note that a dispatcher is up, maybe ourselves."""
        self._dispatchers[word.dispatcher] = now

    def slots(self, *, now: float) -> int:
        """Return our part of what all pods can carry at once."""
        self._pods = {
            pod: (slots, seen)
            for pod, (slots, seen) in self._pods.items()
            if now - seen < _SILENT_SECONDS
        }
        self._dispatchers = {
            name: seen
            for name, seen in self._dispatchers.items()
            if now - seen < _SILENT_SECONDS
        }
        everybody = len(self._dispatchers.keys() | {self.dispatcher})
        slots = sum(slots for slots, _ in self._pods.values())
        return max(slots // everybody, min(slots, 1))

    def _is_up(self, dispatcher: str, now: float) -> bool:
        seen = self._dispatchers.get(dispatcher)
        return seen is not None and now - seen < _SILENT_SECONDS

    # --- who is next ---------------------------------------------------------------

    def see(self, lanes: Iterable[Lane]) -> None:
        """Note lanes that have ready jobs; those of workers are not ours to claim."""
        for lane in lanes:
            self.lanes[lane.id] = lane
            if lane.push:
                self.ready.add(lane.id)

    def quotas(self, *, now: float, most: int) -> dict[int, int]:
        """Return how many jobs to claim from which lane now."""
        slots = self.slots(now=now)
        free = slots - self._by_lane.total()
        if free <= 0 or not self.ready:
            return {}
        waiting = (
            Waiting(
                id_,
                lane.organization_id,
                self._by_lane[id_],
                retries=lane.retries,
                weight=lane.weight,
            )
            for id_ in self.ready
            for lane in (self.lanes[id_],)
        )
        return share(
            waiting,
            slots=slots,
            free=free,
            in_flight=self._by_organization,
            most=most,
            retrying=self._retrying,
        )

    # --- what is out ---------------------------------------------------------------

    def hand_out(
        self, lease_id: UUID, lane_ids: Collection[int], *, now: float
    ) -> None:
        """Note a batch that was claimed, one lane id a job."""
        self.handed_out[lease_id] = HandedOut(open=Counter(lane_ids), alive_at=now)
        for lane_id in lane_ids:
            lane = self.lanes[lane_id]
            self._by_lane[lane_id] += 1
            self._by_organization[lane.organization_id] += 1
            self._retrying += lane.retries

    def close(self, lease_id: UUID, lane_id: int) -> None:
        """Note that one job of a batch is no longer out."""
        handed = self.handed_out.get(lease_id)
        if handed is None or handed.open[lane_id] <= 0:
            return
        handed.open[lane_id] -= 1
        self._give_back(lane_id, 1)
        if handed.open.total() == 0:
            del self.handed_out[lease_id]

    def forget_silent(self, *, now: float, seconds: float) -> None:
        """Give back the credit of batches that somebody else must have closed."""
        silent = [
            lease_id
            for lease_id, handed in self.handed_out.items()
            if now - handed.alive_at > seconds
        ]
        for lease_id in silent:
            for lane_id, jobs in self.handed_out.pop(lease_id).open.items():
                self._give_back(lane_id, jobs)

    def unnoted(self) -> list[UUID]:
        """Return the batches that a pod took up, which Postgres does not know yet."""
        return [
            lease_id
            for lease_id, handed in self.handed_out.items()
            if handed.taken_up and not handed.noted
        ]

    def note(self, lease_id: UUID) -> None:
        """Note that Postgres knows of a batch that a pod took it up."""
        if lease_id in self.handed_out:
            self.handed_out[lease_id].noted = True

    def keep_alive(self, lease_id: UUID, *, now: float) -> None:
        """Note that a batch's lease was renewed."""
        if lease_id in self.handed_out:
            self.handed_out[lease_id].alive_at = now

    def _give_back(self, lane_id: int, jobs: int) -> None:
        lane = self.lanes[lane_id]
        organization_id = lane.organization_id
        self._retrying -= jobs * lane.retries
        self._by_lane[lane_id] -= jobs
        self._by_organization[organization_id] -= jobs
        if self._by_lane[lane_id] <= 0:
            del self._by_lane[lane_id]
        if self._by_organization[organization_id] <= 0:
            del self._by_organization[organization_id]
