"""The knobs of the scheduler service."""

from pydantic import Field

from libs.common.settings import PlanSettings


class Settings(PlanSettings):
    """Read from the environment, once."""

    pool_size: int = Field(default=8, ge=2, le=100)
    """As above: many small duties share them."""
    due_poll_seconds: float = Field(default=0.1, gt=0, le=10)
    """The longest look away from jobs that become due."""
    schedule_poll_seconds: float = Field(default=1, gt=0, le=60)
    """The longest look away from schedules while nobody tells of them."""
    schedule_batch_max: int = Field(default=200, ge=1, le=2000)
    """How many schedules are fired in one transaction at most; three may be under way.
    """
    schedule_grace_seconds: float = Field(default=60, ge=1, le=86_400)
    """How late a tick may be that is not missed."""
    schedule_history_days: int = Field(default=90, ge=1, le=3650)
    """How long it is kept what schedules did."""
    lease_poll_seconds: float = Field(default=0.5, gt=0, le=60)
    """How often to look for workers' leases that ran out."""
    journal_poll_seconds: float = Field(default=0.5, gt=0, le=10)
    """The longest look away from the journal while nobody tells of it."""
    announce_batch_max: int = Field(default=500, ge=1, le=5000)
    """How many transitions are announced in one go at most."""
    worker_silence_seconds: float = Field(default=120, gt=0, le=3600)
    """How long a registered worker may say nothing before it is offline and its jobs go
    to others.
    """
    worker_poll_seconds: float = Field(default=10, gt=0, le=600)
    """How often to look for such workers."""
    partition_weeks_ahead: int = Field(default=4, ge=1, le=52)
    """How many weeks of partitions stand ready."""
    replay_days_max: float = Field(default=7.0, gt=0, le=366)
    """As for the streamer: the journal of that long stays, whatever a plan says."""
