"""A job while this worker has it: whose lease it is, and until when."""

import asyncio
import time
from dataclasses import dataclass, field

from libs.worker.jobs import Job


@dataclass(slots=True, eq=False)
class Hold:
    """A job, the task that works on it, and when its lease ends (monotonic seconds)."""

    job: Job
    ends_at: float
    task: asyncio.Task[None] | None = field(default=None)

    @property
    def is_ours(self) -> bool:
        """Whether the lease is, as far as we know, still ours."""
        return not self.job.lost.is_set() and time.monotonic() < self.ends_at

    def lose(self) -> None:
        """Let the job go: it is somebody else's, or will be; stop working on it."""
        self.job.lost.set()
        if self.task is not None:
            self.task.cancel()
