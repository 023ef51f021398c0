"""Every actor there is, in any order, on the real tables, under a clock of the test's.

`House` predicts what every statement does; after each step the tables must agree.

Hypothesis chooses who acts; what they do is up to a random number generator that it
seeds: left to draw the details, too, it repeats itself, and rarely gets far.  Actors
act only when there is something to do, for the same reason.
"""

from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from libs.common.lifecycle import Place
from libs.common.store import interventions, jobs, timers
from tests.model.families import Families
from tests.model.scene import unless_many, while_some
from tests.model.stage import TICK
from tests.support.expectation import OPEN, Job

#: More open jobs than this at a time show nothing new.
CROWD = 12


class Places(Families):
    """The store, and what it should do."""

    # --- into the house ---------------------------------------------------------------

    @initialize(luck=st.randoms(use_true_random=True))
    def open_the_doors(self, luck):
        self.luck = luck
        self.create()

    @unless_many(*OPEN, most=CROWD)
    @rule()
    def create(self):
        wanted = [self.wanted() for _ in range(self.luck.randint(4, 8))]

        created = self.do(jobs.create(self.conn, jobs=[self.new(j) for j in wanted]))

        assert created == self.house.create(wanted)
        asked = {
            (job.line.organization_id, job.key) for job in wanted if job.key is not None
        }
        holders = self.do(jobs.find_by_keys(self.conn, keys=sorted(asked)))
        assert {key: holder.job_id for key, holder in holders.items()} == {
            key: self.house.keys[key] for key in asked
        }
        self._call(looks=self.luck.choice([0, 1, 9]))
        if any(job.parents for job in wanted):
            # Their parents may have ended before.
            self._release()

    @unless_many(Place.HELD, most=2)
    @rule()
    def hold(self):
        """Nothing holds a job yet, but cancel, expire and reprioritize know of it."""
        for _ in range(2):
            job = self.wanted()
            job.run_at = job.key = job.turns = None
            job.parents.clear()
            assert self.house.create([job]) == {job.id}
            job.place = Place.HELD
            self.do(jobs.create(self.conn, jobs=[self.new(job)]))
            self.do(self.conn.execute("DELETE FROM ready WHERE job_id = $1", job.id))
            self.do(
                self.conn.execute(
                    "INSERT INTO held (job_id, lane_id, rank, reason)"
                    " VALUES ($1, $2, $3, 'because')",
                    job.id,
                    job.line.id,
                    job.rank,
                )
            )

    # --- time -------------------------------------------------------------------------

    @while_some(Place.SCHEDULED)
    @rule()
    def promote_due(self):
        """Somebody's time comes, or will in a moment."""
        limit, early = self.luck.choice([1, 10]), self.luck.choice([0, 0, 1])
        moments = [job.run_at or 0 for job in self.house.in_place(Place.SCHEDULED)]
        self.wait(self.luck.choice(moments) - self.house.now - early)
        following = self.do(timers.next_due(self.conn)).seconds
        assert following == (min(moments) - self.house.now) * TICK.total_seconds()
        due = self.house.due(limit)

        promoted = self.do(timers.promote_due(self.conn, limit=limit))

        found = {each.lane_id: (each.jobs, each.push) for each in promoted}
        assert found == {
            job.lane_id: (
                sum(job.lane_id == each.lane_id for each in due),
                job.line.push,
            )
            for job in due
        }
        for job in due:
            self.house.promote(job)

    @precondition(lambda self: self.house.may_expire())
    @rule()
    def expire(self):
        """Somebody's time to run passes, or will in a moment."""
        limit, early = self.luck.choice([1, 10]), self.luck.choice([0, 0, 1])
        moments = [job.expires_at or 0 for job in self.house.may_expire()]
        self.wait(self.luck.choice(moments) - self.house.now - early)

        expired = self.do(timers.expire(self.conn, limit=limit))

        ended = expired.job_ids
        assert set(ended) == self.house.expire(limit)
        assert len(ended) == len(set(ended))
        self._let_go(expired.released)

    # --- by hand ----------------------------------------------------------------------

    @while_some(*OPEN, fewer=8)
    @rule()
    def cancel(self):
        """Somebody cancels a job, their own or not, open or not."""
        place = self.luck.choice(list(Place))
        choices = self.house.in_place(place) or self.house.in_place(*OPEN)
        job = self.luck.choice(choices)
        owner = job.line.organization_id
        others = [line.organization_id for line in self.stage.lines]
        organization_id = self.luck.choice([owner, self.luck.choice(others)])

        cancelled = self.do(
            interventions.cancel(
                self.conn,
                organization_id=organization_id,
                job_id=job.id,
                actor="key",
            )
        )

        self._cancelled(cancelled, organization_id == owner and self.house.cancel(job))

    @while_some(Place.LEASED, fewer=8)
    @rule()
    def cancel_in_work(self):
        """Somebody takes a job out of another's hands, if it is in any."""
        place = self.luck.choice([Place.LEASED, Place.LEASED, Place.READY])
        choices = self.house.in_place(place) or self.house.in_place(Place.LEASED)
        job = self.luck.choice(choices)
        owner = job.line.organization_id
        others = [line.organization_id for line in self.stage.lines]
        organization_id = self.luck.choice([owner, owner, self.luck.choice(others)])

        found = self.do(
            interventions.cancel_in_work(
                self.conn,
                organization_id=organization_id,
                job_id=job.id,
                actor="key",
            )
        )

        taken = organization_id == owner and self.house.cancel_in_work(job)
        lane_id, released = found or (None, None)
        assert lane_id == (job.lane_id if taken else None)
        self._cancelled(released, taken)

    @while_some(Place.DEAD)
    @rule()
    def requeue(self):
        queues = self.luck.choice([None, None, ["mail"], ["work", "bills"]])
        organization_id, dead, others = self._choose(queues)
        assert dead == self.do(
            interventions.choose_dead(
                self.conn,
                organization_id=organization_id,
                queue_names=queues,
                died_before=None,
                limit=100,
            )
        )

        requeued = self.do(
            interventions.requeue(
                self.conn,
                organization_id=organization_id,
                job_ids=dead + others,
                actor="key",
                queue_names=queues,
            )
        )

        found = {
            each.job_id: (each.lane_id, each.push, each.in_line) for each in requeued
        }
        assert found == {
            job.id: (job.lane_id, job.line.push, job.turns is not None)
            for job in sorted(
                self._of(organization_id, dead + others), key=lambda job: job.id
            )
            if (queues is None or job.line.queue_name in queues)
            and self.house.requeue(job)
        }
        self._call(looks=self.luck.choice([0, 9]))

    @while_some(Place.DEAD)
    @rule()
    def purge(self):
        organization_id, dead, others = self._choose(None)
        # Those that waited for others leave edges behind, if nobody takes them away.
        dead.sort(key=lambda id_: not self.house.jobs[id_].parents)
        chosen = dead[:2] + others

        purged = self.do(
            interventions.purge(
                self.conn,
                organization_id=organization_id,
                job_ids=chosen,
                actor="key",
            )
        )

        assert purged.jobs == sum(
            self.house.purge(job) for job in self._of(organization_id, chosen)
        )
        self._let_go(purged.released)

    def _choose(self, queues) -> tuple[UUID, list[UUID], list[UUID]]:
        """Return an organization, its dead in *queues*, and what is not so."""
        dead = self.house.in_place(Place.DEAD)
        waited = [job for job in dead if job.parents]
        organization_id = self.luck.choice(waited or dead).line.organization_id
        theirs = [
            job.id
            for job in dead
            if job.line.organization_id == organization_id
            and (queues is None or job.line.queue_name in queues)
        ]
        others = [job.id for job in dead if job.id not in theirs][:1]
        return (
            organization_id,
            sorted(theirs),
            others + self.some(list(self.house.jobs)),
        )

    def _of(self, organization_id, ids) -> list[Job]:
        return [
            self.house.jobs[id_]
            for id_ in set(ids)
            if self.house.jobs[id_].line.organization_id == organization_id
        ]
