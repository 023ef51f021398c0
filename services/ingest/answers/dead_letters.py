"""Dead letters, and what became of them (contract 1.4)."""

from collections.abc import Sequence
from datetime import datetime

from typing_extensions import TypedDict

from libs.common.db import Row


class Retried(TypedDict):
    """Which dead letters are ready again, and which of those named were none."""

    retried_count: int
    """How many are ready again."""
    retried_jobs: list[str]
    """Their ids."""
    skipped_jobs: list[str]
    """What was named and is no dead letter here."""
    requested_count: int
    """How many were named, or found."""


class Purged(TypedDict):
    """How many dead letters are gone for good."""

    purged_count: int


class Group(TypedDict):
    """Dead letters of one queue that died of the same."""

    queue_name: str
    dead_reason: str
    """As a job says it: ``attempts_exhausted``, ``given_up``, ``gone`` or
    ``quarantined``.
    """
    error: str
    """What went wrong last, its first 200 characters."""
    count: int
    """How many of those that were looked at."""
    first_at: datetime
    """When the first of them died."""
    last_at: datetime
    """When the last one did."""


class Groups(TypedDict):
    """What the newest dead letters died of."""

    groups: list[Group]
    """Up to 100, the one with the most letters first."""
    examined: int
    """How many letters were looked at, the newest 10000 at most."""
    complete: bool
    """Whether those were all there are."""


def groups(rows: Sequence[Row], *, letters_max: int) -> Groups:
    """Return groups as they are shown."""
    examined = rows[0]["examined"] if rows else 0
    return {
        "groups": [
            {
                "queue_name": row["queue_name"],
                "dead_reason": row["reason"],
                "error": row["error"],
                "count": row["letters"],
                "first_at": row["first_at"],
                "last_at": row["last_at"],
            }
            for row in rows
        ],
        "examined": examined,
        "complete": examined < letters_max,
    }
