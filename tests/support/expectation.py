"""What a job should look like, told in Python: the other opinion of the model tests.

Times are seconds on a clock of the test's own; nothing here has ever seen Postgres.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID

from libs.common.lifecycle import CRASHES_MAX, MOVES, Place, Transition
from tests.support.stock import Line

#: How often each move was made.
Seen = Counter[tuple[Transition, Place | None, Place | None]]

OPEN = (Place.READY, Place.SCHEDULED, Place.WAITING, Place.HELD)


@dataclass(slots=True)
class Job:
    """One job; *moves* are those it made since somebody last looked."""

    id: UUID
    line: Line
    rank: int
    max_retries: int
    place: Place | None = None
    since: float = 0.0
    run_at: float | None = None
    expires_at: float | None = None
    expiry_stands: bool = False
    key: str | None = None
    attempt: int = 0
    retry_count: int = 0
    crash_count: int = 0
    lease: UUID | None = None
    ending: str | None = None
    attempts: dict[int, str] = field(default_factory=dict)

    @property
    def owner_key(self) -> tuple[UUID, str | None]:
        return self.line.organization_id, self.key

    @property
    def turn(self) -> tuple[int, float, UUID]:
        """What decides who is claimed first."""
        return self.rank, self.since, self.id

    def row(self) -> tuple[object, ...]:
        """The job as the table it stands in has it."""
        counts = self.place in {Place.READY, Place.SCHEDULED, Place.HELD, Place.LEASED}
        return (
            str(self.place),
            self.line.id,
            self.rank,
            self.attempt,
            self.retry_count,
            self.crash_count if counts else None,
            self.lease if self.place is Place.LEASED else None,
            self.ending if self.place in {Place.FINISHED, Place.DEAD} else None,
        )


@dataclass(slots=True)
class Lease:
    """A claim: whose, until when, of which jobs."""

    push: bool
    deadline: float
    jobs: list[UUID]
    #: Whether a process ever said that it has it; workers have what they claim.
    taken_up: bool


@dataclass
class House:
    """All jobs, and what each verb should do to them."""

    now: float = 0.0
    jobs: dict[UUID, Job] = field(default_factory=dict)
    leases: dict[UUID, Lease] = field(default_factory=dict)
    keys: dict[tuple[UUID, str | None], UUID] = field(default_factory=dict)
    #: What the journal should have got since it was last read.
    told: list[tuple[UUID, str, int]] = field(default_factory=list)
    seen: Seen = field(default_factory=Counter)

    def move(self, job: Job, transition: Transition, to: Place | None) -> None:
        """Let *job* make a move, which must be a legal one."""
        step = (job.place, to)
        assert step in MOVES[transition], (transition, step)
        self.seen[transition, *step] += 1
        self.told.append((job.id, str(transition), job.attempt))
        job.place = to
        job.since = self.now
        if to is not Place.LEASED:
            job.lease = None

    def in_place(self, *places: Place) -> list[Job]:
        return [job for job in self.jobs.values() if job.place in places]

    def standing(self) -> list[Job]:
        """The jobs that were not purged."""
        return [job for job in self.jobs.values() if job.place is not None]

    def live(self) -> list[tuple[UUID, UUID]]:
        """The (job, lease)s that are somebody's."""
        return [(job.id, job.lease) for job in self.in_place(Place.LEASED) if job.lease]

    def extend(self, ids: Iterable[UUID], seconds: float) -> None:
        """Let leases live for *seconds* from now at least."""
        for id_ in ids:
            lease = self.leases[id_]
            lease.deadline = max(lease.deadline, self.now + seconds)

    def create(self, jobs: list[Job]) -> set[UUID]:
        created = set()
        for job in jobs:
            if job.key is not None:
                if job.owner_key in self.keys:
                    continue
                self.keys[job.owner_key] = job.id
            self.jobs[job.id] = job
            job.expiry_stands = job.expires_at is not None
            later = job.run_at is not None and job.run_at > self.now
            self.move(
                job, Transition.CREATED, Place.SCHEDULED if later else Place.READY
            )
            created.add(job.id)
        return created

    def next_of(self, line: Line, count: int) -> list[Job]:
        waiting = [job for job in self.in_place(Place.READY) if job.line == line]
        return sorted(waiting, key=lambda job: job.turn)[:count]

    def claim(self, jobs: list[Job]) -> None:
        for job in jobs:
            job.attempt += 1
            self.move(job, Transition.STARTED, Place.LEASED)

    def is_expired(self, job: Job) -> bool:
        return job.expires_at is not None and job.expires_at <= self.now

    def settle(
        self, job: Job, how: str, *, delay: float, verdict: str, death: str
    ) -> None:
        transition = Transition(how)
        match transition:
            case Transition.COMPLETED:
                job.attempts[job.attempt] = "delivered"
                job.ending = "completed"
                self.move(job, transition, Place.FINISHED)
            case Transition.RETRYING:
                job.attempts[job.attempt] = verdict
                job.retry_count += 1
                job.run_at = self.now + delay
                self.move(job, transition, Place.SCHEDULED)
            case Transition.DEADLETTERED:
                job.attempts[job.attempt] = verdict
                job.ending = death
                self.move(job, transition, Place.DEAD)
            case Transition.RELEASED:
                self.move(job, transition, Place.READY)
                job.attempt -= 1
            case Transition.EXPIRED:
                job.ending = "expired"
                self.move(job, transition, Place.FINISHED)
                job.attempt -= 1

    def run_out(self, *, push: bool, as_of: float) -> list[UUID]:
        """The leases of this kind that had run out at a moment, oldest first."""
        found = [
            (lease.deadline, id_)
            for id_, lease in self.leases.items()
            if lease.push == push and lease.deadline < min(as_of, self.now)
        ]
        return [id_ for _, id_ in sorted(found)]

    def recover(self, lease_ids: list[UUID]) -> dict[UUID, bool]:
        """Return the jobs under these leases, and whether there is no hope."""
        hopeless = {}
        for id_ in lease_ids:
            lease = self.leases.pop(id_)
            for job_id in lease.jobs:
                job = self.jobs[job_id]
                if job.lease == id_:
                    hopeless[job_id] = self._recover(
                        job, push=lease.push, taken_up=lease.taken_up
                    )
        return hopeless

    def _recover(self, job: Job, *, push: bool, taken_up: bool) -> bool:
        hopeless = not push and job.retry_count >= job.max_retries
        if taken_up:
            job.attempts[job.attempt] = "lost"
            job.crash_count += 1
            hopeless = hopeless or (push and job.crash_count >= CRASHES_MAX)
        if not hopeless:
            self.move(job, Transition.RECOVERED, Place.READY)
            job.attempt -= not taken_up
            job.retry_count += not push
        elif push:
            job.ending = "quarantined"
            self.move(job, Transition.QUARANTINED, Place.DEAD)
        else:
            job.ending = "attempts_exhausted"
            self.move(job, Transition.DEADLETTERED, Place.DEAD)
        return hopeless

    def due(self, limit: int) -> list[Job]:
        found = [
            (job.run_at, job.id, job)
            for job in self.in_place(Place.SCHEDULED)
            if job.run_at is not None and job.run_at <= self.now
        ]
        return [job for *_, job in sorted(found)[:limit]]

    def promote(self, job: Job) -> None:
        self.move(job, Transition.DUE, Place.READY)

    def may_expire(self) -> list[Job]:
        return [job for job in self.jobs.values() if job.expiry_stands]

    def expire(self, limit: int) -> set[UUID]:
        passed = sorted(
            (job.expires_at, job.id)
            for job in self.jobs.values()
            if job.expires_at is not None
            and job.expiry_stands
            and self.is_expired(job)
            and job.place is not Place.LEASED
        )
        ended = set()
        for _, id_ in passed[:limit]:
            job = self.jobs[id_]
            job.expiry_stands = False
            if job.place in OPEN:
                job.ending = "expired"
                self.move(job, Transition.EXPIRED, Place.FINISHED)
                ended.add(id_)
        return ended

    def cancel(self, job: Job) -> bool:
        if job.place not in OPEN:
            return False
        job.ending = "cancelled"
        self.move(job, Transition.CANCELLED, Place.FINISHED)
        return True

    def requeue(self, job: Job) -> bool:
        if job.place is not Place.DEAD:
            return False
        job.retry_count = job.crash_count = 0
        self.move(job, Transition.REQUEUED, Place.READY)
        return True

    def purge(self, job: Job) -> bool:
        if job.place is not Place.DEAD:
            return False
        self.move(job, Transition.PURGED, None)
        self.keys.pop(job.owner_key, None)
        return True
