"""The knobs of the scheduler service."""

from pydantic import Field

from libs.common.settings import PlanSettings


class Settings(PlanSettings):
    """Read from the environment, once."""

    #: A dozen actors share them: one that waits long must not stand in the others' way.
    pool_size: int = Field(default=8, ge=2, le=100)
    #: The longest look away from jobs that become due.
    due_poll_seconds: float = Field(default=0.1, gt=0, le=10)
    #: The longest look away from schedules while nobody tells of them, how many are
    #: fired in one go at most, and how late a tick may be that is not missed.
    schedule_poll_seconds: float = Field(default=1, gt=0, le=60)
    schedule_batch_max: int = Field(default=200, ge=1, le=2000)
    schedule_grace_seconds: float = Field(default=60, ge=1, le=86_400)
    #: How long it is kept what schedules did.
    schedule_history_days: int = Field(default=90, ge=1, le=3650)
    #: How often to look for workers' leases that ran out.
    lease_poll_seconds: float = Field(default=0.5, gt=0, le=60)
    #: The longest look away from the journal while nobody tells of it.
    journal_poll_seconds: float = Field(default=0.5, gt=0, le=10)
    #: How many transitions are announced in one go at most.
    announce_batch_max: int = Field(default=500, ge=1, le=5000)
    #: How long a registered worker may say nothing before it is offline, and how often
    #: to look for such (contract 5.4).
    worker_silence_seconds: float = Field(default=120, gt=0, le=3600)
    worker_poll_seconds: float = Field(default=10, gt=0, le=600)
    #: How many weeks of partitions stand ready.
    partition_weeks_ahead: int = Field(default=4, ge=1, le=52)
    #: How long ago a client may have left to be told what it missed: the streamer's
    #: setting.  The journal of that long is kept, whatever a plan says.
    replay_days_max: float = Field(default=7.0, gt=0, le=366)
