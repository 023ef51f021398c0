"""What a job should look like, told in Python: the other opinion of the model tests.

Times are ticks of a clock of the test's own; nothing here has ever seen Postgres.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID

from libs.common.lifecycle import CRASHES_MAX, MOVES, Place, Transition
from libs.common.store import lines
from tests.support.kinship import Edge, is_hopeless, is_met
from tests.support.stock import Line
from tests.support.turns import Turns

#: How often each move was made.
Seen = Counter[tuple[Transition, Place | None, Place | None]]

OPEN = (Place.READY, Place.SCHEDULED, Place.WAITING, Place.HELD)
#: Where a job with a line stands in it.
IN_LINE = (Place.READY, Place.SCHEDULED, Place.HELD, Place.LEASED)


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
    #: Whether it stands with those that are tried again.
    retried: bool = False
    crash_count: int = 0
    lease: UUID | None = None
    #: Of a job that a worker has; a batch's has its lease's.
    owner: str | None = None
    deadline: float | None = None
    ending: str | None = None
    #: Whom it waits or waited for: for "all" or "any" of them, and for which end.
    parents: dict[UUID, tuple[str, str]] = field(default_factory=dict)
    attempts: dict[int, str] = field(default_factory=dict)
    #: Those it takes turns with.
    turns: lines.Line | None = None
    #: Whether it is held because its endpoint is disabled.
    at_rest: bool = False

    @property
    def owner_key(self) -> tuple[UUID, str | None]:
        return self.line.organization_id, self.key

    @property
    def lane_id(self) -> int:
        """The lane it stands in."""
        if self.retried and self.line.retry_id is not None:
            return self.line.retry_id
        return self.line.id

    @property
    def turn(self) -> tuple[int, float, UUID]:
        """What decides who is claimed first."""
        return self.rank, self.since, self.id

    def row(self) -> tuple[object, ...]:
        """The job as the table it stands in has it."""
        counts = self.place in {Place.READY, Place.SCHEDULED, Place.HELD, Place.LEASED}
        return (
            str(self.place),
            self.lane_id,
            self.rank,
            self.attempt,
            self.retry_count,
            self.crash_count if counts else None,
            self.lease if self.place is Place.LEASED else None,
            self.ending if self.place in {Place.FINISHED, Place.DEAD} else None,
        )


@dataclass(slots=True)
class Lease:
    """A batch: until when, of which jobs."""

    deadline: float
    jobs: list[UUID]
    #: Whether a process ever said that it has it.
    taken_up: bool = False


@dataclass(frozen=True, slots=True)
class Holding:
    """That a job was handed out once; *owner* is None when to a dispatcher."""

    job_id: UUID
    lease: UUID | None
    owner: str | None
    organization_id: UUID


@dataclass
class House:
    """All jobs, and what each verb should do to them."""

    now: float = 0.0
    #: How the one endpoint is.
    enabled: bool = True
    deleted: bool = False
    jobs: dict[UUID, Job] = field(default_factory=dict)
    leases: dict[UUID, Lease] = field(default_factory=dict)
    keys: dict[tuple[UUID, str | None], UUID] = field(default_factory=dict)
    turns: Turns = field(default_factory=Turns)
    #: What the journal should have got since it was last read.
    told: list[tuple[UUID, str, int]] = field(default_factory=list)
    seen: Seen = field(default_factory=Counter)

    def move(self, job: Job, transition: Transition, to: Place | None) -> None:
        """Let *job* make a move, which must be a legal one."""
        step = (job.place, to)
        assert step in MOVES[transition], (transition, step)
        self.seen[transition, *step] += 1
        self.told.append((job.id, str(transition), job.attempt))
        if job.place is not to:
            job.since = self.now
        if to not in IN_LINE:
            self.turns.leave(job.turns, job.id)
        job.at_rest = transition is Transition.HELD or (
            job.at_rest and to is Place.HELD
        )
        job.place = to
        if to is not Place.LEASED:
            job.lease = job.owner = job.deadline = None

    def in_place(self, *places: Place) -> list[Job]:
        return [job for job in self.jobs.values() if job.place in places]

    def standing(self) -> list[Job]:
        """The jobs that were not purged."""
        return [job for job in self.jobs.values() if job.place is not None]

    def live(self) -> list[Holding]:
        """What is somebody's."""
        return [
            Holding(job.id, job.lease, job.owner, job.line.organization_id)
            for job in self.in_place(Place.LEASED)
            if job.deadline is None or job.deadline > self.now
        ]

    def is_live(self, holding: Holding) -> bool:
        """Whether who says to hold a job does; a worker need not know its lease."""
        job = self.jobs.get(holding.job_id)
        if job is None or job.place is not Place.LEASED or job.owner != holding.owner:
            return False
        if holding.owner is None:
            return job.lease == holding.lease
        return (
            holding.lease in {None, job.lease}
            and holding.organization_id == job.line.organization_id
            and job.deadline is not None
            and job.deadline > self.now
        )

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
            if job.parents:
                self.move(job, Transition.CREATED, Place.WAITING)
            else:
                self.let_go(job, Transition.CREATED)
            created.add(job.id)
        return created

    def let_go(self, job: Job, transition: Transition) -> None:
        """Move *job*, which no parent keeps, to where its time or turn is to come."""
        if job.turns is not None and job.id not in self.turns.called:
            self.move(job, transition, Place.HELD)
            self.turns.join(job.turns, job.id)
            return
        later = job.run_at is not None and job.run_at > self.now
        self.move(job, transition, Place.SCHEDULED if later else Place.READY)

    def next_of(self, lane_id: int | None, count: int) -> list[Job]:
        waiting = [job for job in self.in_place(Place.READY) if job.lane_id == lane_id]
        return sorted(waiting, key=lambda job: job.turn)[:count]

    def claim(self, jobs: list[Job]) -> None:
        for job in jobs:
            job.attempt += 1
            self.move(job, Transition.STARTED, Place.LEASED)

    def give(self, line: Line, counts: list[int]) -> list[tuple[list[Job], int]]:
        """Give each worker so many jobs of a line, without those that expire of it."""
        given = []
        queue = self.next_of(line.id, sum(counts))
        for count in counts:
            mine, queue = queue[:count], queue[count:]
            late = [job for job in mine if self.is_expired(job)]
            for job in late:
                job.ending = "expired"
                self.move(job, Transition.EXPIRED, Place.FINISHED)
            work = [job for job in mine if job not in late]
            self.claim(work)
            given.append((work, len(late)))
        return given

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
                job.retried = True
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

    def run_out(self, *, as_of: float) -> list[UUID]:
        """The batches' leases that had run out at a moment, oldest first."""
        found = [
            (lease.deadline, id_)
            for id_, lease in self.leases.items()
            if lease.deadline < min(as_of, self.now)
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
                    hopeless[job_id] = self._recover(job, taken_up=lease.taken_up)
        return hopeless

    def _recover(self, job: Job, *, taken_up: bool) -> bool:
        if taken_up:
            job.attempts[job.attempt] = "lost"
            job.crash_count += 1
        hopeless = job.crash_count >= CRASHES_MAX and taken_up
        if hopeless:
            job.ending = "quarantined"
            self.move(job, Transition.QUARANTINED, Place.DEAD)
        else:
            self.move(job, Transition.RECOVERED, Place.READY)
            job.attempt -= not taken_up
        return hopeless

    def work_run_out(self) -> list[Job]:
        """The jobs whose workers let their leases run out."""
        return [
            job
            for job in self.in_place(Place.LEASED)
            if job.deadline is not None and job.deadline < self.now
        ]

    def recover_work(self, job: Job) -> bool:
        """Return whether there is no hope."""
        job.attempts[job.attempt] = "lost"
        hopeless = job.retry_count >= job.max_retries
        if hopeless:
            job.ending = "attempts_exhausted"
            self.move(job, Transition.DEADLETTERED, Place.DEAD)
        else:
            self.move(job, Transition.RECOVERED, Place.READY)
            job.retry_count += 1
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

    def cancel_in_work(self, job: Job) -> bool:
        if job.place is not Place.LEASED:
            return False
        job.attempts[job.attempt] = "lost"
        job.ending = "cancelled"
        self.move(job, Transition.CANCELLED, Place.FINISHED)
        return True

    def requeue(self, job: Job) -> bool:
        if job.place is not Place.DEAD:
            return False
        job.retry_count = job.crash_count = 0
        job.retried = True
        self.let_go(job, Transition.REQUEUED)
        return True

    def purge(self, job: Job) -> bool:
        if job.place is not Place.DEAD:
            return False
        self.move(job, Transition.PURGED, None)
        job.parents.clear()
        self.keys.pop(job.owner_key, None)
        return True

    def reprioritize(self, job: Job, rank: int) -> bool:
        if job.place not in OPEN:
            return False
        job.rank = rank
        self.move(job, Transition.REPRIORITIZED, job.place)
        return True

    def call(self, looked: Iterable[lines.Line]) -> list[Job]:
        """Look at these lines; return who was called."""
        self.turns.noted -= {*looked}
        called = [self.jobs[id_] for id_ in self.turns.next_of({*looked})]
        for job in called:
            self.turns.called.add(job.id)
            self.let_go(job, Transition.UNBLOCKED)
        return called

    # --- jobs that wait for jobs ------------------------------------------------------

    def depend(
        self, job: Job, parents: list[UUID], mode: str, kind: str
    ) -> set[UUID] | None:
        """Return the parents that are new, or None when the job has begun or ended."""
        may_wait = {Place.READY, Place.SCHEDULED, Place.HELD}
        not_begun = job.place in may_wait and job.attempt == 0
        if not not_begun and job.place is not Place.WAITING:
            return None
        fresh = set(parents) - self._descendants(job.id) - job.parents.keys()
        job.parents |= dict.fromkeys(fresh, (mode, kind))
        edges = [Edge(self._fate(id_), "all", kind) for id_ in fresh]
        stays = kind != "failure" and all(edge.is_good for edge in edges)
        if not_begun and fresh and not stays:
            self.move(job, Transition.BLOCKED, Place.WAITING)
        return fresh

    def release(self) -> None:
        """Let everybody go who need not wait, or has no hope."""
        while decided := [
            job
            for job in self.in_place(Place.WAITING)
            if is_met(self._awaited(job)) or is_hopeless(self._awaited(job))
        ]:
            for job in decided:
                if not is_met(self._awaited(job)):
                    job.ending = "cancelled"
                    self.move(job, Transition.CANCELLED, Place.FINISHED)
                else:
                    self.let_go(job, Transition.UNBLOCKED)

    def _descendants(self, job_id: UUID) -> set[UUID]:
        found = {job_id}
        while (
            more := {job.id for job in self.jobs.values() if found & job.parents.keys()}
            - found
        ):
            found |= more
        return found

    def _awaited(self, job: Job) -> list[Edge]:
        return [
            Edge(self._fate(id_), mode, kind)
            for id_, (mode, kind) in job.parents.items()
        ]

    def _fate(self, job_id: UUID) -> str:
        job = self.jobs[job_id]
        match job.place:
            case None:
                return "gone"
            case Place.FINISHED if job.ending == "completed":
                return "done"
            case Place.FINISHED | Place.DEAD:
                return "lost"
            case _:
                return "open"
