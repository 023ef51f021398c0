"""What `bellhop top` shows: how things stood when they were read, and what came since.

What happened shortly before figures were read may be told after them, and is then
counted twice: figures that events moved are read anew soon after.  So is now and then
what events do not tell (purged jobs, figures of endpoints).  Each queue's figures are
taken when they come, so that what happens while others are read still counts.
"""

import enum
import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from libs.cli.api.stream import Frame

#: Rates are of so many seconds.
WINDOW_SECONDS: Final = 10.0
#: How many rows of a table a terminal shows.
SHOWN_MAX: Final = 15
_PLACES: Final = ("pending", "processing", "scheduled", "deadletter")


class Part(enum.Enum):
    """What may have to be read anew."""

    #: Which queues there are, and the figures of those that are shown.
    QUEUES = enum.auto()
    #: The figures of all queues.
    FIGURES = enum.auto()
    #: The figures that events moved.
    MOVED = enum.auto()
    WORKERS = enum.auto()
    ENDPOINTS = enum.auto()


#: By how the type of an event begins.
_STALE_AFTER: Final[Mapping[str, frozenset[Part]]] = {
    "EventsLost": frozenset(Part),
    "Worker": frozenset([Part.WORKERS]),
    "Endpoint": frozenset([Part.ENDPOINTS]),
}


@dataclass(slots=True)
class Board:
    """Queues, workers and endpoints as far as we know."""

    queues: dict[str, Counter[str]] = field(default_factory=dict)
    paused: set[str] = field(default_factory=set)
    workers: dict[str, dict[str, Any]] = field(default_factory=dict)
    endpoints: list[dict[str, Any]] = field(default_factory=list)
    stale: set[Part] = field(default_factory=lambda: {*Part})
    #: Whose figures events moved since they were asked for.
    moved: set[str] = field(default_factory=set)
    #: Why nothing could be read the last time, in words.
    unreachable: str | None = None
    _lately: deque[tuple[float, str, str]] = field(default_factory=deque)
    _read_at: dict[str, float] = field(default_factory=dict)

    # --- what was read ----------------------------------------------------------------

    def take_queues(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Take which queues there are, and whether they are paused; forget others."""
        paused = {row["queue_name"]: row["paused"] for row in rows}
        self.queues = {name: self._queue(name) for name in paused}
        self.paused = {name for name, it_is in paused.items() if it_is}
        self._read_at = {k: v for k, v in self._read_at.items() if k in paused}
        self.moved &= paused.keys()

    def take_figures(self, name: str, stats: Mapping[str, Any]) -> None:
        """Take how a queue stands."""
        places = {place: stats[f"{place}_jobs"] for place in _PLACES}
        self.queues[name] = Counter(places)
        self._read_at[name] = time.monotonic()

    def forget(self, name: str) -> None:
        """Forget a queue: the key may see it no more."""
        self.queues.pop(name, None)
        self.paused.discard(name)
        self.moved.discard(name)

    def take_workers(self, rows: Iterable[dict[str, Any]]) -> None:
        """Take the workers."""
        self.workers = {row["id"]: row for row in rows if row["status"] != "offline"}

    def names_to_read(self) -> list[str]:
        """Return whose figures are to be read: of what is shown, and the oldest."""
        shown = [row["queue"] for row in self.rows()[:SHOWN_MAX]]
        aged = sorted(self.queues, key=lambda name: self._read_at.get(name, 0.0))
        return [*dict.fromkeys([*shown, *aged[:SHOWN_MAX]])]

    def moved_to_read(self) -> list[str]:
        """Return those of `moved` that are to be read next: what is shown first."""
        moved = [row["queue"] for row in self.rows() if row["queue"] in self.moved]
        return moved[:SHOWN_MAX]

    # --- what happened ----------------------------------------------------------------

    def happened(self, frame: Frame) -> None:
        """Take note of an event."""
        data = frame.data
        queue = str(data.get("queue_name") or "")
        match frame.type:
            case "JobCreated":
                self._queue(queue)["pending"] += 1
                self.moved.add(queue)
                self._note(queue, "created")
            case "JobStatusChange":
                counts = self._queue(queue)
                old, new = str(data["old_status"]), str(data["new_status"])
                counts[old] = max(0, counts[old] - 1)
                counts[new] += 1
                self.moved.add(queue)
                if new == "completed":
                    self._note(queue, "completed")
            case "JobFailed":
                self._note(queue, "failed")
            case "WorkerHeartbeat":
                known = self.workers.setdefault(data["worker_id"], dict(data))
                known["current_jobs"] = data.get("current_jobs")
                known["status"] = data.get("status")
            case "QueuePaused":
                self.paused.add(queue)
            case "QueueResumed":
                self.paused.discard(queue)
            case other:
                for beginning, parts in _STALE_AFTER.items():
                    if other.startswith(beginning):
                        self.stale |= parts

    def _queue(self, name: str) -> Counter[str]:
        return self.queues.setdefault(name, Counter())

    def _note(self, queue: str, what: str) -> None:
        self._lately.append((time.monotonic(), queue, what))

    # --- what is shown ----------------------------------------------------------------

    def rows(self) -> list[dict[str, Any]]:
        """Return the queues, those with most to do first, with rates a second."""
        since = time.monotonic() - WINDOW_SECONDS
        while self._lately and self._lately[0][0] < since:
            self._lately.popleft()
        lately = Counter((queue, what) for _, queue, what in self._lately)
        return [
            {
                "queue": name,
                **{place: counts[place] for place in _PLACES},
                **{
                    f"{what}_per_second": lately[name, what] / WINDOW_SECONDS
                    for what in ("created", "completed", "failed")
                },
                "paused": name in self.paused,
            }
            for name, counts in sorted(
                self.queues.items(),
                key=lambda item: (-item[1]["pending"] - item[1]["processing"], item[0]),
            )
        ]

    def failing(self) -> list[dict[str, Any]]:
        """Return the endpoints that do not do well, the longest first."""
        return sorted(
            (
                {
                    "url": one["url"],
                    "enabled": one["enabled"],
                    "breaker": one["stats"]["breaker"],
                    "waiting": one["stats"]["waiting"],
                    "failing_since": one["stats"]["failing_since"],
                    "last_error": one["stats"]["last_error"],
                }
                for one in self.endpoints
                if one["stats"]["failing_since"] or not one["enabled"]
            ),
            key=lambda one: str(one["failing_since"] or "~"),
        )

    def at_work(self) -> list[dict[str, Any]]:
        """Return the workers that are up, the busiest first."""
        kept = ("queue_name", "current_jobs", "max_concurrency", "status")
        rows = [
            {"worker": name, **{field: row.get(field) for field in kept}}
            for name, row in self.workers.items()
        ]
        return sorted(
            rows, key=lambda row: (-(row["current_jobs"] or 0), row["worker"])
        )
