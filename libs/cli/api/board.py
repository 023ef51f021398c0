"""What `bellhop top` shows: how things stood when they were read, and what came since.

Nobody is asked again for what events tell; what they do not (purged jobs, figures of
endpoints) is read anew now and then.
"""

import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from libs.cli.api.stream import Frame

#: Rates are of so many seconds.
WINDOW_SECONDS: Final = 10.0
_PLACES: Final = ("pending", "processing", "scheduled", "deadletter")


@dataclass(slots=True)
class Board:
    """Queues, workers and endpoints as far as we know."""

    queues: dict[str, Counter[str]] = field(default_factory=dict)
    paused: set[str] = field(default_factory=set)
    workers: dict[str, dict[str, Any]] = field(default_factory=dict)
    endpoints: list[dict[str, Any]] = field(default_factory=list)
    #: What should be read anew.
    stale: bool = True
    _lately: deque[tuple[float, str, str]] = field(default_factory=deque)

    # --- what was read ----------------------------------------------------------------

    def read(
        self,
        queues: Iterable[Mapping[str, Any]],
        workers: Iterable[dict[str, Any]],
        endpoints: list[dict[str, Any]],
    ) -> None:
        """Take everything as it was read; what is remembered besides are rates."""
        self.queues, self.paused = {}, set()
        for row in queues:
            name = row["queue_name"]
            self.queues[name] = Counter(
                {place: row[f"{place}_jobs"] for place in _PLACES}
            )
            if row["paused"]:
                self.paused.add(name)
        self.workers = {row["id"]: row for row in workers if row["status"] != "offline"}
        self.endpoints = endpoints
        self.stale = False

    # --- what happened ----------------------------------------------------------------

    def happened(self, frame: Frame) -> None:
        """Take note of an event."""
        data = frame.data
        queue = str(data.get("queue_name") or "")
        match frame.type:
            case "JobCreated":
                self._queue(queue)["pending"] += 1
                self._note(queue, "created")
            case "JobStatusChange":
                counts = self._queue(queue)
                old, new = str(data["old_status"]), str(data["new_status"])
                counts[old] = max(0, counts[old] - 1)
                counts[new] += 1
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
            case "EventsLost":
                self.stale = True
            case other if other.startswith(("Worker", "Endpoint")):
                self.stale = True

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
