"""Dead letters, and what became of them (contract 1.4)."""

from typing_extensions import TypedDict


class Retried(TypedDict):
    """Which dead letters are ready again, and which of those named were none."""

    retried_count: int
    retried_jobs: list[str]
    skipped_jobs: list[str]
    requested_count: int


class Purged(TypedDict):
    """How many dead letters are gone for good."""

    purged_count: int
