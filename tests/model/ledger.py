"""What two processes know of their jobs, with and without what they have not committed.

A pure model: nothing here has ever seen Postgres.  A process sees what is committed and
what it did itself; whatever it did counts when it commits, and never was when it dies.
"""

from dataclasses import dataclass, field, replace
from uuid import UUID

from libs.common.lifecycle import CRASHES_MAX
from tests.support.stock import Line

OPEN = ("ready", "scheduled")
ENDED = ("finished", "dead")


@dataclass(frozen=True)
class Job:
    """One job: where it is, and what it went through."""

    line: Line
    max_retries: int
    place: str = "ready"
    lease: UUID | None = None
    attempt: int = 0
    retries: int = 0
    crashes: int = 0
    #: Attempts that are recorded, and ends that are told of.
    recorded: int = 0
    ends: int = 0
    #: Of a worker's: its time is over.  Of a scheduled one: its time has come.
    over: bool = False

    def claimed(self, lease):
        return replace(
            self, place="leased", lease=lease, attempt=self.attempt + 1, over=False
        )

    def settled(self, how):
        """Return the job when its attempt has ended so."""
        gone = replace(self, lease=None, over=False)
        tried = replace(gone, recorded=self.recorded + 1)
        match how:
            case "completed":
                return replace(tried, place="finished", ends=self.ends + 1)
            case "deadlettered":
                return replace(tried, place="dead", ends=self.ends + 1)
            case "retrying":
                return replace(tried, place="scheduled", retries=self.retries + 1)
            case "released":
                return replace(gone, place="ready", attempt=self.attempt - 1)
        raise AssertionError(how)

    def recovered(self, *, taken_up):
        """Return a batch's job when its lease has run out."""
        gone = replace(self, place="ready", lease=None)
        if not taken_up:
            return replace(gone, attempt=self.attempt - 1)
        lost = replace(gone, crashes=self.crashes + 1, recorded=self.recorded + 1)
        if lost.crashes < CRASHES_MAX:
            return lost
        return replace(lost, place="dead", ends=self.ends + 1)

    def overslept(self):
        """Return a worker's job when its lease has run out."""
        gone = replace(self, lease=None, over=False, recorded=self.recorded + 1)
        if self.retries >= self.max_retries:
            return replace(gone, place="dead", ends=self.ends + 1)
        return replace(gone, place="ready", retries=self.retries + 1)

    def cancelled(self):
        tried = self.place == "leased"
        return replace(
            self,
            place="finished",
            lease=None,
            over=False,
            recorded=self.recorded + tried,
            ends=self.ends + 1,
        )

    def requeued(self):
        return replace(self, place="ready", retries=0, crashes=0)

    def row(self):
        """Return it as the tables have it."""
        return self.place, self.lease, self.attempt, self.retries, self.recorded


@dataclass(frozen=True)
class Lease:
    """One lease of a batch; it stands until somebody finds that it has run out."""

    over: bool = False
    taken_up: bool = False


@dataclass
class Ledger:
    """Jobs and leases that are committed, by id; a lease that is gone is None."""

    jobs: dict[UUID, Job] = field(default_factory=dict)
    leases: dict[UUID, Lease | None] = field(default_factory=dict)

    def let_time_pass(self):
        """Let every lease run out, and every retry be due."""
        for id_, lease in self.leases.items():
            self.leases[id_] = lease and replace(lease, over=True)
        for id_, job in self.jobs.items():
            timed = job.place == "scheduled" or (
                job.place == "leased" and not job.line.push
            )
            self.jobs[id_] = replace(job, over=job.over or timed)


@dataclass
class Draft(Ledger):
    """What one process did and has not committed, on top of what is."""

    base: Ledger = field(default_factory=Ledger)
    #: What it changed, as that was before.
    before: dict[UUID, Job | None] = field(default_factory=dict)

    def job(self, id_) -> Job | None:
        return self.jobs.get(id_, self.base.jobs.get(id_))

    def lease(self, id_) -> Lease | None:
        return self.leases[id_] if id_ in self.leases else self.base.leases.get(id_)

    def all_jobs(self) -> dict[UUID, Job]:
        return {**self.base.jobs, **self.jobs}

    def all_leases(self) -> dict[UUID, Lease]:
        both = {**self.base.leases, **self.leases}
        return {id_: lease for id_, lease in both.items() if lease is not None}

    def put(self, id_, job):
        """Change a job, or make it."""
        self.before.setdefault(id_, self.base.jobs.get(id_))
        self.jobs[id_] = job

    def commit(self):
        """Let it count: nobody else changed the same meanwhile."""
        for id_, before in self.before.items():
            assert self.base.jobs.get(id_) == before, (id_, before)
        self.base.jobs |= self.jobs
        self.base.leases |= self.leases
        self.forget()

    def forget(self):
        """Let it never have been."""
        self.jobs.clear()
        self.leases.clear()
        self.before.clear()
