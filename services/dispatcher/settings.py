"""The knobs of the dispatcher service."""

from pydantic import Field

from libs.common.settings import DatabaseSettings


class Settings(DatabaseSettings):
    """Read from the environment, once."""

    lease_seconds: float = Field(default=7.0, ge=4, le=60)
    """How long a batch may go unmentioned by every pod before its process is taken for
    dead; pods mention theirs once a second.
    """
    batch_jobs_max: int = Field(default=64, ge=1, le=500)
    """How many jobs one message, and one lease, carries at most."""
    claim_jobs_max: int = Field(default=512, ge=1, le=5000)
    """How many jobs one claim takes at most."""
    poll_seconds: float = Field(default=1.0, gt=0, le=60)
    """How often to look for ready jobs that nobody told of."""
    settle_batch_max: int = Field(default=1000, ge=1, le=5000)
    """How many verdicts one statement settles at most."""
