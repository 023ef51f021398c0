"""What every actor of the model test has: the stage, luck, and a watchful eye.

After each step the tables must agree with the `House`, and with themselves.
"""

import random
from datetime import datetime
from typing import Any
from uuid import UUID

from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition

from libs.common.ids import first_id_at
from libs.common.lifecycle import Place
from libs.common.store import invariants
from libs.common.store.jobs import NewJob
from tests.model.stage import TICK, Stage
from tests.support import stock
from tests.support.expectation import OPEN, Holding, House, Job, Seen
from tests.support.turns import Turns


def while_some(*places, fewer=1):
    """A rule for when at least *fewer* jobs stand in *places*."""
    return precondition(lambda self: len(self.house.in_place(*places)) >= fewer)


def unless_many(*places, most):
    """A rule for when fewer than *most* jobs stand in *places*."""
    return precondition(lambda self: len(self.house.in_place(*places)) < most)


class Scene(RuleBasedStateMachine):
    """One example: the house as it should be, and luck."""

    stage: Stage
    seen: Seen

    def __init__(self) -> None:
        super().__init__()
        self.conn = self.stage.conn
        self.do = self.stage.do
        self.house = House(seen=self.seen, turns=Turns(self.stage.turns))
        #: Everything that was ever handed out.
        self.holdings: list[Holding] = []
        self.luck = random.Random(0)
        self.began = self.stage.begin()
        self.births = first_id_at(self.began).int | 0x7000_8000_0000_0000_0000

    def teardown(self) -> None:
        self.stage.end()

    def moment(self, ticks: float | None) -> datetime | None:
        """Return a moment of the model's clock as Postgres is to see it now."""
        return None if ticks is None else self.began + (ticks - self.house.now) * TICK

    def wait(self, ticks: float) -> None:
        if ticks > 0:
            self.house.now += ticks
            self.stage.wait(ticks)

    def some(self, choices, *, at_least=0, at_most=3) -> list[Any]:
        """Return some of *choices*, maybe one of them twice."""
        count = self.luck.randint(at_least, at_most)
        return self.luck.choices(choices, k=count) if choices else []

    def relatives(self) -> list[Job]:
        """Return whom one may wait for: mostly who has not ended."""
        if self.luck.random() < 0.2:
            return self.house.standing()
        return self.house.in_place(*OPEN, Place.LEASED)

    def wanted(self) -> Job:
        """Return a job that somebody may ask for."""
        self.births += 1
        now = self.house.now
        expires_in = self.luck.choice([None, None, None, 0, 20, 90])
        line = self.luck.choice(self.stage.lines)
        family = [job.id for job in self.relatives() if job.line == line]
        parents = (
            self.some(family, at_least=1, at_most=1) if self.luck.random() < 0.3 else []
        )
        run_in = self.luck.choice(
            [None, 300] if parents else [None, None, -5, 0, 5, 30]
        )
        return Job(
            id=UUID(int=self.births),
            line=line,
            rank=self.luck.choice([100, 100, 50]),
            max_retries=self.luck.randint(0, 2),
            run_at=None if run_in is None else now + run_in,
            expires_at=None if expires_in is None else now + expires_in,
            key=self.luck.choice([None, None, None, "one", "two"]),
            parents=dict.fromkeys(parents, ("all", "success")),
            turns=self.luck.choice([*[None] * 6, *self.stage.turns]),
        )

    def new(self, job: Job) -> NewJob:
        """Return *job* as the store takes it in."""
        return stock.new_job(
            job.line,
            id=job.id,
            rank=job.rank,
            max_retries=job.max_retries,
            run_at=self.moment(job.run_at),
            expires_at=self.moment(job.expires_at),
            idempotency_key=job.key,
            parent_id=next(iter(job.parents), None),
            line=job.turns,
        )

    @invariant()
    def every_job_is_in_one_place_and_its_journal_leads_there(self):
        assert self.do(invariants.misplaced(self.conn)) == []
        assert self.do(invariants.unjournaled(self.conn)) == []
        assert self.do(invariants.forgotten(self.conn)) == []
        assert self.do(invariants.out_of_turn(self.conn)) == []

    @invariant()
    def everything_is_as_the_house_says(self):
        self.stage.assert_places(self.house)
        self.stage.assert_beside(self.house)
