"""Workflows as they should be: only jobs, edges, and what became of them."""

from collections import Counter
from dataclasses import dataclass, field
from uuid import UUID

from tests.support.kinship import Edge, is_hopeless, is_met

FATES = {
    "completed": "done",
    "dead": "lost",
    "cancelled": "lost",
    "skipped": "skipped",
}
ENDED = FATES.keys()


@dataclass
class Step:
    """A job as it should be: where it stands, and what it waits for."""

    id: UUID
    state: str
    mode: str = "all"
    #: What it waits for of whom.
    parents: dict[UUID, str] = field(default_factory=dict)
    #: It failed before somebody retried another.
    forgiven: bool = False


@dataclass
class Flow:
    """A workflow as it should be."""

    id: UUID
    policy: str
    state: str = "pending"
    steps: dict[UUID, Step] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)
    #: One of its jobs has ended since somebody looked.
    noted: bool = False

    def end(self, step, state):
        step.state = state
        self.noted = True

    def dead(self):
        return sum(one.state == "dead" for one in self.steps.values())

    def retry(self, steps, state_of):
        """Let *steps* start over; what else has failed is not held against them."""
        for step in self.steps.values():
            step.forgiven = step.state == "dead" and step not in steps
        for step in steps:
            step.state = state_of(step)
        if self.state == "failed":
            self.told.append("retried")
        self.state = "running"

    def idle(self):
        return [one for one in self.steps.values() if one.state in {"ready", "waiting"}]

    def look(self):
        """Let go, cancel and end, until nothing changes any more."""
        while self._release() or (self.noted and self._decide()):
            pass

    def _release(self):
        waiting = [one for one in self.steps.values() if one.state == "waiting"]
        changed = False
        for step in waiting:
            edges = [
                Edge(FATES.get(self.steps[id_].state, "open"), step.mode, kind)
                for id_, kind in step.parents.items()
            ]
            if is_met(edges):
                step.state = "ready"
                changed = True
            elif is_hopeless(edges):
                lost = any(edge.is_bad and edge.fate == "lost" for edge in edges)
                self.end(step, "cancelled" if lost else "skipped")
                changed = True
        return changed

    def _decide(self):
        self.noted = False
        states = Counter(step.state for step in self.steps.values())
        if set(states) <= ENDED:
            if self.state in {"pending", "running"}:
                self.state = (
                    "failed"
                    if states["dead"]
                    else "cancelled"
                    if states["cancelled"]
                    else "completed"
                )
                self.told.append(self.state)
            return False
        failing = self.policy == "fail_fast" and any(
            step.state == "dead" and not step.forgiven for step in self.steps.values()
        )
        if self.state != "cancelled" and not failing:
            return False
        swept = [
            step
            for step in self.idle()
            if self.state == "cancelled" or set(step.parents.values()) <= {"success"}
        ]
        for step in swept:
            self.end(step, "cancelled")
        return bool(swept)
