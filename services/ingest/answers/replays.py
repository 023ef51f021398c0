"""Replays, and how far they came."""

from datetime import datetime
from typing import Any, Literal

from typing_extensions import TypedDict

from libs.common.db import Row
from services.ingest.answers.fields import as_stored


class ReplayStarted(TypedDict):
    """A replay that goes on by itself."""

    replay_id: str
    """Ask for it under ``/replays/{id}``."""


class Replay(TypedDict):
    """What an endpoint is sent again, and how far that came."""

    id: str
    """The replay's id."""
    endpoint_id: str
    """Whom it is sent to."""
    status: Literal["failed", "missed", "all"]
    """What is sent again, as asked."""
    since: datetime
    """From this moment on."""
    until: datetime
    """Up to, and without, this moment."""
    filter: Any
    """What has to pass as well; null for everything."""
    rate_per_second: float
    """How many are sent again in a second, at the most."""
    state: Literal["running", "completed", "cancelled"]
    """``completed``: everything was looked at, and what was to be sent again waits for
    its attempt or has had it.
    """
    total: int | None
    """How many dead letters, or messages, there were to look at when it began; null for
    more than 100 000.
    """
    examined: int
    """How many of them were looked at."""
    replayed: int
    """How many of those are sent again."""
    progress_percent: float | None
    """How much is done, 0 to 100; null while it is running and there is no total."""
    created_at: datetime
    """When it began."""
    finished_at: datetime | None
    """When it was over; null while it is running."""


def replay(row: Row) -> Replay:
    """Return a replay as it is shown."""
    return {
        "id": str(row["id"]),
        "endpoint_id": str(row["endpoint_id"]),
        "status": row["status"],
        "since": row["since"],
        "until": row["until"],
        "filter": as_stored(row["filter"]),
        "rate_per_second": row["rate_per_second"],
        "state": row["state"],
        "total": row["total"],
        "examined": row["examined"],
        "replayed": row["replayed"],
        "progress_percent": _progress(row),
        "created_at": row["created_at"],
        "finished_at": row["finished_at"],
    }


def _progress(row: Row) -> float | None:
    if row["state"] == "completed":
        return 100.0
    if row["total"] is None:
        return None
    if not row["total"]:
        return 0.0
    # More may have come than there was when it began.
    done: float = 100 * row["examined"] / row["total"]
    return min(round(done, 1), 99.9)
