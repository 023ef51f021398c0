"""Dead letters, and what became of them (contract 1.4)."""

from typing_extensions import TypedDict


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
