"""Jobs that wait for jobs, and those that overtake others."""

from typing import get_args

from hypothesis.stateful import rule

from libs.common.lifecycle import Place
from libs.common.store import dependencies, interventions
from tests.model.resting import Resting
from tests.model.scene import while_some
from tests.support.expectation import OPEN


class Families(Resting):
    """Edges are added, and somebody looks who need not wait any more."""

    @while_some(*OPEN, fewer=3)
    @rule()
    def depend(self):
        """Somebody lets a job wait for others: also for itself, or in a circle."""
        job = self.luck.choice(self.house.in_place(*OPEN, *self.some([*Place])))
        relatives = [each.id for each in self.relatives()]
        parents = self.some(relatives, at_least=1)
        mode = self.luck.choice(get_args(dependencies.Mode))
        kind = self.luck.choice([*get_args(dependencies.Kind), "success", "success"])

        added = self.do(
            dependencies.depend(
                self.conn,
                job_id=job.id,
                parents=parents,
                mode=mode,
                kind=kind,
                actor="key",
            )
        )

        expected = self.house.depend(job, parents, mode, kind)
        assert added == (None if expected is None else sorted(expected))
        self._release()

    @while_some(Place.WAITING)
    @rule()
    def end_the_parents(self):
        """Those that a job waits for end, well or not, as far as they can."""
        child = self.luck.choice(self.house.in_place(Place.WAITING))
        if self.luck.random() < 0.7:
            self._call(looks=9)
            self._claim_push(count=9, ticks=30)
            self._claim_work(count=9, ticks=30)
            how = self.luck.choice(["completed", "completed", "deadlettered"])
            live = [each for each in self.house.live() if each.job_id in child.parents]
            self._settle([(each, how) for each in live])
            return
        for parent in [self.house.jobs[id_] for id_ in child.parents]:
            ending = interventions.cancel(
                self.conn,
                organization_id=parent.line.organization_id,
                job_id=parent.id,
                actor="key",
            )
            self._cancelled(self.do(ending), self.house.cancel(parent))

    def _release(self):
        """Look until there is nothing left to be seen, as who adds an edge does."""
        limit, looks, told = self.luck.choice([1, 2, 100]), 1, []
        while looks:
            looks, released = self.do(dependencies.release(self.conn, limit=limit))
            assert looks <= limit
            told.append(released)
        self._let_go(*told)

    @while_some(*OPEN, fewer=6)
    @rule()
    def reprioritize(self):
        """Somebody changes a job's priority, or would like to."""
        place = self.luck.choice(list(Place))
        job = self.luck.choice(self.house.in_place(place) or self.house.in_place(*OPEN))
        owner = job.line.organization_id
        others = [line.organization_id for line in self.stage.lines]
        organization_id = self.luck.choice([owner, owner, self.luck.choice(others)])
        rank, before = self.luck.choice([0, 50, 100, 200]), job.rank

        old = self.do(
            interventions.reprioritize(
                self.conn,
                organization_id=organization_id,
                job_id=job.id,
                priority=100 - rank,
                actor="key",
            )
        )

        changed = organization_id == owner and self.house.reprioritize(job, rank)
        assert old == (100 - before if changed else None)
        # It keeps its turn among those that matter as much.
        ready_at = self.do(
            self.conn.fetchval("SELECT ready_at FROM ready WHERE job_id = $1", job.id)
        )
        assert ready_at in {None, self.moment(job.since)}
